"""Inspecting a file from end to end: the figures, the JSON, the terminal and the picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest
from rich.console import Console

from domainjepa.data.opening import open_source
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.inspection.drawing import draw
from domainjepa.inspection.inspection import inspect_source
from domainjepa.inspection.tables import render
from domainjepa.pictures import MISSING


def write(path: Path, **arrays: np.ndarray) -> Source:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return open_source(path)


@pytest.fixture
def spoiled(tmp_path: Path) -> Source:
    """90 galaxies: row 5 is blank, row 80 repeats row 7 on the other side of the split."""
    images = np.random.default_rng(0).integers(0, 256, (90, 16, 12, 3), dtype=np.uint8)
    images[5] = 9
    images[80] = images[7]
    return write(
        tmp_path / "galaxies.h5",
        images=images,
        labels=np.tile([0, 1, 2], 30),
        split=np.array([b"train"] * 70 + [b"test"] * 20),
    )


def test_the_figures_of_a_file(spoiled: Source) -> None:
    found = inspect_source(spoiled)
    assert (found.samples, found.shape, found.dtype) == (90, (16, 12, 3), "uint8")
    assert found.labels == {"0": 30, "1": 30, "2": 30}
    assert found.splits == {"train": 70, "test": 20}
    assert (found.blank, found.blank_count) == ([5], 1)
    assert (found.duplicates, found.duplicate_count) == ([[7, 80]], 2)
    assert found.near_duplicate_count == 0
    assert found.domain == "astronomy"
    assert "galax" in found.domain_reason
    assert [(band.low, band.high) for band in found.bands] == [(0, 255)] * 3
    assert any("rows 7, 80" in warning and "across" in warning for warning in found.warnings)


def test_the_json_has_the_promised_keys_and_no_path(spoiled: Source, tmp_path: Path) -> None:
    text = inspect_source(spoiled).to_json()
    found = json.loads(text)
    promised = "samples shape dtype channels labels groups domain warnings"
    assert set(promised.split()) <= set(found)
    assert found["shape"] == [16, 12, 3]
    assert found["channels"] == 3
    assert found["groups"] is None
    assert str(tmp_path) not in text
    assert tmp_path.name not in text


def test_values_that_json_has_no_word_for(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(30, 8, 8, 5)).astype(np.float32)
    images[..., 4] = np.nan
    images[0, 0, 0, 0] = -np.inf
    found = json.loads(inspect_source(write(tmp_path / "a.h5", images=images)).to_json())
    assert found["labels"] is None
    assert found["bands"][4]["low"] is None
    assert found["bands"][4]["missing"] == 1


def test_the_domain_can_be_said(spoiled: Source) -> None:
    found = inspect_source(spoiled, "natural")
    assert (found.domain, found.domain_reason) == ("natural", "as you said")
    with pytest.raises(UserError, match="unknown domain 'astro'"):
        inspect_source(spoiled, "astro")


def test_the_terminal_shows_every_fact_and_warning(spoiled: Source) -> None:
    spoiled.warnings.append("stored in [odd] chunks")
    console = Console(width=300, record=True, force_terminal=True, quiet=True)
    found = inspect_source(spoiled, console=console)
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(render(found))
    text = console.export_text()
    for line in ("90 of 16x12x3 uint8", "0 30, 1 30, 2 30", "train 70, test 20", "astronomy"):
        assert line in text
    for warning in found.warnings:
        assert warning in text
    assert "[odd]" in text


def pixels(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_picture_has_a_row_for_each_class(spoiled: Source, tmp_path: Path) -> None:
    draw(spoiled, tmp_path / "three.png", columns=4)
    draw(spoiled, tmp_path / "two.png", columns=4, most_classes=2)
    draw(spoiled, tmp_path / "again.png", columns=4)
    three, two, again = (pixels(tmp_path / f"{name}.png") for name in ("three", "two", "again"))
    assert three.shape[0] - two.shape[0] == 96 + 3
    np.testing.assert_array_equal(three, again)


def test_bands_of_floats_without_labels_and_with_holes_are_drawn(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(25, 24, 24, 5)).astype(np.float32)
    images[:, 4:8, 4:8] = np.nan
    draw(write(tmp_path / "a.h5", images=images), tmp_path / "a.png", domain="astronomy")
    painted = (pixels(tmp_path / "a.png") == MISSING).all(axis=-1)
    assert painted.sum() == 25 * 16 * (96 // 24) ** 2


def test_numbers_are_whole_in_80_columns_and_json_has_no_infinity(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    values = draw.uniform(-1, 1, (12, 8, 8, 2)) * (1.23456e300, 1.23456e-5)
    found = inspect_source(write(tmp_path / "extremes.h5", images=values))
    assert json.loads(found.to_json())["bands"][0]["std"] is None
    terminal = Console(width=80, file=io.StringIO())
    terminal.print(render(found))
    assert "…" not in terminal.file.getvalue()
    assert "e-05" not in terminal.file.getvalue()


def test_bands_go_by_their_names(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8, 2), np.float32)
    images[:, :4, :, 1] = np.nan
    source = write(tmp_path / "x.h5", images=images)
    source.bands = ("g", "r\u202e")
    found = inspect_source(source)
    assert found.band_names == ["g", "r\u202e"]
    assert any(line.startswith("band r\u202e: 50 % of the pixels") for line in found.warnings)
    console = Console(width=80, record=True)
    console.print(render(found))
    assert "r\\u202e" in console.export_text()
