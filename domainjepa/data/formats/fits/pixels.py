"""From the stored numbers of a FITS image to its values: any part of it, and no more than that."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.fits.headers import unpacked
from domainjepa.data.formats.fits.images import ImageHDU, offset_binary, without_ones
from domainjepa.data.parts.recent import Recent
from domainjepa.data.storage.uncompressed import Stored
from domainjepa.errors import DataError


def pixels(
    path: Path,
    hdu: ImageHDU,
    axes: str,
    where: Mapping[str, slice | int],
    planes: Sequence[int] | None = None,
    recent: Recent | None = None,
) -> NDArray[Any]:
    """A part of an image as values, in native byte order and `hdu.dtype`.

    Uncompressed data are read in place, so a cut-out of a mosaic touches only its own rows;
    tile-compressed ones by astropy, only the tiles that are needed; a gzip or bzip2 is
    unpacked up to the end of the image.

    Args:
        axes: a letter for each axis of `hdu.shape`: N sample, C band, D, H, W.
        where: letter -> what to read of that axis; C is read whole.
        planes: bands to keep, or None for all.
        recent: keeps what was unpacked from a gzip for further parts of it.

    Returns:
        (H, W, C) or (D, H, W, C), C-contiguous; C is 1 where there is no such axis.

    Raises:
        DataError, and what astropy, gzip and numpy raise on damaged files.
    """
    index = tuple(where.get(axis, slice(None)) for axis in axes)
    stored = _stored(path, hdu, index, recent)
    left = [axis for axis, part in zip(axes, index, strict=True) if isinstance(part, slice)]
    stored = np.moveaxis(stored, left.index("C"), -1) if "C" in left else stored[..., None]
    if planes is None:
        planes = range(stored.shape[-1])
    # Plane by plane, since numpy's copy of a transposed array is three times slower.
    native = np.empty((*stored.shape[:-1], len(planes)), stored.dtype.newbyteorder("="))
    for place, plane in enumerate(planes):
        native[..., place] = stored[..., plane]
    return physical(native, hdu)


def physical(stored: NDArray[Any], hdu: ImageHDU) -> NDArray[Any]:
    """BZERO + BSCALE * stored, and NaN where BLANK (FITS standard 4.0, section 4.4.2.5).

    Args:
        stored: in native byte order; may be changed.

    Returns:
        In `hdu.dtype`; the same array where nothing is to be done.
    """
    if hdu.dtype.kind in "iu":
        if not offset_binary(hdu.bitpix, hdu.scale, hdu.zero):
            return stored
        # Adding half the range is flipping the highest bit.
        unsigned: NDArray[Any] = stored.view(f"u{stored.itemsize}")
        unsigned ^= unsigned.dtype.type(1 << (hdu.bitpix - 1))
        return unsigned.view(hdu.dtype)
    values: NDArray[Any] = stored.astype(hdu.dtype, copy=False)
    if hdu.scale != 1:
        values = values * hdu.dtype.type(hdu.scale)
    if hdu.zero != 0:
        values = values + hdu.dtype.type(hdu.zero)
    if hdu.blank is not None:
        values[stored == hdu.blank] = np.nan
    return values


def _stored(
    path: Path, hdu: ImageHDU, index: tuple[slice | int, ...], recent: Recent | None
) -> NDArray[Any]:
    """A part of the image as it is stored, in any byte order."""
    if hdu.storage == "tiles":
        return _from_tiles(path, hdu, index)
    if hdu.storage == "gzip":
        if recent is None or all(part == slice(None) for part in index):
            return _from_gzip(path, hdu)[index]
        return recent.get((path, hdu.number), lambda: _from_gzip(path, hdu))[index]
    if path.stat().st_size < hdu.offset + hdu.nbytes:
        raise DataError("it is shorter than when it was opened")
    return Stored(path, hdu.stored, hdu.shape, hdu.offset)[index]


def _from_gzip(path: Path, hdu: ImageHDU) -> NDArray[Any]:
    with unpacked(path) as file:
        content = file.read(hdu.offset + hdu.nbytes)
    return np.frombuffer(content, hdu.stored, math.prod(hdu.shape), hdu.offset).reshape(hdu.shape)


def _from_tiles(path: Path, hdu: ImageHDU, index: tuple[slice | int, ...]) -> NDArray[Any]:
    from astropy.io import fits

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        # Mapped, or every part would cost reading all tiles; unscaled, so that it may be.
        with fits.open(path, memmap=True, do_not_scale_image_data=True) as hdus:
            section = hdus[hdu.number].section
            if without_ones(tuple(section.shape)) != hdu.shape:
                raise DataError("it has changed since it was opened")
            parts = iter(index)
            leading = [0 if side == 1 else next(parts) for side in section.shape[:-2]]
            found: NDArray[Any] = np.asarray(section[(*leading, *parts)])
    return found
