"""When the plan of a run speaks of masks that outline what its backbone's positions cannot show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domainjepa.pretraining.plan import make_plan
from tests.conftest import tiny


def pairs(folder: Path, width: int, values: tuple[int, int] = (0, 1)) -> Path:
    """Pictures with masks of a bar that is so many pixels wide."""
    draw = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for row in range(20):
        image = draw.integers(0, 255, (64, 64), np.uint8)
        mask = np.full((64, 64), values[0], np.uint8)
        mask[18 : 18 + width, 4:60] = values[1]
        Image.fromarray(image).save(folder / "images" / f"{row}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{row}.png")
    return folder


def told(data: Path, reduction: int) -> list[str]:
    config = tiny(data, backbone__name="resnet10t", backbone__stem_reduction=reduction)
    return [line for line in make_plan(config).warnings if "apart" in line]


def test_the_plan_speaks_of_a_stride_that_is_too_wide_and_of_a_stage_that_is_not(
    tmp_path: Path,
) -> None:
    (line,) = told(pairs(tmp_path, 30), 1)
    assert "last map of resnet10t are 32 px apart" in line
    assert "value 1 0 %" in line
    assert "Stage 3, every 16 px, keeps 90 %" in line
    assert "layers=range(3, 5)" in line


def test_the_plan_says_nothing_where_positions_are_fine_enough(tmp_path: Path) -> None:
    assert told(pairs(tmp_path, 30), 4) == []


def test_what_lies_between_structures_may_be_too_narrow_and_255_may_be_a_structure(
    tmp_path: Path,
) -> None:
    (line,) = told(pairs(tmp_path, 2, (255, 0)), 4)
    assert "8 px apart" in line
    assert "value 0 0 %" in line


@pytest.mark.parametrize("reduction", [1, 4])
def test_the_plan_says_what_helps_where_no_stage_is_fine_enough(
    tmp_path: Path, reduction: int
) -> None:
    """Dots of a pixel at every third: only positions of a pixel show them."""
    folder = pairs(tmp_path, 1)
    dots = np.zeros((64, 64), np.uint8)
    dots[::3, ::3] = 1
    for path in (folder / "masks").iterdir():
        Image.fromarray(dots).save(path)
    (line,) = told(folder, reduction)
    assert ("No stage of it keeps 90 %" in line) == (reduction == 1)
