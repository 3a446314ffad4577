"""What a grid loses of masks: by construction, and as the whole array at once has it."""

from __future__ import annotations

import numpy as np
import pytest

from domainjepa.encoder import grid_loss
from domainjepa.encoder.upsampling import upsampled
from domainjepa.errors import DataError


def test_shares_of_a_patch_are_those_of_its_pixels() -> None:
    marks = np.array([[0, 0, 1, 1, 0], [0, 1, 1, 1, 1]], bool)
    np.testing.assert_allclose(grid_loss.shares(marks, (2.0, 2.0)), [[0.25, 1.0, 0.5]])


def test_positions_need_not_end_where_pixels_do() -> None:
    marks = np.array([[1, 0, 0, 1]], bool)
    np.testing.assert_allclose(grid_loss.shares(marks, (1.0, 1.5)), [[2 / 3, 0.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(grid_loss.shares(marks, (1.0, 0.5))[0], np.repeat(marks[0], 2))


@pytest.mark.parametrize("pitch", [0.3, 0.55, 1.09])
def test_a_grid_as_fine_as_pixels_keeps_a_structure_of_some_pixels(pitch: float) -> None:
    mask = np.zeros((35, 51), np.uint8)
    mask[11:19, 21:30] = 1
    assert grid_loss.grid_dice([(mask, (pitch, pitch))], [0, 1])[1] > 0.97


def test_a_pixel_a_position_loses_nothing_and_a_wide_one_all_of_a_small_structure() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[20:24, 20:24] = 7
    assert grid_loss.grid_dice([(mask, (1.0, 1.0))], [0, 7]).tolist() == [1.0, 1.0]
    left = grid_loss.grid_dice([(mask, (16.0, 16.0))], [0, 7])
    assert left[1] == 0.0
    assert not grid_loss.keeps(left)
    assert grid_loss.shown(["rest", "dot"], left) == "dot 0 %"


def test_spacing_counts_along_each_axis() -> None:
    """A plate of 2 slices is lost where positions are 8 slices apart, whatever they are across."""
    mask = np.zeros((32, 32, 32), np.uint8)
    mask[13:15] = 1
    across = grid_loss.grid_dice([(mask, (1.0, 8.0, 8.0))], [0, 1])
    along = grid_loss.grid_dice([(mask, (8.0, 1.0, 1.0))], [0, 1])
    assert across[1] == 1.0
    assert along[1] == 0.0


def test_classes_one_by_one_are_all_of_them_at_once() -> None:
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 4, (5, 6))
    mask = np.kron(coarse, np.ones((5, 5), np.int64))[1:, 2:]  # 3 is no class here
    pitch = (3.0, 3.0)
    scores = np.stack([grid_loss.shares(mask == value, pitch) for value in range(3)], -1)
    answer = np.where(mask < 3, upsampled(scores, pitch, mask.shape).argmax(-1), -1)
    expected = [
        2 * ((mask == one) & (answer == one)).sum() / ((mask == one).sum() + (answer == one).sum())
        for one in range(3)
    ]
    np.testing.assert_allclose(grid_loss.grid_dice([(mask, pitch)], range(3)), expected)


def test_a_class_that_no_mask_has_is_not_lost() -> None:
    left = grid_loss.grid_dice([(np.zeros((8, 8), int), (4.0, 4.0))], [0, 1])
    assert np.isnan(left[1])
    assert grid_loss.keeps(left)


def test_few_masks_are_looked_at_and_fewer_of_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(row: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        if row == 0:
            raise DataError("broken")
        return np.zeros((10, 10), np.uint8)

    assert len(grid_loss.looked_at(np.arange(1000), read)) == grid_loss.LOOKED_AT - 1
    monkeypatch.setattr(grid_loss, "PIXELS", 250)
    assert list(grid_loss.looked_at(np.arange(10), read)) == [1, 2, 3]
