"""The images of a FITS file, as its headers tell."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from domainjepa.data.formats.fits.headers import HDU, bitpix_of, count_of, headers, sides_of, word
from domainjepa.data.storage import precision
from domainjepa.errors import DataError

if TYPE_CHECKING:
    from astropy.io import fits

MOST_PACKED = 10_000
"""A compressed image that claims more bytes than this many times its file's size is refused."""
GRID = (
    *("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "CROTA2"),
    *("CD1_1", "CD1_2", "CD2_1", "CD2_2", "PC1_1", "PC1_2", "PC2_1", "PC2_2", "RADESYS"),
)
"""Keywords that place pixels on the sky."""
CELESTIAL = re.compile(r"RA--|DEC-|.LON|.LAT")
"""How CTYPE of an axis on the sky begins."""


class ImageHDU(NamedTuple):
    """One image of a file, as its header tells.

    Attributes:
        number: of the HDU; 0 is the primary one.
        name: EXTNAME, with `,EXTVER` where that is not 1; empty where there is none.
        shape: in numpy's order (NAXISn, …, NAXIS1), without axes of length one before the last two,
            which radio images have for Stokes and frequency.
        bitpix: BITPIX, or ZBITPIX of a compressed image.
        scale, zero, blank: BSCALE, BZERO and BLANK.
        offset: of the data in the (unpacked) file, in bytes.
        storage: "plain", "gzip" of the whole file, or "tiles" (`.fz`).
    """

    number: int
    name: str
    shape: tuple[int, ...]
    bitpix: int
    scale: float
    zero: float
    blank: int | None
    offset: int
    storage: str

    @property
    def stored(self) -> np.dtype[Any]:
        """The dtype in the file."""
        kind = "f" if self.bitpix < 0 else "u" if self.bitpix == 8 else "i"
        return np.dtype(f">{kind}{abs(self.bitpix) // 8}")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The native dtype of the values."""
        return value_dtype(*self.make)

    @property
    def make(self) -> tuple[int, float, float, int | None]:
        """What the dtype of the values hangs on."""
        return self.bitpix, self.scale, self.zero, self.blank

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * abs(self.bitpix) // 8

    def __str__(self) -> str:
        label = f"{self.number} {self.name}".strip()
        return f"{label} ({'x'.join(map(str, self.shape))} {self.dtype})"


@lru_cache
def value_dtype(bitpix: int, scale: float, zero: float, blank: int | None) -> np.dtype[Any]:
    """What stored numbers become; astropy's rule but for BLANK, which it drops from unsigned ones.

    Unsigned integers are stored as signed ones with BZERO = 2^(BITPIX-1), signed bytes with -128
    (FITS standard 4.0, table 11); other scaled integers, and those with a BLANK, become float32 up
    to 16 bits and float64 beyond, or where float32 does not reach so far.
    """
    if bitpix < 0:
        return np.dtype(f"f{-bitpix // 8}")
    reach = max(abs(scale) * 2.0 ** abs(bitpix), abs(zero))
    fits = bitpix <= 16 and reach < precision.MOST and abs(scale) > precision.LEAST
    floats = np.dtype("float32" if fits else "float64")
    if blank is not None or scale != 1:
        return floats
    if zero == 0:
        return np.dtype("uint8" if bitpix == 8 else f"int{bitpix}")
    if offset_binary(bitpix, scale, zero):
        return np.dtype("int8" if bitpix == 8 else f"uint{bitpix}")
    return floats


def offset_binary(bitpix: int, scale: float, zero: float) -> bool:
    """Whether BZERO only turns signed into unsigned integers, or bytes into signed ones."""
    return bitpix > 0 and scale == 1 and zero == (-128 if bitpix == 8 else 2 ** (bitpix - 1))


class Contents(NamedTuple):
    """What the headers of a file tell.

    Attributes:
        hdus: its images.
        grids: a hash for each of the keywords that place pixels on the sky; empty without them.
        cards: values of header keywords, each from the first HDU that has it.
        tables: how many binary tables there are.
    """

    hdus: tuple[ImageHDU, ...]
    grids: tuple[str, ...]
    cards: dict[str, Any]
    tables: int = 0

    def grids_of(self, hdus: Sequence[ImageHDU]) -> list[str]:
        """The hashes of these images."""
        return [self.grids[self.hdus.index(hdu)] for hdu in hdus]


def contents(path: Path, most: int, keywords: Sequence[str] = ()) -> Contents:
    """The HDUs of a file that hold an image of two or more axes.

    Args:
        most: bytes up to which a `.fits.gz` or `.fits.bz2` is unpacked.
        keywords: to look up beside them.

    Raises:
        DataError: as `headers`; and what makes no sense in the header of an image.
    """
    images: list[ImageHDU] = []
    grids: list[str] = []
    cards: dict[str, Any] = {}
    tables = 0
    for hdu in headers(path, most):
        image = _image(hdu)
        if image:
            images.append(image)
            grids.append(_grid(hdu.header))
        tables += kind_of(hdu.header) == "BINTABLE" and not image
        for keyword in keywords:
            value = word(hdu.header, keyword)
            if isinstance(value, str | int | float):
                cards.setdefault(keyword, value)
    return Contents(tuple(images), tuple(grids), cards, tables)


def kind_of(header: fits.Header) -> str:
    """IMAGE, TILES (an image in compressed tiles), BINTABLE, or another kind of extension."""
    kind = str(header.get("XTENSION", "IMAGE")).strip()
    return "TILES" if kind == "BINTABLE" and header.get("ZIMAGE") is True else kind


def _image(found: HDU) -> ImageHDU | None:
    number, header, offset, packed, held = found
    tiled = kind_of(header) == "TILES"
    if kind_of(header) not in ("IMAGE", "TILES"):
        return None
    prefix = "Z" if tiled else ""
    sides = sides_of(header, prefix)
    if len(sides) < 2 or 0 in sides:
        return None
    blank = header.get("BLANK", header.get("ZBLANK") if tiled else None)
    bitpix = bitpix_of(header, prefix)
    name, version = str(word(header, "EXTNAME", "")).strip(), word(header, "EXTVER", 1)
    name = "" if name == "COMPRESSED_IMAGE" else name  # what tools write where it has none
    hdu = ImageHDU(
        number=number,
        name=f"{name},{version}" if name and version != 1 else name,
        shape=without_ones(sides),
        bitpix=bitpix,
        scale=_number(header, "BSCALE", 1.0),
        zero=_number(header, "BZERO", 0.0),
        blank=blank if isinstance(blank, int) and bitpix > 0 else None,
        offset=offset,
        storage="tiles" if tiled else "gzip" if packed else "plain",
    )
    if tiled:
        tile = math.prod(count_of(header, f"ZTILE{axis + 1}", 1) for axis in range(len(sides)))
        claimed = max(hdu.nbytes, tile * abs(bitpix) // 8)
        if claimed > max(2**30, MOST_PACKED * held):
            raise DataError(
                f"HDU {number} claims {claimed:,} bytes of image in a file of {held:,}: it is "
                "damaged, or made to exhaust memory"
            )
    return hdu


def without_ones(sides: tuple[int, ...]) -> tuple[int, ...]:
    """Without axes of length one before the last two."""
    return (*(side for side in sides[:-2] if side > 1), *sides[-2:])


def _number(header: fits.Header, keyword: str, default: float) -> float:
    value = header.get(keyword, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{keyword} is {value!r}, not a number: the header is damaged")
    return float(value)


def _grid(header: fits.Header) -> str:
    if not CELESTIAL.match(str(word(header, "CTYPE1", ""))):
        return ""
    told = repr([word(header, keyword) for keyword in GRID])
    return hashlib.blake2b(told.encode(), digest_size=6).hexdigest()
