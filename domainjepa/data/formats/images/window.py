"""A part of a page of TIFF, from the tiles or strips that it touches: whole slides, mosaics."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tifffile import TiffPage

JPEG = (6, 7, 33007, 34892)
"""Compressions whose tables stand beside the tiles."""


def segment_of(page: TiffPage) -> tuple[int, int]:
    """Height and width of what is stored as one: a tile, or a strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip or page.imagelength, page.imagelength), page.imagewidth


def read_window(page: TiffPage, rows: slice, columns: slice) -> NDArray[Any]:
    """Rows and columns of a page whose axes are YX, YXS or SYX; in that order of axes.

    Tiles that a sparse file leaves out are zero, as in GDAL.
    """
    keyframe = page.keyframe
    planes, _, length, width, samples = keyframe.shaped
    height, across = segment_of(keyframe)
    down, right = math.ceil(length / height), math.ceil(width / across)
    top, bottom, _ = rows.indices(length)
    left, end, _ = columns.indices(width)
    window = np.zeros((planes, bottom - top, end - left, samples), keyframe.dtype)
    tables: dict[str, Any] = {}
    if keyframe.compression in JPEG:
        tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
    places = product(
        range(planes),
        range(top // height, math.ceil(bottom / height)),
        range(left // across, math.ceil(end / across)),
    )
    for plane, row, column in places:
        segment = _decoded(page, (plane * down + row) * right + column, tables)
        if segment is None:
            continue
        first, start = row * height, column * across
        low, high = max(top, first), min(bottom, first + segment.shape[0])
        near, far = max(left, start), min(end, start + segment.shape[1])
        window[plane, low - top : high - top, near - left : far - left] = segment[
            low - first : high - first, near - start : far - start
        ]
    return window.reshape([side for side in _sides(keyframe, window) if side is not None])


def _sides(keyframe: TiffPage, window: NDArray[Any]) -> list[int | None]:
    """The shape with the axes that the page tells."""
    planes, height, width, samples = window.shape
    told = keyframe.axes
    return [
        planes if told.startswith("S") else None,
        height,
        width,
        samples if told.endswith("S") else None,
    ]


def _decoded(page: TiffPage, number: int, tables: dict[str, Any]) -> NDArray[Any] | None:
    """(H, W, samples) of a tile or strip, cut where the page ends; None where there is none."""
    count = page.databytecounts[number]
    if not count:
        return None
    file = page.parent.filehandle
    offset = page.dataoffsets[number]
    file.seek(offset)
    data = file.read(min(count, max(0, file.size - offset)))
    segment, _, _ = page.keyframe.decode(data, number, **tables)
    return None if segment is None else segment[0]
