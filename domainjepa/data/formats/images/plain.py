"""Plain pictures, which Pillow reads in full: JPEG, PNG, BMP, WebP, GIF, JPEG 2000 of 8 bits, and
TIFF of one page of grey or colour.
"""

from __future__ import annotations

import warnings
from typing import IO, NamedTuple

from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from domainjepa.data.formats.images import tiff
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000")
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
BITS, COMPRESSION, PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 259, 262, 338, 339
"""Tags of TIFF."""
COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946)
"""None, CCITT, LZW, JPEG, Deflate and PackBits: those that every Pillow unpacks."""
CODESTREAM = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which a codestream of JPEG 2000 begins; by itself, or in a box of a .jp2."""
MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF87a", b"GIF89a"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", CODESTREAM, *tiff.MAGIC),
)
"""Of pictures; BMP and WebP are told by more than their first bytes."""
BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""Sizes of the versions of its header."""
BLACK_IS_ZERO = 1


def is_picture(head: bytes) -> bool:
    """Whether a file of these first bytes is a picture."""
    # A DICOM file may begin like a TIFF: both are found at their own places.
    if head.startswith(MAGIC):
        return head[128:132] != b"DICM"
    if head.startswith(b"BM"):
        return int.from_bytes(head[14:18], "little") in BMP_HEADERS and len(head) >= 18
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def plain(file: IO[bytes], options: OpenOptions) -> ImageFile | None:
    """The image by Pillow, its pixels not yet read; None for a TIFF that tifffile has to read.

    Raises:
        DataError: it is of none of the formats.
    """
    is_tiff = file.read(4) in tiff.MAGIC
    file.seek(0)
    if is_tiff and not options.read_whole(volumetric=False):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of damaged EXIF, which is not read
            image = Pillow.open(file, formats=FORMATS)
    except (UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        if is_tiff:  # tifffile reads more, and sizes are checked
            return None
        if isinstance(error, Pillow.DecompressionBombError):
            raise
        raise DataError("it is no JPEG, PNG, TIFF, BMP, WebP, GIF or JPEG 2000") from error
    if isinstance(image, TiffImageFile):
        return image if _pillow_reads(image) else None
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format in ("GIF", "WEBP", "PNG"):
        raise DataError(
            f"it is an animation of {frames:,} frames, and a sample is one picture: save each "
            "frame as a file of its own"
        )
    return image


def _pillow_reads(image: TiffImageFile) -> bool:
    """Whether Pillow reads a TIFF in full: one page of 8 bits, or grey of 16 bits or float32.

    It makes 16-bit colour 8-bit, leaves a fourth band out, does not turn deep white-is-zero, and
    knows no missing pixels.
    """
    if image.tag_v2.get(COMPRESSION, 1) not in COMPRESSIONS or tiff.NODATA in image.tag_v2:
        return False
    if image.n_frames > 1 or image.mode not in KINDS or 0 in image.tag_v2.get(EXTRA_SAMPLES, ()):
        return False
    if max(image.tag_v2.get(BITS, (1,))) <= 8:
        return set(image.tag_v2.get(SAMPLE_FORMAT, (1,))) == {1}
    deep = image.mode in ("I;16", "I;16B", "F")
    return deep and image.tag_v2.get(PHOTOMETRIC) == BLACK_IS_ZERO


def kind_of(image: Pillow.Image) -> Kind:
    """What the pixels of a picture are.

    Raises:
        DataError: they are of a kind that is not read.
    """
    if image.mode not in KINDS:
        raise DataError(f"pixels of the kind {image.mode!r} are not read")
    return KINDS[image.mode]
