from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.transforms.noise import (
    GaussianNoise,
    PhotonNoise,
    RicianNoise,
    normal_numbers,
)
from tests.domains.seeding import grey, seeded


@pytest.mark.parametrize("shape", [(64, 64, 3), (700, 700, 3)])
def test_normal_numbers_are_normal_and_keyed(shape: tuple[int, ...]) -> None:
    numbers = normal_numbers(seeded(PhotonNoise(), 3), shape)
    assert numbers.shape == shape
    assert numbers.mean() == pytest.approx(0, abs=0.03)
    assert numbers.std() == pytest.approx(1, rel=0.03)
    np.testing.assert_array_equal(numbers, normal_numbers(seeded(PhotonNoise(), 3), shape))


@pytest.mark.parametrize("signal", [0.1, 0.5, 1.5])
def test_photon_noise_has_poissons_mean_and_variance(signal: float) -> None:
    noisy = seeded(PhotonNoise((400.0, 400.0), p=1))(image=grey(signal, 200))["image"]
    assert noisy.mean() == pytest.approx(signal, abs=4 * np.sqrt(signal / 400) / 200)
    assert noisy.var() == pytest.approx(signal / 400, rel=0.05)


def test_where_there_is_no_light_there_is_no_photon_noise() -> None:
    for level in (0.0, -0.3):
        image = grey(level)
        np.testing.assert_array_equal(seeded(PhotonNoise(p=1))(image=image)["image"], image)


@pytest.mark.parametrize("signal", [0.0, 0.05, 0.5])
def test_rician_noise_has_its_second_moment_and_its_bias(signal: float) -> None:
    """E[m^2] = A^2 + 2 sigma^2; without signal E[m] = sigma sqrt(pi / 2) (Rayleigh)."""
    sigma = 0.05
    noisy = seeded(RicianNoise((sigma, sigma), p=1))(image=grey(signal, 250))["image"]
    assert (noisy.astype(float) ** 2).mean() == pytest.approx(signal**2 + 2 * sigma**2, rel=0.02)
    assert noisy.min() >= 0
    if signal == 0:
        assert noisy.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.01)
    if signal == 0.5:
        # Far from zero it is Gaussian, with a bias of sigma^2 / 2A.
        assert noisy.std() == pytest.approx(sigma, rel=0.02)
        assert noisy.mean() - signal == pytest.approx(sigma**2 / (2 * signal), rel=0.3)


def test_negative_values_are_no_magnitudes() -> None:
    noisy = seeded(RicianNoise((0.05, 0.05), p=1))(image=grey(-0.5, 200))["image"]
    assert noisy.mean() == pytest.approx(-0.5, abs=0.002)
    assert noisy.std() == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("noise", [PhotonNoise((100, 100), p=1), RicianNoise((0.05, 0.05), p=1)])
def test_noise_of_8_bit_images_is_on_their_scale(noise: PhotonNoise | RicianNoise) -> None:
    image = np.full((128, 128, 3), 128, np.uint8)
    noisy = seeded(noise)(image=image)["image"]
    assert noisy.dtype == np.uint8
    expected = 255 * (np.sqrt(128 / 255 / 100) if isinstance(noise, PhotonNoise) else 0.05)
    assert noisy.std() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_gaussian_noise_keeps_shape_and_dtype(channels: int, dtype: type) -> None:
    image = np.full((16, 20, channels), 100, dtype)
    changed = GaussianNoise((0.0, 0.04), p=1)(image=image)["image"]
    assert changed.shape == image.shape
    assert changed.dtype == dtype


@pytest.mark.parametrize("side", [128, 640])
def test_gaussian_noise_has_the_stated_sigma(side: int) -> None:
    level = np.full((side, side, 3), -0.2, np.float32)
    noise = seeded(GaussianNoise((0.05, 0.05), p=1), 3)(image=level)["image"] - level
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.001)
    correlation = np.corrcoef(noise.reshape(-1, 3).T)
    np.testing.assert_allclose(correlation, np.eye(3), atol=0.04)
    beside = np.corrcoef(noise[:, :-1, 0].ravel(), noise[:, 1:, 0].ravel())[0, 1]
    assert abs(beside) < 0.04


def test_gaussian_noise_is_on_the_scale_of_8_bit_images_and_saturates() -> None:
    grey = np.full((128, 128, 1), 128, np.uint8)
    noise = seeded(GaussianNoise((0.05, 0.05), p=1), 0)(image=grey)["image"].astype(float) - 128
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.03)
    white = np.full((64, 64, 1), 255, np.uint8)
    assert seeded(GaussianNoise((0.05, 0.05), p=1), 0)(image=white)["image"].min() > 150


def test_gaussian_noise_differs_from_draw_to_draw() -> None:
    level = np.zeros((32, 32, 1), np.float32)
    noise = GaussianNoise((1.0, 1.0), p=1)
    first, second = (seeded(noise, seed)(image=level)["image"].ravel() for seed in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15
