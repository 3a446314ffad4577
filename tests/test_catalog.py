from __future__ import annotations

from pathlib import Path

import pytest

from domainjepa import catalog, settings
from domainjepa.errors import UserError
from domainjepa.evaluation.protocol import read_protocol


def test_every_shipped_recipe_resolves() -> None:
    assert "demo" in catalog.names("recipes")
    for name in catalog.names("recipes"):
        settings.resolve(settings.read_recipe(catalog.find("recipes", name)))


def test_every_shipped_recipe_states_what_was_measured() -> None:
    for name in catalog.names("recipes"):
        header = catalog.find("recipes", name).read_text().split("\n\n")[0]
        for word in ("command", "hardware", "time", "result"):
            assert f"# {word}:" in header, f"{name}: no {word}"


def test_every_shipped_protocol_reads() -> None:
    for name in catalog.names("eval"):
        assert read_protocol(name).name == name


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(UserError, match="Did you mean demo"):
        catalog.find("recipes", "dmeo")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("seed = 3\n")
    assert settings.read_recipe(catalog.find("recipes", str(path))) == {"seed": 3}


def test_catalogue_folders_hold_no_code() -> None:
    for kind in ("datasets", "recipes", "eval"):
        assert not list(catalog.folder(kind).rglob("*.py"))  # type: ignore[arg-type]
