from __future__ import annotations

import warnings

import pytest

from domainjepa import registry
from domainjepa.errors import UserError
from domainjepa.registry import Registry


@pytest.mark.parametrize("table", [registry.LOADERS, registry.DOMAINS, registry.BASELINES])
def test_every_builtin_loads(table: Registry) -> None:
    things = table.load_all()
    assert set(table.builtin) <= set(things)


def test_module_and_attribute_load() -> None:
    import collections

    assert registry.LOADERS.load("collections:OrderedDict") is collections.OrderedDict


def test_unknown_name_gets_a_hint() -> None:
    with pytest.raises(UserError, match="Did you mean astronomy"):
        registry.DOMAINS.load("astronmy")


def test_missing_module_is_a_readable_error() -> None:
    with pytest.raises(UserError, match="no_such_module"):
        registry.DOMAINS.load("no_such_module:Thing")


def test_a_broken_plugin_warns_and_a_good_one_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    points = EntryPoints(
        [
            EntryPoint("good", "collections:OrderedDict", "domainjepa.domains"),
            EntryPoint("broken", "no_such_module:Thing", "domainjepa.domains"),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    assert "good" in registry.DOMAINS.names()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        things = registry.DOMAINS.load_all()
    assert "good" in things
    assert "broken" not in things
    assert any("broken" in str(warning.message) for warning in caught)
