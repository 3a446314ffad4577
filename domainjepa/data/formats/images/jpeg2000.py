"""JPEG 2000 of more than 8 bits, which Pillow stretches to 16 or cuts to 8; by imagecodecs.

The depth of each component stands in the SIZ marker segment (ISO/IEC 15444-1, A.5.1).
"""

from __future__ import annotations

from typing import IO

import numpy as np
from PIL.ImageFile import ImageFile

from domainjepa.data.formats.images.plain import CODESTREAM, Kind
from domainjepa.data.source import Image
from domainjepa.errors import DataError, MissingExtra

_LOOKED_AT = 2**16
"""Bytes in which the codestream must begin: boxes of metadata may come before it."""
_COMPONENTS, _FIRST = 40, 42
"""Where in the codestream their number stands, and the depth of the first."""


def deep_kind(image: ImageFile, file: IO[bytes]) -> Kind | None:
    """What the pixels become; None for other formats, and for 8 bits, which Pillow reads.

    Raises:
        DataError: components differ in depth or are signed.
    """
    if image.format != "JPEG2000":
        return None
    place = file.tell()
    file.seek(0)
    head = file.read(_LOOKED_AT)
    file.seek(place)
    start = head.find(CODESTREAM)
    count = int.from_bytes(head[start + _COMPONENTS : start + _FIRST], "big") if start >= 0 else 0
    depths = set(head[start + _FIRST : start + _FIRST + 3 * count : 3])
    if count not in (1, 2, 3, 4) or len(depths) != 1:
        raise DataError("its components differ, or are not of grey or colour; save it as TIFF")
    (depth,) = depths
    if depth & 0x80:
        raise DataError("its values are signed, which JPEG 2000 readers shift; save it as TIFF")
    bits = depth + 1
    if bits <= 8:
        return None
    if bits > 16:
        raise DataError(f"its values have {bits} bits, and up to 16 are read; save it as TIFF")
    return Kind("uint16", count - (count in (2, 4)))


def decode(file: IO[bytes]) -> Image:
    """(H, W, C) uint16, the values as they are stored; transparency is left out.

    Raises:
        MissingExtra: imagecodecs is not installed.
        Others: whatever the decoder raises on damaged bytes.
    """
    try:
        from imagecodecs import jpeg2k_decode
    except ImportError as error:
        raise MissingExtra("imagecodecs", "tiff", "JPEG 2000 of more than 8 bits") from error
    file.seek(0)
    values = np.asarray(jpeg2k_decode(file.read()))
    values = values.reshape(*values.shape[:2], -1)
    bands = values.shape[-1]
    return np.ascontiguousarray(values[..., : bands - (bands in (2, 4))].astype(np.uint16))
