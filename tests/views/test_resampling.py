from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from domainjepa.domains.intensity import Identity, Linear, OwnScale
from domainjepa.views.resampling import Cube, Volume, own_scale, own_scale_of_array, spacing_of
from tests.data.toys import Arrays, Lazy, toy

SPACING = np.array([2.5, 0.7, 1.1])


def unchanged(part: np.ndarray) -> np.ndarray:
    return part


def volume_of(array: np.ndarray, spacing: Any = SPACING) -> Volume:
    return Volume.of_array(array[..., None].astype(np.float32), spacing, unchanged)


def places(shape: Sequence[int], spacing: Any = SPACING) -> np.ndarray:
    """(D, H, W, 3) mm, of the voxels' centres."""
    return np.asarray((np.moveaxis(np.indices(shape), 0, -1) + 0.5) * spacing)


def turned(seed: int = 0) -> np.ndarray:
    return np.asarray(Rotation.random(random_state=seed).as_matrix())


def grid(cube: Cube) -> np.ndarray:
    """(S, S, S, 3) mm, of the voxels of a cube."""
    own = (np.moveaxis(np.indices((cube.size,) * 3), 0, -1) + 0.5) * cube.step - cube.side / 2
    return cube.centre + own @ cube.axes.T


@pytest.mark.parametrize("size", [24, 5])
@pytest.mark.parametrize("axes", [np.eye(3), turned(1), np.diag([1.0, 1.0, -1.0])])
def test_a_ramp_in_millimetres_stays_one(axes: np.ndarray, size: int) -> None:
    """Linear interpolation and averages of whole voxels both keep what is linear."""
    slope = np.array([0.3, -0.2, 0.5])
    volume = volume_of(places((24, 80, 60)) @ slope)
    cube = Cube(np.array([30.0, 28.0, 33.0]), 18.0, size, axes)
    sampled = volume.block([cube]).sample(cube)
    assert sampled.shape == (1, size, size, size)
    np.testing.assert_allclose(sampled[0], grid(cube) @ slope, atol=2e-4)


@pytest.mark.parametrize("side", [20, 21, 22, 23])
def test_coarse_cubes_see_a_volume_up_to_its_ends(side: int) -> None:
    """Voxels are averaged by three; what is left over at the end is no air."""
    volume = volume_of(np.ones((side,) * 3), (1.0, 1.0, 1.0))
    for centre in ((side - 5.25,) * 3, (5.25,) * 3, (5.25, side - 5.25, 8.0)):
        cube = Cube(np.array(centre), 10.5, 3, np.eye(3))
        np.testing.assert_allclose(volume.block([cube]).sample(cube), 1.0, rtol=1e-6)
    beyond = Cube(np.full(3, float(side)), 12.0, 4, np.eye(3))
    found = volume.block([beyond]).sample(beyond)[0].numpy()
    np.testing.assert_allclose(found, (grid(beyond) < side).all(axis=-1), rtol=1e-6)


def test_a_sphere_stays_round() -> None:
    centre = np.array([30.0, 28.0, 33.0])
    inside = np.linalg.norm(places((24, 80, 60)) - centre, axis=-1) < 15
    cube = Cube(centre + 1.0, 40.0, 40, turned(2))
    volume = volume_of(inside)
    sampled = volume.block([cube]).sample(cube)[0].numpy()
    assert sampled.sum() == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.02)
    points = grid(cube)
    middle = (sampled[..., None] * points).sum((0, 1, 2)) / sampled.sum()
    np.testing.assert_allclose(middle, centre, atol=0.1)
    moments = (sampled[..., None] * (points - middle) ** 2).sum((0, 1, 2)) / sampled.sum()
    np.testing.assert_allclose(moments, 15**2 / 5, rtol=0.04)  # of a ball: r^2 / 5


def test_it_is_scipys_trilinear_interpolation() -> None:
    array = np.random.default_rng(0).random((12, 30, 26))
    cube = Cube(np.array(array.shape) * SPACING / 2, 8.0, 12, turned(3))
    sampled = volume_of(array).block([cube]).sample(cube)[0]
    at = np.moveaxis(grid(cube) / SPACING - 0.5, -1, 0)
    # A step of 0.67 mm is finer than all voxels, so nothing is averaged first.
    expected = ndimage.map_coordinates(array, at, order=1)
    np.testing.assert_allclose(sampled, expected, atol=1e-5)


def test_a_coarse_grid_averages_instead_of_skipping() -> None:
    stripes = np.zeros((8, 64, 64))
    stripes[:, ::2] = 1.0
    cube = Cube(np.array([4.0, 32.0, 32.0]), 32.0, 8, np.eye(3))
    sampled = volume_of(stripes, (1.0, 1.0, 1.0)).block([cube]).sample(cube)[0]
    inside = sampled[3:5]  # the volume is 8 mm thick, the cube 32
    np.testing.assert_allclose(inside, 0.5, atol=1e-6)


def test_outside_of_the_volume_there_is_nothing() -> None:
    volume = volume_of(np.ones((4, 10, 10)), (1.0, 1.0, 1.0))
    cube = Cube(np.array([2.0, 5.0, 5.0]), 20.0, 20, np.eye(3))
    sampled = volume.block([cube]).sample(cube)[0].numpy()
    expected = np.zeros((20, 20, 20))
    expected[8:12, 5:15, 5:15] = 1.0
    np.testing.assert_array_equal(sampled, expected)


def test_only_what_the_cubes_need_is_read() -> None:
    asked: list[tuple[list[int], list[int]]] = []
    array = np.random.default_rng(0).random((20, 40, 40, 1)).astype(np.float32)

    def read(start: Sequence[int], stop: Sequence[int]) -> np.ndarray:
        asked.append((list(start), list(stop)))
        return array[tuple(slice(*pair) for pair in zip(start, stop, strict=True))]

    lazy = Volume((20, 40, 40), np.array([2.0, 1.0, 1.0]), read)
    cubes = [
        Cube(np.array([10.0, 12.0, 14.0]), 6.0, 6, turned(4)),
        Cube(np.array([12.0, 14.0, 15.0]), 4.0, 6, np.eye(3)),
    ]
    block = lazy.block(cubes)
    assert len(asked) == 1
    start, stop = np.array(asked[0])
    assert ((stop - start) * lazy.spacing <= 18).all()
    whole = Volume.of_array(array, (2.0, 1.0, 1.0), unchanged).block(
        [Cube(np.array([20.0, 20.0, 20.0]), 40.0, 40, np.eye(3))]
    )
    for cube in cubes:
        np.testing.assert_allclose(block.sample(cube), whole.sample(cube), atol=1e-6)


def test_channels_and_eight_bits() -> None:
    array = np.zeros((4, 4, 4, 2), np.uint8)
    array[..., 1] = 255
    volume = Volume.of_array(array, (1.0, 1.0, 1.0), Identity())
    cube = Cube(np.full(3, 2.0), 4.0, 4, np.eye(3))
    sampled = volume.block([cube]).sample(cube).numpy()
    assert sampled.dtype == np.float32
    assert (sampled[0] == 0).all()
    assert (sampled[1] == 1).all()


@pytest.mark.parametrize("kind", [Arrays, Lazy])
def test_a_row_is_the_same_however_it_is_read(kind: type[Arrays]) -> None:
    array = np.random.default_rng(0).integers(0, 900, (9, 20, 18, 1), dtype=np.int16)
    source = toy(kind, [array], spacings=np.array([[2.0, 1.0, 1.0]]))
    scale = Linear(low=(0.0,), high=(900.0,))
    cube = Cube(np.array([9.0, 10.0, 9.0]), 8.0, 8, turned(5))
    found = Volume.of_row(source, 0, scale)
    expected = Volume.of_array(array, (2.0, 1.0, 1.0), scale)
    assert found.sides == expected.sides
    np.testing.assert_array_equal(
        found.block([cube]).sample(cube), expected.block([cube]).sample(cube)
    )


def test_a_volume_has_one_scale_for_all_of_its_parts() -> None:
    array = np.zeros((8, 16, 16, 1), np.int16)
    array[:, 8:] = 100
    array[:, 8:, 8:] = 1000
    source = toy(Lazy, [array])
    own = own_scale(source, 0, OwnScale(floor=(1.0,)))
    dark = own(array[:, 8:, :8])
    np.testing.assert_allclose(dark, 0.1, atol=0.01)
    assert own_scale(source, 0, Identity()) == Identity()


def test_a_volume_in_memory_has_the_scale_that_it_has_in_a_source() -> None:
    array = np.random.default_rng(0).gamma(2.0, 100.0, (90, 12, 14, 1)).astype(np.float32)
    array[::7] *= 5  # so that it matters which slices are measured
    scale = OwnScale(floor=(1.0,))
    for kind in (Arrays, Lazy):
        assert own_scale_of_array(array, scale) == own_scale(toy(kind, [array]), 0, scale)


@pytest.mark.parametrize(
    ("spacings", "expected"),
    [
        (None, (1.0, 1.0, 1.0)),
        ([[3.0, 0.5, 0.5]], (3.0, 0.5, 0.5)),
        ([[np.nan, 0.5, 0.0]], (1.0, 0.5, 1.0)),
    ],
)
def test_what_is_not_told_is_one_millimetre(spacings: Any, expected: tuple[float, ...]) -> None:
    told = None if spacings is None else np.array(spacings)
    source = toy(Lazy, [np.zeros((2, 2, 2, 1))], spacings=told)
    assert tuple(spacing_of(source, 0)) == expected
