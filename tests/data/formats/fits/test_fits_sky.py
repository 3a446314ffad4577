from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from domainjepa.data.formats.fits.images import contents
from domainjepa.data.formats.fits.sky import to_pixels
from domainjepa.errors import DataError
from tests.data.formats.fits.test_fits_bands import numbers, sky

POINTS = np.array([[150.0002, 2.2001], [149.9997, 2.1999]])


def header_with_sip() -> fits.Header:
    header = sky()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-3, "B_1_1": -2e-3})
    return header


def test_a_projection_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    header = sky()
    header["CTYPE2"] = "DEC--XXX"
    path = tmp_path / "mosaic.fits"
    fits.writeto(path, numbers(9, 8), header)
    [hdu] = contents(path, 2**24).hdus
    with pytest.raises(DataError, match="HDU 0 does not tell where its pixels lie"):
        to_pixels(path, hdu, POINTS)


@pytest.mark.parametrize("frame", ["ICRS", "FK5 of 1975", "SIP", "cube", "tiles"])
def test_positions_are_astropys(tmp_path: Path, frame: str) -> None:
    header, image, kind = sky(), numbers(90, 80), fits.ImageHDU
    if frame.startswith("FK5"):
        header["RADESYS"], header["EQUINOX"] = "FK5", 1975.0
    if frame == "SIP":
        header = header_with_sip()
    if frame == "cube":
        image = numbers(3, 90, 80)
    if frame == "tiles":
        kind = fits.CompImageHDU
    path = tmp_path / "mosaic.fits"
    fits.HDUList([fits.PrimaryHDU(), kind(image, header)]).writeto(path)
    [hdu] = contents(path, 2**24).hdus
    found = to_pixels(path, hdu, POINTS)
    expected = WCS(fits.getheader(path, 1)).celestial.world_to_pixel(SkyCoord(POINTS, unit="deg"))
    np.testing.assert_allclose(found.T, expected, atol=1e-9)
    if frame == "ICRS":  # a tangent plane, by hand: 0.36 arcsec a pixel, centre in pixel 4
        flat = (POINTS - [150.0, 2.2]) * [-np.cos(np.radians(2.2)), 1] / 1e-4 + 4
        np.testing.assert_allclose(found, flat, atol=1e-3)


def test_a_header_without_a_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mosaic.fits"
    fits.PrimaryHDU(numbers(90, 80)).writeto(path)
    with pytest.raises(DataError, match="HDU 0 does not place its pixels on the sky"):
        to_pixels(path, contents(path, 2**24).hdus[0], POINTS)
