from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from domainjepa import backbones, registry
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import ConfigError, UserError
from domainjepa.pretraining.plan import build_objective, make_plan
from domainjepa.pretraining.run import pretrain
from domainjepa.registry import Registry
from tests.conftest import tiny


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
    points = EntryPoints(
        [
            EntryPoint("good", "collections:OrderedDict", "domainjepa.domains"),
            EntryPoint("broken", "no_such_module:Thing", "domainjepa.domains"),
        ]
    )
    monkeypatch.setattr(registry, "_installed", lambda group: points.select(group=group))
    assert "good" in registry.DOMAINS.names()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        things = registry.DOMAINS.load_all()
    assert "good" in things
    assert "broken" not in things
    assert any("broken" in str(warning.message) for warning in caught)


def plug_in(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """As if a package with these entry points, group -> "name=module:attribute", were there."""
    points = EntryPoints(
        EntryPoint(*text.split("=", 1), f"domainjepa.{group}") for group, text in values.items()
    )
    monkeypatch.setattr(registry, "_installed", lambda group: points.select(group=group))


def shallow(channels: int, size: int) -> nn.Module:
    """A backbone of another package."""
    return nn.Sequential(nn.Conv2d(channels, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def spread(projections: torch.Tensor) -> torch.Tensor:
    """A statistic of another package."""
    return (projections.var(-2) - 1).square() + projections.mean(-2).square()


def test_a_backbone_of_another_package_is_pretrained_and_read_back(
    monkeypatch: pytest.MonkeyPatch, blobs: Path, tmp_path: Path
) -> None:
    plug_in(monkeypatch, backbones="shallow=tests.test_registry:shallow")
    assert "shallow" in backbones.names()
    config = tiny(blobs, backbone__name="shallow", steps=2)
    pretrain(config, tmp_path / "run", console=Console(quiet=True))
    images = np.zeros((3, 32, 32, 3), np.uint8)
    assert FrozenEncoder(tmp_path / "run").transform(images).shape == (3, 8)
    with pytest.raises(ConfigError, match=r"backbone\.stem_reduction"):
        make_plan(tiny(blobs, backbone__name="shallow", backbone__stem_reduction=2))
    plug_in(monkeypatch)
    with pytest.raises(ConfigError, match="unknown backbone 'shallow'"):
        FrozenEncoder(tmp_path / "run").transform(images)


def test_an_encoder_file_cannot_name_the_code_that_runs() -> None:
    with pytest.raises(ConfigError, match="unknown backbone"):
        backbones.traits("os:abort")


@pytest.mark.parametrize("name", ["spread", "tests.test_registry:spread"])
def test_a_statistic_of_ones_own(name: str, monkeypatch: pytest.MonkeyPatch, blobs: Path) -> None:
    plug_in(monkeypatch, statistics="spread=tests.test_registry:spread")
    z = torch.randn(2, 64, 5, generator=torch.Generator().manual_seed(0))
    sigreg = build_objective(tiny(blobs, objective__statistic=name)).sigreg
    expected = spread(z @ sigreg.slices(z, 3)).mean()
    assert float(sigreg(z, step=3)) == pytest.approx(float(expected), rel=1e-5)
