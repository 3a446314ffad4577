"""Plain pictures, which Pillow reads in full: JPEG, PNG, and TIFF of one page of grey or colour."""

from __future__ import annotations

import warnings
from typing import IO, NamedTuple

from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from domainjepa.data.images import tiff
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError

FORMATS = ("JPEG", "PNG", "TIFF")
"""Of Pillow's decoders only these are let near a file."""


class Kind(NamedTuple):
    """What the pixels of a file become."""

    dtype: str
    channels: int


GREY, COLOUR = Kind("uint8", 1), Kind("uint8", 3)
KINDS = {
    **dict.fromkeys(("1", "L", "LA", "La"), GREY),
    **dict.fromkeys(
        ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"), COLOUR
    ),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), Kind("uint16", 1)),
    "I": Kind("int32", 1),
    "F": Kind("float32", 1),
}
"""Pillow's mode -> kind."""
BITS, PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 338, 339
"""Tags of TIFF."""
BLACK_IS_ZERO = 1


def plain(file: IO[bytes], options: OpenOptions) -> ImageFile | None:
    """The image by Pillow, its pixels not yet read; None for a TIFF that tifffile has to read.

    Raises:
        DataError: it is of none of the formats.
    """
    is_tiff = file.read(4) in tiff.MAGIC
    file.seek(0)
    if is_tiff and options.tile:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of damaged EXIF, which is not read
            image = Pillow.open(file, formats=FORMATS)
    except (UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        if is_tiff:  # tifffile reads more, and sizes are checked
            return None
        if isinstance(error, Pillow.DecompressionBombError):
            raise
        raise DataError("it is no JPEG, PNG or TIFF") from error
    return image if not isinstance(image, TiffImageFile) or _pillow_reads(image) else None


def _pillow_reads(image: TiffImageFile) -> bool:
    """Whether Pillow reads a TIFF in full: one page of 8 bits, or grey of 16 bits or float32.

    It makes 16-bit colour 8-bit, leaves a fourth band out, and does not turn deep white-is-zero.
    """
    if image.n_frames > 1 or image.mode not in KINDS or 0 in image.tag_v2.get(EXTRA_SAMPLES, ()):
        return False
    if max(image.tag_v2.get(BITS, (1,))) <= 8:
        return set(image.tag_v2.get(SAMPLE_FORMAT, (1,))) == {1}
    deep = image.mode in ("I;16", "I;16B", "F")
    return deep and image.tag_v2.get(PHOTOMETRIC) == BLACK_IS_ZERO


def kind_of(image: Pillow.Image) -> Kind:
    if image.mode not in KINDS:
        raise DataError(f"pixels of the kind {image.mode!r} are not read")
    return KINDS[image.mode]
