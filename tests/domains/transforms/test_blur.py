from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.transforms.blur import FWHM, PSFBlur


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
    y, x = np.mgrid[:65, :65] - 32
    distance = np.hypot(y, x)
    image = (20 + 200 * np.exp(-(distance**2) / (2 * 3.0**2)))[..., None].round().astype(np.uint8)
    blurred = PSFBlur((4.0, 4.0), p=1)(image=image)["image"]
    assert blurred.max() < image.max()
    flux = image.astype(float).sum() - 20 * 65**2
    assert blurred.astype(float).sum() - 20 * 65**2 == pytest.approx(flux, rel=0.01)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shape_and_dtype_are_kept(channels: int, dtype: type) -> None:
    image = np.full((16, 20, channels), 100, dtype)
    changed = PSFBlur(p=1)(image=image)["image"]
    assert changed.shape == image.shape
    assert changed.dtype == dtype
