"""The values of a NIfTI file as stored, and as an image of the patient."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.nifti_header import Header
from domainjepa.data.source import Image
from domainjepa.errors import DataError


def as_stored(
    header: Header, start: Sequence[int], stop: Sequence[int]
) -> tuple[slice, slice, slice]:
    """Start and stop along D, H, W -> the part of the stored axes."""
    where = [slice(None)] * 3
    for axis, flipped, first, last in zip(header.order, header.flipped, start, stop, strict=True):
        side = header.shape[axis]
        first, last, _ = slice(first, last).indices(side)
        where[axis] = slice(side - last, side - first) if flipped else slice(first, last)
    return where[0], where[1], where[2]


def as_image(stored: NDArray[Any], header: Header, dtype: np.dtype[Any]) -> Image:
    """(x, y, z, moments) as stored -> (D, H, W, C), scaled."""
    if header.colour:
        stored = np.concatenate([stored[band] for band in "RGB"], axis=-1)
    image = np.transpose(stored, (*header.order, 3))
    image = np.flip(image, tuple(axis for axis, turned in enumerate(header.flipped) if turned))
    with np.errstate(over="ignore", invalid="ignore"):
        if (header.slope, header.inter) != (1, 0):
            image = image * np.float64(header.slope) + np.float64(header.inter)
        return np.ascontiguousarray(image, dtype=dtype)


def unpacked(path: Path, header: Header) -> NDArray[Any]:
    """All values of a gzipped file, in the file's own type and axes."""
    values = np.empty(math.prod(header.shape), header.stored)
    buffer = memoryview(values.view(np.uint8).data)
    with gzip.open(path) as file:
        file.seek(header.offset)
        filled = 0
        while filled < len(buffer):
            count = file.readinto(buffer[filled:])
            if not count:
                raise DataError(f"it ends after {filled:,} of {len(buffer):,} bytes of values")
            filled += count
        file.read(1)  # the end, where the checksum is
    return values.reshape(header.shape, order="F")
