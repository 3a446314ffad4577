"""A coarse map of where something is in a sample that is too large to be read whole.

It is made once: from a coarse resolution, where the data hold several, else from small pieces that
are spread over the sample; and it is kept in the cache folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.parts.empty import SMALLEST_SHARE, background, something
from domainjepa.data.parts.kept import keep, load, place_of
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.large import Grid, Places
from domainjepa.errors import DataError
from domainjepa.waiting import bar

MOST_CELLS = 2**16
"""Of a map from a coarse resolution."""
MOST_PIECES = 2**12
"""That are read for a map without one."""
PIECE = {2: 32, 3: 16}
"""Pixels or voxels a side of a piece, at most, by dimensions."""
UNSEEN = 0.02
"""Share of what was not seen of a cell that counts as something where its piece is empty."""
_VALUES = 512  # of a piece
_VERSION = 1


@dataclass(frozen=True)
class Occupancy:
    """Where something is.

    Attributes:
        edges: of the cells along each axis, in pixels or voxels: n + 1 for n cells.
        share: of each cell that is more than background, 0 to 1.
        told: what it was made from.
    """

    edges: tuple[NDArray[np.float64], ...] = field(repr=False)
    share: NDArray[np.float64] = field(repr=False)
    told: str

    def within(self, start: Sequence[int], stop: Sequence[int]) -> Places:
        """The cells that hold something, as far as they lie in a box; in its own coordinates.

        Raises:
            DataError: there is nothing in it.
        """
        spans = []
        for edges, first, last in zip(self.edges, start, stop, strict=True):
            ends = edges.clip(first, last) - first
            spans.append((ends[:-1], ends[1:]))
        filled = self.share
        for axis, (low, high) in enumerate(spans):
            filled = filled * _along(high - low, axis, filled.ndim)
        at = np.nonzero(filled)
        if not len(at[0]):
            raise DataError("there is nothing but background in it")
        low, high = (
            np.stack([span[end][one] for span, one in zip(spans, at, strict=True)], axis=1)
            for end in (0, 1)
        )
        return Places(low, high, filled[at])


def find_occupancy(source: Source, index: int) -> Occupancy:
    """The map of one sample, from the cache where it is there.

    Raises:
        DataError: the sample cannot be read.
    """
    place = place_of(source, f"occupancy {_VERSION} {index}")
    found = _restored(load(place), source.sides(index))
    if found is None:
        overview = source.overview(index)
        found = (
            by_pieces(source, index) if overview is None else by_overview(overview, source, index)
        )
        keep(place, {
            "edges": [edges.tolist() for edges in found.edges],
            "share": np.round(found.share, 4).ravel().tolist(),
            "told": found.told,
        })  # fmt: skip
    return found


def _restored(kept: Any, sides: Sequence[int]) -> Occupancy | None:
    try:
        edges = tuple(np.asarray(one, np.float64) for one in kept["edges"])
        shape = [len(one) - 1 for one in edges]
        share = np.asarray(kept["share"], np.float64).reshape(shape)
        same = [one[-1] for one in edges] == list(sides)
        return Occupancy(edges, share, str(kept["told"])) if same else None
    except (TypeError, KeyError, ValueError, IndexError):
        return None  # absent or damaged: look anew


def by_overview(overview: Image, source: Source, index: int) -> Occupancy:
    """From a coarse resolution.

    Args:
        overview: (h, w, C) or (d, h, w, C).
    """
    sides, counts = source.sides(index), overview.shape[:-1]
    low, high = background(overview.reshape(-1, overview.shape[-1]))
    share = something(overview, low, high).astype(np.float64)
    step = 1
    while np.prod([-(-count // step) for count in counts]) > MOST_CELLS:
        step += 1
    edges = []
    for axis, (count, side) in enumerate(zip(counts, sides, strict=True)):
        starts = np.arange(0, count, step)
        ends = np.append(starts[1:], count)
        lengths = _along(ends - starts, axis, len(counts))
        share = np.add.reduceat(share, starts, axis=axis) / lengths
        edges.append(np.append(starts, count) * (side / count))
    share[share < SMALLEST_SHARE] = 0
    return Occupancy(tuple(edges), share, f"its resolution of {'x'.join(map(str, counts))}")


def by_pieces(source: Source, index: int) -> Occupancy:
    """From the middle of each of some thousand cells."""
    sides, chunks = source.sides(index), source.chunks(index)
    grid = Grid(chunks or (1,) * len(sides), (0,) * len(sides))
    piece = [min(PIECE[len(sides)], side) for side in sides]
    edges, starts = [], []
    for side, length, count in zip(sides, piece, _counts(sides, piece), strict=True):
        ends = np.round(np.linspace(0, side, count + 1))
        edges.append(ends)
        middles = (ends[:-1] + ends[1:] - length) / 2
        starts.append(middles.clip(0, side - length).astype(np.int64).tolist())
    places = np.array(list(product(*starts)), dtype=np.int64)
    places += grid.to_fewest(places, places + piece, sides)
    pixels = []
    with bar(Console(stderr=True), "looking where something is", len(places)) as show:
        for number, start in enumerate(places):
            values = source.region(index, start.tolist(), (start + piece).tolist())
            values = values.reshape(-1, source.channels)
            pixels.append(values[np.linspace(0, len(values) - 1, _VALUES).astype(np.int64)])
            show(number + 1)
    seen = np.stack(pixels)
    low, high = background(seen.reshape(-1, source.channels))
    share = something(seen, low, high).mean(axis=1).reshape([len(one) - 1 for one in edges])
    share[share < SMALLEST_SHARE] = 0
    if share.any():
        seen_of_it = len(places) * np.prod(np.divide(piece, sides))
        share = np.maximum(share, UNSEEN * max(1 - float(seen_of_it), 0.0))
    return Occupancy(tuple(edges), share, f"{len(places):,} pieces of it")


def _along(values: NDArray[Any], axis: int, dimensions: int) -> NDArray[Any]:
    """(n,) -> n along one axis of an array of so many, 1 along the others."""
    return values.reshape([-1 if one == axis else 1 for one in range(dimensions)])


def _counts(sides: Sequence[int], piece: Sequence[int]) -> list[int]:
    """Cells along each axis, as cubic as can be, none smaller than a piece."""
    cell = (np.prod(sides, dtype=np.float64) / MOST_PIECES) ** (1 / len(sides))
    while True:
        counts = [
            max(int(min(side / cell, side // length)), 1)
            for side, length in zip(sides, piece, strict=True)
        ]
        if np.prod(counts) <= MOST_PIECES:
            return counts
        cell *= 1.05
