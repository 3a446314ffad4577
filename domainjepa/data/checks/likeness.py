"""Images that are nearly the same: copies compressed again, rescaled, or cropped by a hair.

Every image is compared in small with every other, and pairs that agree there pixel by pixel. A copy
that is shifted, turned or mirrored is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import Image, Source

ALIKE = 0.995
"""Correlation of two images, pixel by pixel, from which they are near duplicates."""
MOST_FOR_NEAR = 30_000
"""Every pair is compared in small, so near duplicates are looked for up to this many samples."""
THUMBNAIL = 8
_CANDIDATES = 5_000  # pairs of thumbnails that are looked at in full
_AT_ONCE = 512

TOO_MANY = "too many samples look alike in small"


def thumbnail(image: Image) -> NDArray[np.float32]:
    """Mean of the bands in 8x8 blocks, centred and of unit length; zero for an image without shape.

    A dot product of two thumbnails is their correlation. Of a volume, the plane in the middle.
    """
    if image.ndim == 4:
        image = image[len(image) // 2]
    grey = np.nan_to_num(image.astype(np.float32), posinf=0.0, neginf=0.0).mean(axis=2)
    flat: NDArray[np.float32] = _blocks(grey, (THUMBNAIL, THUMBNAIL)).ravel()
    flat = flat - flat.mean()
    length = np.linalg.norm(flat)
    if length > 0:
        flat /= length
    return flat


def _blocks(grey: NDArray[np.float32], sides: tuple[int, ...]) -> NDArray[np.float32]:
    """(H, W) -> the means of as many blocks along each side."""
    for axis, blocks in enumerate(sides):
        edges = np.arange(blocks) * grey.shape[axis] // blocks
        widths = np.maximum(np.append(edges[1:], grey.shape[axis]) - edges, 1).astype(grey.dtype)
        grey = np.add.reduceat(grey, edges, axis=axis) / np.expand_dims(widths, 1 - axis)
    return grey


def near_pairs(
    source: Source, rows: NDArray[np.int64], thumbnails: NDArray[np.float32]
) -> tuple[list[tuple[int, int]], str]:
    """Pairs of rows of one size that are nearly alike, and why they were not looked for, if so."""
    candidates: list[tuple[int, int]] = []
    for start, one, other in _agreeing(thumbnails, thumbnails, ahead=True):
        candidates += zip(rows[start + one].tolist(), rows[start + other].tolist(), strict=True)
        if len(candidates) > _CANDIDATES:
            return [], TOO_MANY
    return [pair for pair in candidates if _alike(*source.__getitems__(pair))], ""


def near_across(
    here: Source,
    known: NDArray[np.int64],
    known_thumbnails: NDArray[np.float32],
    there: Source,
    asked: NDArray[np.int64],
    asked_thumbnails: NDArray[np.float32],
) -> tuple[list[int], str]:
    """Rows of another source that are nearly alike to one of this.

    Images of two sources may differ in size and in bands: they are compared at the smaller of both
    sides, by the mean of their bands.

    Args:
        here, there: the sources.
        known, asked: (M,) and (N,) rows of them.
        known_thumbnails, asked_thumbnails: (M, 64) and (N, 64) of `thumbnail`.

    Returns:
        The rows of `there`, ascending, and why they were not looked for, if so.
    """
    candidates: list[tuple[int, int]] = []
    for start, one, other in _agreeing(asked_thumbnails, known_thumbnails):
        candidates += zip(asked[start + one].tolist(), known[other].tolist(), strict=True)
        if len(candidates) > _CANDIDATES:
            return [], TOO_MANY
    found: set[int] = set()
    for row, twin in candidates:
        if row not in found and _alike_in_small(here[twin], there[row]):
            found.add(row)
    return sorted(found), ""


def _agreeing(
    ones: NDArray[np.float32], others: NDArray[np.float32], *, ahead: bool = False
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of thumbnails that agree: the first row of a piece, the rows in it, and the others.

    Args:
        ahead: both are the same, and each pair is wanted once; the others count from the piece.
    """
    for start in range(0, len(ones), _AT_ONCE):
        against = others[start:] if ahead else others
        one, other = np.nonzero(ones[start : start + _AT_ONCE] @ against.T > ALIKE)
        if ahead:
            one, other = one[other > one], other[other > one]
        yield start, one, other


def _alike(one: Image, other: Image) -> bool:
    return one.shape == other.shape and _correlate(one, other)


def _alike_in_small(one: Image, other: Image) -> bool:
    """Whether two images agree, where they may differ in size and in bands."""
    if one.shape == other.shape:
        return _correlate(one, other)
    greys = [np.nan_to_num(image.astype(np.float32)).mean(axis=2) for image in (one, other)]
    sides = tuple(min(pair) for pair in zip(*(grey.shape for grey in greys), strict=True))
    return _correlate(*(_blocks(grey, sides) for grey in greys))


def _correlate(one: Sequence[float] | Image, other: Sequence[float] | Image) -> bool:
    a, b = (np.nan_to_num(np.asarray(image, np.float64)).ravel() for image in (one, other))
    a, b = a - a.mean(), b - b.mean()
    length = np.sqrt((a @ a) * (b @ b))
    return bool(length > 0 and a @ b > ALIKE * length)
