from __future__ import annotations

import numpy as np
import pytest

from domainjepa.config import IntensityConfig
from domainjepa.domains.intensity import Asinh, Identity, Linear, OwnScale
from domainjepa.domains.stretches import (
    fit_asinh,
    fit_own_scale,
    fit_range,
    fit_scale,
    fit_stretch,
    fit_zscale,
)
from domainjepa.errors import ConfigError, DataError


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
    for fit in (fit_asinh, fit_range, fit_scale, fit_zscale, fit_own_scale):
        with pytest.raises(DataError, match="band 1"):
            fit([image, image])


def test_an_image_that_is_masked_all_over_is_passed_over() -> None:
    image = np.linspace(5, 7, 10_000, dtype=np.float32).reshape(100, 100, 1)
    masked = np.full_like(image, np.nan)
    assert fit_range([masked, image]) == Linear(low=(5.0,), high=(7.0,))
    assert fit_own_scale([masked, image]) == fit_own_scale([image])


def test_a_rendering_is_never_stretched_again() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    intensity = fit_scale([image])
    assert intensity == Identity()
    np.testing.assert_array_equal(intensity(image), image)


@pytest.mark.parametrize(
    ("stretch", "kind", "low"),
    [
        ("auto", Linear, None),
        ("linear", Linear, -50.0),
        ("percentile", Linear, None),
        ("zscale", Linear, None),
        ("asinh", Asinh, None),
    ],
)
def test_the_settings_name_the_stretch(stretch: str, kind: type, low: float | None) -> None:
    images = [np.random.default_rng(0).normal(100, 5, (40, 40, 1)) for _ in range(3)]
    images[0][0, 0] = -50
    fitted = fit_stretch(images, IntensityConfig(stretch=stretch), "percentile")
    assert isinstance(fitted, kind)
    if low is not None:
        assert fitted.low == (low,)


def test_8_bit_stays_whatever_the_stretch() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    assert fit_stretch([image], IntensityConfig(stretch="zscale"), "asinh") == Identity()


def test_windows_are_refused_outside_ct() -> None:
    with pytest.raises(ConfigError, match="--domain ct"):
        fit_stretch([np.zeros((4, 4, 1))], IntensityConfig(windows=("lung",)), "percentile")


def test_fit_range_takes_all_values_to_0_and_1() -> None:
    images = [np.array([[[1.0, np.nan], [3.0, 5.0]]]), np.array([[[-2.0, 9.0], [np.inf, 7.0]]])]
    fitted = fit_range(images)
    assert fitted.low == (-2.0, 5.0)
    assert fitted.high == (3.0, 9.0)


def test_zscale_has_astropys_limits_of_the_whole_data_set() -> None:
    from astropy.visualization import ZScaleInterval

    images = galaxies(sky=100, noise=5, peak=1000)
    images[3][:5] = np.nan
    fitted = fit_zscale(images)
    pixels = np.concatenate([image.ravel() for image in images])
    low, high = ZScaleInterval().get_limits(pixels[np.isfinite(pixels)])
    assert (fitted.low[0], fitted.high[0]) == (low, high)
    # It shows the sky: from below it to well under the sources' peak.
    assert 75 < fitted.low[0] < 95
    assert 105 < fitted.high[0] < 500


def test_the_floor_of_the_own_scale_is_a_tenth_of_what_scans_have() -> None:
    images = [np.linspace(0, top, 10_000).reshape(100, 100, 1) for top in (100, 2000, 3000)]
    fitted = fit_own_scale(images)
    assert isinstance(fitted, OwnScale)
    assert not fitted.signed
    assert fitted.floor[0] == pytest.approx(0.1 * 0.995 * 2000, rel=1e-3)
    assert fit_own_scale([image - 50 for image in images]).signed
    assert fit_own_scale([images[0].astype(np.uint8)]) == Identity()


def test_volumes_are_fitted_like_images() -> None:
    volume = np.random.default_rng(0).normal(100, 5, (6, 30, 30, 2))
    for fitted in (fit_scale([volume]), fit_range([volume]), fit_zscale([volume])):
        assert fitted(volume).shape == volume.shape
    assert fit_asinh([volume]).sky == pytest.approx((100, 100), abs=2)
    assert len(fit_own_scale([volume]).floor) == 2
