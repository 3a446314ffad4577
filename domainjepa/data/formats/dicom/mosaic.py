"""Siemens' mosaics: the slices of a volume side by side in one image, as functional MR is stored.

How many there are stands in a private element, and where they lie follows from the corner of the
whole image (Siemens' CSA header, as described in nibabel's notes on it, "Siemens mosaic format").
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.errors import DataError

COUNT, CSA = 0x0019100A, 0x00291010
"""NumberOfImagesInMosaic, and the header that holds it, too."""
TAGS: list[str | int] = ["ImageType", "SpacingBetweenSlices", "SliceThickness", COUNT, CSA]


def slices_of(found: Any) -> int:
    """How many slices an image is made of; 0 where it is one image.

    Raises:
        DataError: it is a mosaic of an unknown number of slices, or one that its sides do not fit.
    """
    if "MOSAIC" not in (found.get("ImageType") or ()):
        return 0
    told = found.get(COUNT)
    count = _number(told.value) if told is not None else 0
    count = count or int(next(iter(_csa(found, "NumberOfImagesInMosaic")), 0))
    if count < 1:
        raise DataError("it is a mosaic of slices (Siemens), and does not tell of how many")
    across = tiles_across(count)
    if int(found.Rows) % across or int(found.Columns) % across:
        raise DataError(f"it claims to be a mosaic of {count} slices, which its sides do not fit")
    return count


def tiles_across(count: int) -> int:
    """Slices beside each other: a mosaic is as wide in slices as it is high."""
    return math.isqrt(count - 1) + 1


def tile(image: NDArray[Any], number: int, count: int) -> NDArray[Any]:
    """A slice out of a mosaic (H, W)."""
    across = tiles_across(count)
    rows, columns = image.shape[0] // across, image.shape[1] // across
    top, left = number // across * rows, number % across * columns
    return image[top : top + rows, left : left + columns]


def planes_of(found: Any, count: int, corner: list[float]) -> list[list[float]]:
    """Position (3) and orientation (6) of every slice; [] where their distance is not told.

    Args:
        found: the header.
        count: of the slices.
        corner: position and orientation of the whole image, which is centred on the first slice.
    """
    step = float(found.get("SpacingBetweenSlices") or found.get("SliceThickness") or 0)
    spacing = [float(number) for number in found.get("PixelSpacing") or ()]
    if not step or len(spacing) != 2:
        return []
    along_rows, along_columns = np.array(corner[3:6]), np.array(corner[6:])
    normal = np.cross(along_rows, along_columns)
    told = _csa(found, "SliceNormalVector")
    if len(told) == 3 and float(normal @ np.array(told)) < 0:
        normal = -normal
    share = (1 - 1 / tiles_across(count)) / 2
    width, height = spacing[1] * int(found.Columns), spacing[0] * int(found.Rows)
    first = np.array(corner[:3]) + share * (along_rows * width + along_columns * height)
    return [[*(first + number * step * normal).tolist(), *corner[3:]] for number in range(count)]


def _number(told: Any) -> int:
    return int.from_bytes(told, "little") if isinstance(told, bytes) else int(told or 0)


def _csa(found: Any, name: str) -> list[float]:
    """The numbers of an entry of the CSA header; [] where there is none.

    An entry is its name in 64 bytes, five words of 32 bits, the fourth the number of items, and the
    items, each behind four words, of which the first is its length.
    """
    told = found.get(CSA)
    data = told.value if told is not None else b""
    place = data.find(name.encode() + b"\0") if isinstance(data, bytes) else -1
    if place < 0 or len(data) < place + 84:
        return []
    (items,) = struct.unpack_from("<i", data, place + 76)
    place += 84
    numbers: list[float] = []
    for _ in range(min(max(items, 0), 64)):
        if len(data) < place + 16:
            break
        (length,) = struct.unpack_from("<i", data, place)
        text = data[place + 16 : place + 16 + max(length, 0)]
        place += 16 + -(-max(length, 0) // 4) * 4
        if found_number := re.match(rb"\s*(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)", text):
            numbers.append(float(found_number[1]))
    return numbers
