from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from domainjepa.domains.ct import named_windows
from domainjepa.domains.intensity import (
    Asinh,
    Identity,
    Intensity,
    Linear,
    OwnScale,
    Windows,
    channel_statistics,
    load_intensity,
    thinned,
)
from domainjepa.errors import ConfigError, DataError

EVERY = [
    Identity(),
    Linear(low=(-1.5, 0.1), high=(2.0, 1e4)),
    Asinh(sky=(0.1, 3.0), scale=(1 / 3, 7.0), softening=0.02),
    Windows(levels=(40.0, -600.0), widths=(80.0, 1500.0)),
    OwnScale(floor=(0.1, 0.2)),
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


def test_linear_takes_low_to_0_and_high_to_1() -> None:
    linear = Linear(low=(-100.0, 0.0), high=(300.0, 10.0))
    image = np.array([[[-100, 0], [300, 10], [100, 5], [-32768, 32767]]], dtype=np.int16)
    expected = [[[0, 0], [1, 1], [0.5, 0.5], [-1, 2]]]
    np.testing.assert_allclose(linear(image), expected)
    assert linear(image).dtype == np.float32


def test_linear_fills_what_is_not_a_number() -> None:
    image = np.array([[[np.nan], [np.inf], [1.0]]])
    np.testing.assert_array_equal(Linear(low=(0.0,), high=(1.0,))(image).ravel(), [0, 2, 1])


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


HU = np.arange(-1100, 3100, 0.5, dtype=np.float64).reshape(80, 105, 1)


@pytest.mark.parametrize(("level", "width"), [(40, 80), (-600, 1500), (400, 1), (32.5, 8)])
def test_windows_are_dicoms_linear_function(level: float, width: float) -> None:
    """PS3.3 C.11.2.1.2.1, pseudo-code, with y from 0 to 1."""
    image = HU.astype(np.float32)
    expected = np.empty(HU.shape)
    for index, x in np.ndenumerate(image):
        if x <= level - 0.5 - (width - 1) / 2:
            expected[index] = 0
        elif x > level - 0.5 + (width - 1) / 2:
            expected[index] = 1
        else:
            expected[index] = (x - (level - 0.5)) / (width - 1) + 0.5
    shown = Windows(levels=(level,), widths=(width,))(image)
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, expected, atol=2e-6)


@pytest.mark.parametrize(("level", "width"), [(40, 80), (-600, 1500), (50, 400)])
def test_windows_are_those_of_pydicom(level: float, width: float) -> None:
    pydicom = pytest.importorskip("pydicom")
    pixels = pytest.importorskip("pydicom.pixels")
    header = pydicom.Dataset()
    header.WindowCenter, header.WindowWidth = level, width
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsStored, header.PixelRepresentation = 16, 1
    stored = np.arange(-1100, 3100, dtype=np.int16).reshape(60, 70)
    expected = (pixels.apply_voi_lut(stored, header) + 2**15) / (2**16 - 1)
    shown = Windows(levels=(level,), widths=(width,))(stored[..., None])
    np.testing.assert_allclose(shown[..., 0], expected, atol=2e-6)


def test_windows_are_channels_slice_by_slice() -> None:
    windows = named_windows(("brain", "-600/1500"))
    assert windows == Windows(levels=(40.0, -600.0), widths=(80.0, 1500.0))
    image = np.stack([HU[..., 0], HU[..., 0] + 20], axis=2).astype(np.int16)
    both = windows(image)
    assert both.shape == (80, 105, 4)
    for channel in range(2):
        np.testing.assert_array_equal(
            both[..., 2 * channel : 2 * channel + 2], windows(image[..., channel : channel + 1])
        )
    assert windows(np.full((2, 3, 3, 1), np.nan)).max() == 0


@pytest.mark.parametrize("name", ["brian", "40/0.5", "40", "40/-80", "a/b"])
def test_what_is_no_window_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="LEVEL/WIDTH"):
        named_windows((name,))


def test_own_scale_gives_one_scan_in_any_unit_the_same_values() -> None:
    scan = np.random.default_rng(0).gamma(2, 50, (64, 64, 2))
    own = OwnScale(floor=(1e-3, 1e-3))
    np.testing.assert_allclose(own(scan), own(7.5 * scan), rtol=1e-5)
    assert np.mean(own(scan) > 1) == pytest.approx(0.005, abs=1e-3)
    # No signal is no signal.
    assert own(np.where(scan > 60, scan, 0)).min() == 0
    signed = OwnScale(floor=(1e-3, 1e-3), signed=True)
    np.testing.assert_allclose(signed(scan), signed(7.5 * scan - 1000), atol=1e-4)


def test_own_scale_leaves_a_slice_without_tissue_dark() -> None:
    noise = np.random.default_rng(0).rayleigh(2, (64, 64, 1))
    assert OwnScale(floor=(100.0,))(noise).max() < 0.15


def test_own_scale_sees_past_masks() -> None:
    scan = np.random.default_rng(0).gamma(2, 50, (64, 64, 1))
    own = OwnScale(floor=(1e-3,))
    masked = scan.copy()
    masked[:, ::2] = np.nan
    assert np.isfinite(own(masked)).all()
    np.testing.assert_array_equal(own(masked)[:, ::2], 0)
    np.testing.assert_allclose(own(masked)[:, 1::2], own(scan)[:, 1::2], rtol=0.2)
    np.testing.assert_array_equal(own(np.full((8, 8, 1), np.nan)), 0)
    # A band that is missing altogether leaves the others as they are, without a warning.
    two = OwnScale(floor=(1e-3, 1e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = two(np.concatenate([scan, np.full_like(scan, np.nan)], axis=2))
    np.testing.assert_array_equal(both[..., :1], own(scan))
    np.testing.assert_array_equal(both[..., 1], 0)


@pytest.mark.parametrize("shape", [(1024, 1024, 1), (64, 256, 256, 2), (700, 333, 3), (5, 5, 1)])
def test_thinned_pixels_come_from_every_column(shape: tuple[int, ...]) -> None:
    columns = np.broadcast_to(np.arange(shape[-2])[:, None], shape)
    pixels = thinned(columns, 4096)
    assert pixels.shape[1] == shape[-1]
    assert min(4096, columns[..., 0].size) <= len(pixels) <= 3 * 4096
    assert len(np.unique(pixels)) == shape[-2]
