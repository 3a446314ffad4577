from __future__ import annotations

import numpy as np
import pytest
import torch

from domainjepa.encoder.windows import window_batches, windows
from domainjepa.views.resampling import Volume


def corners(extent: tuple[float, float, float], side: float) -> np.ndarray:
    return np.array([cube.bounds()[0] for cube in windows(np.array(extent), side, 8)])


@pytest.mark.parametrize(
    ("length", "expected"),
    [(10.0, [0.0]), (20.0, [0.0, 10.0]), (25.0, [0.0, 7.5, 15.0]), (6.0, [-2.0])],
)
def test_windows_are_flush_and_evenly_spaced(length: float, expected: list[float]) -> None:
    found = corners((10.0, 10.0, length), 10.0)
    np.testing.assert_allclose(found[:, 2], expected)
    np.testing.assert_allclose(found[:, :2], 0.0)


def test_windows_cover_the_volume() -> None:
    found = corners((35.0, 12.0, 41.0), 10.0)
    points = np.random.default_rng(0).random((500, 3)) * (35.0, 12.0, 41.0)
    inside = (points[:, None] >= found) & (points[:, None] <= found + 10.0)
    assert np.all(np.any(np.all(inside, axis=2), axis=1))
    assert len(found) == 4 * 2 * 5


def volume_of(array: np.ndarray) -> Volume:
    return Volume.of_array(array[..., None].astype(np.float32), (1.0, 1.0, 1.0), lambda part: part)


def test_windows_of_the_volumes_own_grid_are_its_parts() -> None:
    array = np.random.default_rng(0).random((8, 16, 8))
    cubes = windows(np.array([8.0, 16.0, 8.0]), 8.0, 8)
    (batch,) = list(window_batches(volume_of(array), cubes))
    expected = np.stack([array[:, :8], array[:, 8:]])[:, None]
    np.testing.assert_allclose(batch, expected, atol=1e-5)


def test_windows_of_air_are_left_out_unless_all_are() -> None:
    array = np.zeros((8, 24, 8))
    array[:, 8:16] = np.random.default_rng(0).random((8, 8, 8))
    cubes = windows(np.array([8.0, 24.0, 8.0]), 8.0, 8)
    assert torch.cat(list(window_batches(volume_of(array), cubes))).shape[0] == 1
    empty = torch.cat(list(window_batches(volume_of(0 * array), cubes)))
    assert empty.shape == (1, 1, 8, 8, 8)
    assert (empty == 0).all()


def test_few_windows_go_through_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domainjepa.encoder.windows.MOST_VOXELS", 2 * 8**3)
    array = np.random.default_rng(0).random((8, 40, 8))
    cubes = windows(np.array([8.0, 40.0, 8.0]), 8.0, 8)
    sizes = [len(batch) for batch in window_batches(volume_of(array), cubes)]
    assert sizes == [2, 2, 1]
