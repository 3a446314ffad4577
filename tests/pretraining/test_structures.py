"""Widths of structures by their construction, and when the plan speaks of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domainjepa.data.opening import open_source
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.structures import _widths, structure_widths
from tests.conftest import tiny


def test_widths_of_known_shapes() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[10:17, 5:50] = 1  # a bar of 7
    mask[30:51, 30:51] = 2  # a square of 21
    mask[0, :] = 255
    widths = _widths(mask, np.ones(2))
    assert widths == {1: 7.0, 2: 21.0}
    assert _widths(np.where(mask == 1, 255, 0), np.ones(2)) == {255: 7.0}


def test_a_width_of_a_volume_is_in_millimetres() -> None:
    mask = np.zeros((9, 40, 40), np.uint8)
    mask[:, 10:15, 5:35] = 3  # 5 voxels of 0.5 mm, through slices of 2 mm
    assert _widths(mask, np.array([2.0, 0.5, 0.5])) == {3: pytest.approx(2.5)}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pictures with masks of a bar that is 9 pixels wide."""
    draw = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for row in range(20):
        image = draw.integers(0, 255, (64, 64), np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        mask[20:29, 4:60] = 1
        Image.fromarray(image).save(tmp_path / "images" / f"{row}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{row}.png")
    return tmp_path


@pytest.mark.parametrize(("reduction", "speaks"), [(1, True), (4, False)])
def test_the_plan_speaks_of_a_stride_that_is_too_wide(
    pairs: Path, reduction: int, speaks: bool
) -> None:
    assert structure_widths(open_source(pairs)) == {"class 1": 9.0}
    config = tiny(pairs, backbone__name="resnet10t", backbone__stem_reduction=reduction)
    told = [line for line in make_plan(config).warnings if "narrower" in line]
    assert len(told) == speaks
    if speaks:
        assert "32 px: class 1 9 px" in told[0]
