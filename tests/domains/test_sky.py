from __future__ import annotations

import math
import random

import albumentations as A
import numpy as np
import pytest

from domainjepa.domains.sky import FWHM, PSFBlur, SkyCrop, SkyNoise


def seeded(transform: A.BasicTransform, seed: int) -> A.BasicTransform:
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return transform


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


@pytest.mark.parametrize("fwhm", [0.5, 1.0, 2.0, 5.0, 9.0])
def test_the_psf_conserves_the_flux_of_a_point_source(fwhm: float) -> None:
    image = np.zeros((65, 65, 2), np.float32)
    image[32, 32] = 1000, 5
    blurred = PSFBlur((fwhm, fwhm), p=1)(image=image)["image"]
    np.testing.assert_allclose(blurred.sum(axis=(0, 1)), [1000, 5], rtol=1e-4)


@pytest.mark.parametrize("fwhm", [3.0, 6.0])
def test_the_psf_has_the_stated_width(fwhm: float) -> None:
    image = np.zeros((65, 65, 1), np.float32)
    image[32, 32] = 1
    blurred = PSFBlur((fwhm, fwhm), p=1)(image=image)["image"][..., 0]
    offset = np.arange(65) - 32
    np.testing.assert_allclose(
        (blurred.sum(axis=0) * offset**2).sum(), (fwhm / FWHM) ** 2, rtol=0.02
    )
    # Half of the peak at half of the width.
    radius = np.interp(-0.5 * blurred[32, 32], -blurred[32, 32:], np.arange(33))
    assert 2 * radius == pytest.approx(fwhm, rel=0.03)


def test_the_psf_conserves_the_flux_of_8_bit_images_within_1_percent() -> None:
    distance = np.hypot(*coordinates(65, 65).transpose(2, 0, 1))
    image = (20 + 200 * np.exp(-(distance**2) / (2 * 3.0**2)))[..., None].round().astype(np.uint8)
    blurred = PSFBlur((4.0, 4.0), p=1)(image=image)["image"]
    assert blurred.max() < image.max()
    flux = image.astype(float).sum() - 20 * 65**2
    assert blurred.astype(float).sum() - 20 * 65**2 == pytest.approx(flux, rel=0.01)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_blur_and_noise_keep_shape_and_dtype(channels: int, dtype: type) -> None:
    image = np.full((16, 20, channels), 100, dtype)
    for transform in (PSFBlur(p=1), SkyNoise(p=1)):
        changed = transform(image=image)["image"]
        assert changed.shape == image.shape
        assert changed.dtype == dtype


@pytest.mark.parametrize("side", [128, 640])
def test_sky_noise_has_the_stated_sigma(side: int) -> None:
    level = np.full((side, side, 3), -0.2, np.float32)
    sky = seeded(SkyNoise((0.05, 0.05), p=1), 3)(image=level)["image"] - level
    assert sky.std() == pytest.approx(0.05, rel=0.02)
    assert sky.mean() == pytest.approx(0, abs=0.001)
    correlation = np.corrcoef(sky.reshape(-1, 3).T)
    np.testing.assert_allclose(correlation, np.eye(3), atol=0.04)
    beside = np.corrcoef(sky[:, :-1, 0].ravel(), sky[:, 1:, 0].ravel())[0, 1]
    assert abs(beside) < 0.04


def test_sky_noise_is_on_the_scale_of_8_bit_images_and_saturates() -> None:
    grey = np.full((128, 128, 1), 128, np.uint8)
    sky = seeded(SkyNoise((0.05, 0.05), p=1), 0)(image=grey)["image"].astype(float) - 128
    assert sky.std() == pytest.approx(0.05 * 255, rel=0.03)
    white = np.full((64, 64, 1), 255, np.uint8)
    assert seeded(SkyNoise((0.05, 0.05), p=1), 0)(image=white)["image"].min() > 150


def test_sky_noise_differs_from_draw_to_draw() -> None:
    level = np.zeros((32, 32, 1), np.float32)
    noise = SkyNoise((1.0, 1.0), p=1)
    first, second = (seeded(noise, seed)(image=level)["image"].ravel() for seed in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15
