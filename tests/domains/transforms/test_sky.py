from __future__ import annotations

import math

import numpy as np
import pytest

from domainjepa.domains.transforms.sky import SkyCrop
from tests.domains.seeding import seeded


def coordinates(height: int, width: int) -> np.ndarray:
    """(H, W, 2): x and y of each pixel, from the centre of the image."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x - (width - 1) / 2, y - (height - 1) / 2], axis=2)


@pytest.mark.parametrize("side", [32, 33])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
def test_quarter_turns_and_the_mirror_are_exact(side: int, dtype: type, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (side, side, channels)).astype(dtype)
    crop = SkyCrop(side)
    for turns in range(4):
        for mirrored in (False, True):
            view = crop.apply(image, side, turns * math.pi / 2, mirrored, (0.0, 0.0))
            expected = np.rot90(image[:, ::-1] if mirrored else image, turns)
            assert view.dtype == dtype
            np.testing.assert_allclose(view, expected, atol=1e-3)


def test_any_turn_scale_and_shift_show_what_the_sky_has_there() -> None:
    angle, shift, side, size = 0.7, (3.0, -5.0), 30.0, 24
    view = SkyCrop(size).apply(coordinates(64, 64), side, angle, False, shift)
    u, v = (coordinates(size, size) * (side / size) + shift).transpose(2, 0, 1)
    expected_x = math.cos(angle) * u - math.sin(angle) * v
    expected_y = math.sin(angle) * u + math.cos(angle) * v
    # cv2 places samples on a grid of 1/32 px.
    np.testing.assert_allclose(view, np.stack([expected_x, expected_y], axis=2), atol=0.05)


@pytest.mark.parametrize("shape", [(48, 48), (40, 60), (20, 20), (250, 250)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_even_sky_stays_even_to_the_corners(shape: tuple[int, int], dtype: type) -> None:
    image = np.full((*shape, 3), 7, dtype)
    for seed in range(30):
        view = seeded(SkyCrop(32, (0.3, 1.0)), seed)(image=image)["image"]
        assert view.shape == (32, 32, 3)
        np.testing.assert_allclose(view, 7, rtol=1e-6)


@pytest.mark.parametrize("scale", [(0.3, 1.0), (0.02, 0.1)])
def test_the_centre_stays_in_every_global_view(scale: tuple[float, float]) -> None:
    distance = np.hypot(*coordinates(49, 49).transpose(2, 0, 1))
    star = (255 * np.exp(-(distance**2) / (2 * 1.5**2)))[..., None].astype(np.float32)
    crop = SkyCrop(32, scale)
    edge = 0.07 * 32
    for seed in range(1000):
        view = seeded(crop, seed)(image=star)["image"][..., 0]
        row, column = np.unravel_index(view.argmax(), view.shape)
        assert view.max() > 150
        assert edge <= row <= 31 - edge
        assert edge <= column <= 31 - edge


def test_local_views_look_near_the_object() -> None:
    image = coordinates(65, 65)
    crop = SkyCrop(13, (0.05, 0.3), keep_centre=False)
    middles = np.array([seeded(crop, seed)(image=image)["image"][6, 6] for seed in range(500)])
    assert np.abs(middles).max() <= 65 / 4 * math.sqrt(2)
    # Triangular on +-65/4: variance (65/4)^2 / 6 along each axis.
    np.testing.assert_allclose(middles.std(axis=0), 65 / 4 / math.sqrt(6), rtol=0.1)
    np.testing.assert_allclose(middles.mean(axis=0), 0, atol=1.0)


def test_all_orientations_and_both_parities_are_drawn_alike() -> None:
    image = coordinates(33, 33)
    crop = SkyCrop(33, (1.0, 1.0))
    turns, mirrored = [], 0
    for seed in range(400):
        right, down = (
            view - seeded(crop, seed)(image=image)["image"][16, 16]
            for view in seeded(crop, seed)(image=image)["image"][[16, 17], [17, 16]]
        )
        turns.append(math.atan2(right[1], right[0]))
        mirrored += right[0] * down[1] - right[1] * down[0] < 0
    quarters = np.histogram(turns, 4, (-math.pi, math.pi))[0]
    assert quarters.min() > 70
    assert 160 < mirrored < 240


def test_a_large_image_is_averaged_and_not_picked_from() -> None:
    image = np.random.default_rng(0).normal(3, 1, (515, 515, 1)).astype(np.float32)
    view = seeded(SkyCrop(32, (1.0, 1.0)), 0)(image=image)["image"]
    assert view.mean() == pytest.approx(3, abs=0.02)
    assert view.std() < 1 / 16 * 1.1  # 16 x 16 px in each


def test_binning_keeps_the_centre() -> None:
    view = SkyCrop(31).apply(coordinates(511, 515), 500.0, 0.3, False, (0.0, 0.0))
    np.testing.assert_allclose(view[15, 15], 0, atol=1.01)
