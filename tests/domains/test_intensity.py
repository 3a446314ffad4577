from __future__ import annotations

import json

import numpy as np
import pytest

from domainjepa.domains.intensity import (
    Asinh,
    Identity,
    Intensity,
    Linear,
    channel_statistics,
    fit_asinh,
    fit_scale,
    load_intensity,
)
from domainjepa.errors import DataError

EVERY = [
    Identity(),
    Linear(low=(-1.5, 0.1), high=(2.0, 1e4)),
    Asinh(sky=(0.1, 3.0), scale=(1 / 3, 7.0), softening=0.02),
]


@pytest.mark.parametrize("intensity", EVERY, ids=lambda one: one.kind)
def test_json_round_trip_is_exact(intensity: Intensity) -> None:
    assert load_intensity(intensity.model_dump_json()) == intensity
    assert load_intensity(json.loads(json.dumps(intensity.model_dump(mode="json")))) == intensity


@pytest.mark.parametrize(
    "stored", [{"kind": "histogram"}, {"kind": "linear", "low": [0.0]}, {}, "no json"]
)
def test_an_unknown_intensity_is_refused(stored: dict[str, object] | str) -> None:
    with pytest.raises(DataError, match="intensity"):
        load_intensity(stored)


def test_a_rendering_is_never_stretched_again() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    intensity = fit_scale([image])
    assert intensity == Identity()
    np.testing.assert_array_equal(intensity(image), image)


def test_linear_takes_low_to_0_and_high_to_1() -> None:
    linear = Linear(low=(-100.0, 0.0), high=(300.0, 10.0))
    image = np.array([[[-100, 0], [300, 10], [100, 5], [-32768, 32767]]], dtype=np.int16)
    expected = [[[0, 0], [1, 1], [0.5, 0.5], [-1, 2]]]
    np.testing.assert_allclose(linear(image), expected)
    assert linear(image).dtype == np.float32


def test_linear_fills_what_is_not_a_number() -> None:
    image = np.array([[[np.nan], [np.inf], [1.0]]])
    np.testing.assert_array_equal(Linear(low=(0.0,), high=(1.0,))(image).ravel(), [0, 2, 1])


def test_fit_scale_is_robust_and_of_the_whole_data_set() -> None:
    ramp = np.linspace(0, 60000, 10_000).round().astype(np.uint16)
    first, second = ramp[:5000].reshape(50, 100, 1), ramp[5000:].reshape(50, 100, 1)
    intensity = fit_scale([first, second])
    assert isinstance(intensity, Linear)
    assert intensity.low[0] == pytest.approx(60, abs=6)
    assert intensity.high[0] == pytest.approx(59940, abs=6)


def test_fit_scale_of_constant_images_divides_by_no_zero() -> None:
    intensity = fit_scale([np.full((4, 4, 2), 7, np.int32)])
    np.testing.assert_array_equal(intensity(np.full((4, 4, 2), 7, np.int32)), 0)


def test_asinh_of_one_band_is_the_inverse_hyperbolic_sine() -> None:
    asinh = Asinh(sky=(10.0,), scale=(200.0,), softening=0.05)
    flux = np.linspace(-50.0, 5000.0, 1001)
    flux[500] = 10.0
    expected = np.arcsinh((flux - 10) / 200 / 0.05) / np.arcsinh(1 / 0.05)
    stretched = asinh(flux.reshape(1, -1, 1))
    assert stretched.dtype == np.float32
    np.testing.assert_allclose(stretched.ravel(), expected, rtol=2e-6, atol=1e-6)


def test_asinh_keeps_the_ratios_of_the_bands() -> None:
    rng = np.random.default_rng(1)
    sky, scale = np.array([1.0, -2.0, 0.0, 5.0, 0.3]), np.array([1.0, 3.0, 10.0, 0.2, 7.0])
    flux = sky + scale * rng.lognormal(0, 1, (20, 20, 5))
    stretched = Asinh(sky=tuple(sky), scale=tuple(scale), softening=0.01)(flux)
    expected = ((flux - sky) / scale)[..., 1:] / ((flux - sky) / scale)[..., :1]
    np.testing.assert_allclose(stretched[..., 1:] / stretched[..., :1], expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8", "<f2"])
def test_asinh_takes_every_float_and_fills_masked_pixels_with_sky(dtype: str) -> None:
    image = np.full((2, 2, 3), 4.0, dtype)
    image[0, 0, 1] = np.nan
    image[1, 1] = np.inf
    stretched = Asinh(sky=(1.0,) * 3, scale=(3.0,) * 3, softening=0.1)(image)
    assert stretched.dtype == np.float32
    # The bands that are left make up the intensity, so they are not dimmed by the missing one.
    np.testing.assert_allclose(stretched[0, 0], [1, 0, 1], rtol=1e-6)
    np.testing.assert_array_equal(stretched[1, 1], 0)


def galaxies(sky: float, noise: float, peak: float, count: int = 20) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-24:25, -24:25]
    source = peak * np.exp(-(x**2 + y**2) / (2 * 6.0**2))[..., None]
    return [rng.normal(sky, noise, (49, 49, 1)) + source for _ in range(count)]


def test_fit_asinh_finds_sky_noise_and_scale() -> None:
    fitted = fit_asinh(galaxies(sky=100, noise=5, peak=1000))
    assert fitted.sky[0] == pytest.approx(100, abs=0.5)
    # Above 0.995 of the pixels lies a disc of 0.005 * 49^2 px; the profile at its rim:
    rim = 1000 * np.exp(-0.005 * 49**2 / np.pi / (2 * 6.0**2))
    assert fitted.scale[0] == pytest.approx(rim, rel=0.03)
    assert fitted.softening == pytest.approx(3 * 5 / fitted.scale[0], rel=0.05)


def test_fit_asinh_sees_past_masks() -> None:
    images = galaxies(sky=100, noise=5, peak=1000)
    whole = fit_asinh(images)
    for image in images[::2]:
        image[:, :3] = np.nan
        image[0] = np.inf
    images[0][[0, -1]] = np.nan
    images[0][:, [0, -1]] = np.nan
    masked = fit_asinh(images)
    assert masked.sky[0] == pytest.approx(whole.sky[0], abs=0.5)
    assert masked.softening == pytest.approx(whole.softening, rel=0.1)


def test_fit_asinh_of_sparse_maps_scales_by_what_is_there() -> None:
    image = np.zeros((50, 50, 1), np.float32)
    image[20, 20:24] = 8.0
    fitted = fit_asinh([image])
    assert fitted.sky == (0.0,)
    assert fitted.scale == (8.0,)


def test_a_band_without_numbers_is_named() -> None:
    image = np.ones((8, 8, 3))
    image[..., 1] = np.nan
    with pytest.raises(DataError, match="band 1"):
        fit_asinh([image, image])


def test_channel_statistics_are_those_of_all_pixels() -> None:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (side, 5, 3), dtype=np.uint8) for side in (4, 9, 6)]
    mean, std = channel_statistics(images)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-10)


def test_channel_statistics_of_floats_and_of_a_constant_channel() -> None:
    image = np.zeros((2, 2, 2), np.float32)
    image[..., 0] = [[-3, 3], [-3, 3]]
    assert channel_statistics([image]) == ((0.0, 0.0), (3.0, 1.0))


def test_channel_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        channel_statistics([])
