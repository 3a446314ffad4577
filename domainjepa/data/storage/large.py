"""What is known of a sample that is too large to be read whole: its chunks, and where something is.

Places are in pixels or voxels along H, W or D, H, W, from the sample's own corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

LINE = 4096
"""Bytes that a disk gives at once: of what lies uncompressed in one piece, that is the chunk."""


@dataclass(frozen=True)
class Grid:
    """The chunks of an array, of which each is read and unpacked whole.

    Attributes:
        chunks: sides of a chunk along H, W or D, H, W.
        first: where a sample begins within a chunk, along the same axes.
    """

    chunks: tuple[int, ...]
    first: tuple[int, ...]

    def within(self, start: Sequence[int]) -> Grid:
        """The same chunks, seen by a part that begins at `start`."""
        sides = zip(self.chunks, self.first, start, strict=True)
        return Grid(self.chunks, tuple((first + one) % chunk for chunk, first, one in sides))

    def read(self, start: ArrayLike, stop: ArrayLike) -> NDArray[np.int64]:
        """(…, k) -> (…): pixels or voxels of the chunks that each part touches."""
        chunks, first = np.asarray(self.chunks), np.asarray(self.first)
        begin = (np.asarray(start) + first) // chunks
        end = -(-(np.asarray(stop) + first) // chunks)
        touched: NDArray[np.int64] = ((end - begin) * chunks).prod(axis=-1)
        return touched

    def to_fewest(
        self, start: ArrayLike, stop: ArrayLike, sides: Sequence[int]
    ) -> NDArray[np.int64]:
        """How far to shift parts along each axis so that they touch as few chunks as any part of
        their size: by the shorter way that stays within the sample, and not where none does.

        Args:
            start, stop: (…, k) of the parts.
            sides: (k,) of the sample.
        """
        begin, end = np.asarray(start, np.int64), np.asarray(stop, np.int64)
        chunks, length = np.asarray(self.chunks), end - begin
        slack = -(-length // chunks) * chunks - length
        over = (begin + np.asarray(self.first)) % chunks
        down, up = slack - over, chunks - over
        can_go_down, can_go_up = begin + down >= 0, end + up <= np.asarray(sides)
        goes_up = can_go_up & ((up < -down) | ~can_go_down)
        back = np.where(can_go_down, down, 0)
        return np.where(over <= slack, 0, np.where(goes_up, up, back))

    def cost(self, start: ArrayLike, stop: ArrayLike) -> float:
        """Bytes of the chunks that parts (n, k) touch, each part by itself, over their own."""
        used = (np.asarray(stop) - np.asarray(start)).prod(axis=-1).sum()
        return float(self.read(start, stop).sum() / max(used, 1))

    def __str__(self) -> str:
        return "x".join(map(str, self.chunks))


@dataclass(frozen=True)
class Places:
    """Where something is: boxes of a sample, each with how much of it is more than background.

    Attributes:
        start, stop: (n, 2) or (n, 3) float64.
        filled: (n,) float64 pixels or voxels that are not background.
    """

    start: NDArray[np.float64] = field(repr=False)
    stop: NDArray[np.float64] = field(repr=False)
    filled: NDArray[np.float64] = field(repr=False)

    def draw(self, random: np.random.Generator, count: int) -> NDArray[np.float64]:
        """(count, k): places, the more likely the more there is at them."""
        drawn = random.uniform(size=(count, 1 + self.start.shape[1]))
        box = np.searchsorted(self._ends, drawn[:, 0] * self._ends[-1], "right")
        box = box.clip(max=len(self._ends) - 1)
        start, stop = self.start[box], self.stop[box]
        places: NDArray[np.float64] = start + drawn[:, 1:] * (stop - start)
        return places

    @cached_property
    def _ends(self) -> NDArray[np.float64]:
        return np.cumsum(self.filled)

    @property
    def total(self) -> float:
        """Pixels or voxels that are not background."""
        return float(self.filled.sum())


@dataclass(frozen=True)
class Large:
    """What is known of a sample that is read in parts alone.

    Attributes:
        sides: along H, W or D, H, W.
        grid: its chunks; None where the format does not tell.
        places: where something is.
    """

    sides: tuple[int, ...]
    grid: Grid | None
    places: Places

    def at(
        self, centre: NDArray[np.float64], size: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and stop of parts about these places: within the sample, shifted so that they
        touch as few chunks as can be; of an axis that is shorter, all of it.

        Args:
            centre: (n, k).
            size: (n, k) or (k,) sides of the parts.
        """
        sides = np.asarray(self.sides)
        length = np.minimum(np.asarray(size), sides)
        start = np.round(centre - length / 2).astype(np.int64).clip(0, sides - length)
        if self.grid is not None:
            start = start + self.grid.to_fewest(start, start + length, self.sides)
        return start, start + length


def lines(sides: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """What takes the place of chunks where an array lies uncompressed in one piece: what a disk
    gives at once of its last axis.

    Args:
        sides: of a sample, the axis that runs fastest last.
        itemsize: bytes from one place of that axis to the next.
    """
    return (*(1,) * (len(sides) - 1), max(min(LINE // max(itemsize, 1), sides[-1]), 1))
