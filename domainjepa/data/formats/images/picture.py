"""One picture from its bytes: its header, and its pixels as they are or as the first picture's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np

from domainjepa.data.files.damage import reason, unreadable_seen
from domainjepa.data.formats.images import jpeg2000, tiff
from domainjepa.data.formats.images.orientation import turn_of
from domainjepa.data.formats.images.plain import COLOUR, GREY, Kind, kind_of, plain
from domainjepa.data.source import Image, OpenOptions, spread
from domainjepa.errors import DataError, MissingExtra, UserError

MOST_HEADERS = 64
"""Pictures that are looked at when they are opened; the others are checked as they are read."""
DEEP = "16-bit colour PNG files are read as 8 bits; keep 16 bits as TIFF, .npy or HDF5"


class Header(NamedTuple):
    """What a picture is, before its pixels are read.

    Attributes:
        shape: (H, W, C), or (D, H, W, C).
        dtype: of its values.
        remark: what there is to say about it.
    """

    shape: tuple[int, ...]
    dtype: str
    remark: str

    @property
    def kind(self) -> Kind:
        return Kind(self.dtype, self.shape[-1])


def header(file: IO[bytes], options: OpenOptions) -> Header:
    """What one picture is; raises DataError and whatever the decoder raises."""
    image = plain(file, options)
    if image is None:
        with tiff.opened(file, options) as series:
            return Header(series.shape, series.dtype.name, str(series))
    if options.axis:
        raise DataError(
            f"data.axis={options.axis} says what the pages of a TIFF are, and this is "
            f"{image.format}: leave data.axis out"
        )
    kind = jpeg2000.deep_kind(image, file) or kind_of(image)
    remark = ""
    if ";16" in str(image.tile[:1]) and kind == COLOUR:
        remark = DEEP
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        remark = "transparency is left out"
    sides = turn_of(image).sides((image.height, image.width))
    return Header((*sides, kind.channels), kind.dtype, remark)


def decode(
    file: IO[bytes], kind: Kind, options: OpenOptions, window: tuple[slice, ...] = ()
) -> Image:
    """(H, W, C) of one picture; raises DataError and whatever the decoder raises.

    Args:
        kind: of the first picture; grey and colour of 8 bits become each other.
        window: of a TIFF, what to read along H, W.
    """
    image = plain(file, options)
    if image is None:
        with tiff.opened(file, options) as series:
            check_kind(Kind(series.dtype.name, series.shape[-1]), kind)
            return series.read(0, window)
    turn, deep = turn_of(image), jpeg2000.deep_kind(image, file)
    own = deep or kind_of(image)
    if {own, kind} != {GREY, COLOUR}:
        check_kind(own, kind)
    size = image.width * image.height * kind.channels * np.dtype(kind.dtype).itemsize
    if size > options.max_sample_bytes:
        raise DataError(
            f"it would take {size:,} bytes, more than {options.max_sample_bytes:,}; "
            f"if that is meant: --set data.max_sample_bytes={size}"
        )
    if deep:
        return turn(jpeg2000.decode(file))
    if kind in (GREY, COLOUR):
        array = np.asarray(image.convert("L" if kind == GREY else "RGB"))
    else:
        array = np.asarray(image).astype(kind.dtype, copy=False)
    return turn(array.reshape(*array.shape[:2], kind.channels))


def check_kind(own: Kind, first: Kind) -> None:
    """Raises DataError where a picture is not like the first."""
    if own.dtype != first.dtype:
        raise DataError(f"it is {own.dtype}, the first file is {first.dtype}")
    if own.channels != first.channels:
        raise DataError(f"it has {own.channels} channels, the first file has {first.channels}")


class Survey(NamedTuple):
    """What the headers of some pictures tell of all: the first decides what they are.

    Attributes:
        first: the header of the first picture.
        decisions, warnings: for the source.
    """

    first: Header
    decisions: list[str]
    warnings: list[str]


def survey(
    count: int, look: Callable[[int], Header], called: Callable[[int], str], what: str = "files"
) -> Survey:
    """Looks at the headers of a selection.

    Args:
        count: of all pictures.
        look: index -> its header; may raise whatever comes to hand.
        called: index -> what to call it in a message.
        what: the pictures are.

    Raises:
        DataError: none of them can be read.
        MissingExtra: its format needs a package that is not there.
    """
    headers: list[Header] = []
    bad: list[DataError] = []
    for index in (selection := spread(count, MOST_HEADERS)):
        try:
            headers.append(look(index))
        except MissingExtra:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, UserError) else reason(error)
            bad.append(DataError(f"sample {index}, {called(index)}, cannot be read: {said}"))
    if not headers:
        raise bad[0]
    first = headers[0]
    found = Survey(first, [f"images: {count:,} {what}, {first.dtype}"], [])
    sizes = {one.shape[:-1] for one in headers}
    if len(sizes) > 1:
        found.decisions.append(
            f"sizes differ: {len(sizes)} among {len(selection)} {what}; the shape is the first's"
        )
    if len(Counter(one.kind for one in headers)) > 1:
        word = "colour" if first.kind == COLOUR else "grey"
        found.decisions.append(f"grey and colour are mixed: all become {word}, as the first is")
    remarks = {one.remark for one in headers}
    found.decisions.extend(sorted(remarks - {"", DEEP}))
    found.warnings.extend(remarks & {DEEP})
    if bad:
        found.warnings.append(unreadable_seen(len(bad), len(selection)))
    return found
