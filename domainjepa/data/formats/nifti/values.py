"""The values of a NIfTI file as stored, and as an image of the patient."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.nifti.header import Header
from domainjepa.data.source import Image
from domainjepa.data.storage.precision import as_float32
from domainjepa.errors import DataError
from domainjepa.reading import regular


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
        if dtype == np.float32:
            image = as_float32(image)
        return np.array(image, dtype=dtype, order="C")


def read_planes(
    path: Path, header: Header, planes: Sequence[int], moments: Sequence[int]
) -> NDArray[Any]:
    """Whole planes of the third stored axis: what lies together in the file.

    Smaller pieces would be read one by one: a sagittal slice of an axial file is a million of them.

    Args:
        planes: consecutive numbers along the third axis.
        moments: numbers along the further axes, counted as one.

    Returns:
        (x, y, planes, moments) in the file's own type and axes.

    Raises:
        DataError: the file ends too early; and whatever a damaged gzip file raises.
    """
    shape = (*header.shape[:2], len(planes), len(moments))
    values = np.empty(shape, header.stored, order="F")
    plane = math.prod(header.shape[:2]) * header.stored.itemsize
    with gzip.open(path) if header.packed else _plain(path) as file:
        for number, moment in enumerate(moments):
            file.seek(header.offset + (moment * header.shape[2] + planes[0]) * plane)
            block = values[..., number].reshape(-1, order="F").view(np.uint8)
            _fill(memoryview(block.data), file)
        if header.packed:
            file.read(1)  # the end, where the checksum is
    return values


def _plain(path: Path) -> io.RawIOBase:
    return open(path, "rb", buffering=0, opener=regular)


def _fill(block: memoryview, file: io.RawIOBase | gzip.GzipFile) -> None:
    filled = 0
    while filled < len(block):
        count = file.readinto(block[filled:])
        if not count:
            raise DataError(f"it ends after {filled:,} of {len(block):,} bytes of values")
        filled += count
