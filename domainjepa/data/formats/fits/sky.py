"""Where the pixels of a FITS image lie on the sky: its header's WCS, with SIP distortion."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.fits.images import ImageHDU
from domainjepa.errors import DataError

SAME_GRID = 0.5
"""Pixels by which the corners of two bands may lie apart."""


def to_pixels(path: Path, hdu: ImageHDU, sky: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sky positions as pixels.

    Args:
        sky: (N, 2) right ascension and declination, degrees, ICRS.

    Returns:
        (N, 2) x and y; the centre of the first pixel is (0, 0). NaN where the projection has no
        such point.

    Raises:
        DataError: the header places no pixel on the sky, or a declination is none.
    """
    from astropy.coordinates import SkyCoord

    beyond = np.flatnonzero(np.abs(sky[:, 1]) > 90)
    if len(beyond):
        raise DataError(
            f"the declination {sky[beyond[0], 1]:g} is none: they are -90 to 90 degrees. Are right "
            "ascension and declination the wrong way round?"
        )
    x, y = _wcs(path, hdu.number).world_to_pixel(SkyCoord(sky[:, 0], sky[:, 1], unit="deg"))
    return np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=1)


def check_grids(
    paths: Sequence[Path],
    hdus: Sequence[ImageHDU],
    grids: Sequence[str],
    bands: Sequence[str],
) -> None:
    """Raises DataError where bands lie on different grids of the sky.

    Bands whose headers do not place them are taken as they are; equal hashes are not looked into.
    """
    if len({grid for grid in grids if grid}) < 2:
        return
    every = zip(paths, hdus, grids, bands, strict=True)
    placed = [(path, hdu, band) for path, hdu, grid, band in every if grid]
    path, hdu, first = placed[0]
    height, width = hdu.shape[-2:]
    corners = np.array([(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)], float)
    sky = _wcs(path, hdu.number).pixel_to_world(*corners.T).icrs
    there = np.stack([sky.ra.deg, sky.dec.deg], axis=1)
    for path, hdu, band in placed[1:]:
        apart = float(np.abs(to_pixels(path, hdu, there) - corners).max())
        if not apart <= SAME_GRID:
            raise DataError(
                f"the bands {first} and {band} lie on different grids of the sky: their corners "
                f"are {apart:.3g} pixels apart; bring them to one grid (astropy's reproject does)"
            )


@lru_cache(maxsize=64)
def _wcs(path: Path, number: int) -> Any:
    """The celestial part of an HDU's world coordinates."""
    from astropy.io import fits
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that astropy puts right
        try:
            with fits.open(path) as hdus:
                found = WCS(hdus[number].header, hdus).celestial
        except Exception as error:  # wcslib raises whatever comes to hand on damaged keywords
            raise DataError(
                f"the header of HDU {number} does not tell where its pixels lie on the sky "
                f"({type(error).__name__})"
            ) from error
    if found.naxis != 2:
        raise DataError(f"the header of HDU {number} does not place its pixels on the sky")
    return found
