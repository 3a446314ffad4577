"""Cut-outs from FITS mosaics at the positions of a catalogue, each read on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.fits_bands import Stack, choose
from domainjepa.data.fits_headers import image_hdus
from domainjepa.data.fits_sky import to_pixels
from domainjepa.data.fits_source import FITSSource
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.errors import DataError


def cutouts(
    root: Path,
    files: Sequence[str],
    hdus: Sequence[str | int | None] | None,
    positions: NDArray[np.float64],
    size: int | NDArray[np.int64],
    options: OpenOptions,
    *,
    sky: bool,
) -> Source:
    """One sample a row of a catalogue, in its order: a square around a position in a mosaic.

    What lies beyond the edge of a mosaic is NaN, so integers become floats where that happens.
    The pixels are those of astropy's `Cutout2D(mode="partial", fill_value=nan)`.

    Args:
        root: the folder of the mosaics.
        files: (N,) names below the root; a mosaic may come as often as it likes.
        hdus: (N,) name or number of each row's HDU, None where a file has one image only; or None.
        positions: (N, 2) x and y in pixels, the centre of the first pixel being (0, 0); or right
            ascension and declination in degrees (ICRS).
        size: pixels a side, of all or (N,) of each.
        options: `bands` names HDUs of a mosaic, or planes of a cube, as for a single file.
        sky: whether positions are on the sky.

    Raises:
        DataError: a mosaic cannot be read, mosaics differ in bands, a position lies outside of its
            mosaic, or a cut-out would be larger than `options.max_sample_bytes`.
    """
    raise NotImplementedError
