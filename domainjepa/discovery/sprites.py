"""Small pictures of all samples in few large ones: WebP sheets that a page cuts its tiles from."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.source import Source, spread
from domainjepa.encoder.samples import framed
from domainjepa.waiting import bar

SIDES = (256, 192, 160, 128, 96, 64, 48, 32, 24)
"""Pixels of a tile, the largest first."""
SHEET = 1024
"""Pixels of a sheet, at most: what is decoded at once takes 4 MiB."""
QUALITY = 82
TRIED = 48
"""Tiles that a size is estimated from."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Sheets:
    """Pictures of N samples.

    Attributes:
        side: pixels of a tile.
        across: tiles in a line, and lines in a sheet.
        place: (N,) which tile each sample is, counted through the sheets.
        files: the sheets, WebP.
    """

    side: int
    across: int
    place: NDArray[np.int64]
    files: list[bytes]


def tile(picture: Picture, side: int, whole: bool = False) -> Picture:
    """(side, side, 3): the centre square, as encoders see it, or the whole picture on black."""
    if whole:
        height, width = picture.shape[:2]
        square = np.zeros((max(height, width),) * 2 + (3,), np.uint8)
        top, left = (len(square) - height) // 2, (len(square) - width) // 2
        square[top : top + height, left : left + width] = picture
        picture = square
    found: Picture = framed(picture, side)
    return found


def largest_side(
    show: Callable[[int], Picture], rows: NDArray[np.int64], source: Source, most_bytes: int
) -> int:
    """The largest tile with which all pictures take no more than so many bytes, as far as some
    tell; none is larger than the pictures themselves are, but for very small ones."""
    seen = [show(int(rows[at])) for at in spread(len(rows), TRIED)]
    own = float(np.median([min(one.shape[:2]) for one in seen]))
    sides = [side for side in SIDES if side <= max(own, SIDES[-2])]
    for side in sides:
        sheet = np.concatenate([tile(one, side, source.volumetric) for one in seen])
        if len(_webp(sheet)) / len(seen) * len(rows) <= most_bytes:
            return side
    return SIDES[-1]


def sheets_of(
    show: Callable[[int], Picture],
    rows: NDArray[np.int64],
    order: NDArray[np.int64],
    side: int,
    whole: bool,
    console: Console,
) -> Sheets:
    """The sheets of samples.

    Args:
        show: row -> (H, W, 3) uint8.
        rows: (N,) of the source.
        order: (N,) positions in the order of the tiles.
        side: of a tile.
        whole: whether no part of a picture may be cut off.
        console: where to show progress.
    """
    across = max(SHEET // side, 1)
    files, place = [], np.empty(len(rows), np.int64)
    place[order] = np.arange(len(order))
    with bar(console, "drawing pictures", len(rows)) as told:
        for first in range(0, len(order), across * across):
            part = order[first : first + across * across]
            lines = -(-len(part) // across)
            sheet = np.zeros((lines * side, min(across, len(part)) * side, 3), np.uint8)
            for at, position in enumerate(part.tolist()):
                y, x = divmod(at, across)
                small = tile(show(int(rows[position])), side, whole)
                sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = small
                told(first + at + 1)
            files.append(_webp(sheet))
    return Sheets(side, across, place, files)


def _webp(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()
