"""Parts of what is too large to be read whole, at places drawn by key: tiles in the planes of a
volume, tiles of a mosaic, cubes.

A part lies where it touches as few chunks as can be, and the more likely the more there is at a
place. Its place depends on its number alone: every command sees the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.parts.parts import Found, PartsSource, inherited
from domainjepa.data.parts.slices import axis_of
from domainjepa.data.sampling import key
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.data.storage.large import Large, Places
from domainjepa.errors import DataError

MOST_DRAWN = 100_000
"""Tiles by default."""
USUAL_SIDE, SMALLEST_SIDE = 256, 224
"""Pixels of a tile by default: whole chunks where these are small, from 224 on."""
DEAR = 4.0
"""Bytes read for each byte used from which on a warning tells the remedy."""
ALL = "all"
"""`data.axis` for the three planes by turns."""
_LOOKED_AT = 64  # cubes of volumes, or tiles, that stand for all


@dataclass(kw_only=True)
class DrawnSource(PartsSource):
    """Drawn parts.

    Attributes:
        across: (N,) the axis of the volume that a tile is one voxel thick along; -1 of others.
    """

    across: NDArray[np.int64] = field(repr=False)

    def read(self, index: int) -> Image:
        block = self.cut(int(self.of[index]), self.start[index].tolist(), self.stop[index].tolist())
        across = int(self.across[index])
        return block if across < 0 else np.ascontiguousarray(block.squeeze(across))

    def content_key(self) -> str:
        return f"{self.whole.content_key()} drawn {len(self)} {self.shape} {np.unique(self.across)}"

    @property
    def cost(self) -> float | None:
        """Bytes of the chunks that are read for each byte of the parts; None where not known."""
        read = used = 0.0
        for sample in np.unique(self.of).tolist():
            large, of_it = _large(self.whole, sample), self.of == sample
            if large.grid is None:
                return None
            own = float((self.stop[of_it] - self.start[of_it]).prod(axis=1).sum())
            read += own * large.grid.cost(self.start[of_it], self.stop[of_it])
            used += own
        return read / used


def drawn_tiles(source: PartsSource, options: OpenOptions) -> DrawnSource:
    """Tiles of mosaics, or in planes of volumes, that are too large to be read whole.

    Args:
        source: boxes, of which `large` tells.
        options: `tile`, the side, by default whole chunks of about 256; `regions`, how many of each
            sample; `axis`, across which the planes of a volume lie, or `all`.

    Raises:
        DataError: `neighbours`, or an axis that is none.
    """
    if options.neighbours:
        raise DataError(
            f"data.neighbours joins whole slices, and {source.name} is read in parts: leave it "
            "out, or take volumes (data.dimensions=3)."
        )
    axes = [-1]
    if source.volumetric:
        told = options.axis
        axes = [0, 1, 2] if told == ALL else [axis_of(told, getattr(source, "axes", None), source)]
    planes = [[axis for axis in range(len(source.shape) - 1) if axis != one] for one in axes]
    side = options.tile or _usual_side(source, planes)
    shortest = min(
        _large(source, row).sides[axis]
        for row in range(len(source)) for plane in planes for axis in plane
    )  # fmt: skip
    tile = min(side, shortest)
    made = draw(source, tile, _counts(source, tile, options.regions), axes)
    where = ""
    if source.volumetric:
        where = " in three planes" if len(axes) > 1 else f" across axis {axes[0]}"
    made.decisions.append(
        f"tiles: {len(made):,} of {tile}x{tile}{where}, the denser the more there is"
    )
    if options.tile and tile < options.tile:
        made.warnings.append(f"tiles of {options.tile} do not fit: they have {tile} px a side")
    if made.cost is not None:
        told = read_for_used(made.cost, str(_large(source, 0).grid))
        made.decisions.append(f"reads: {told}")
        if made.cost > DEAR:
            made.warnings.append(
                f"{told}, so training will wait for data. Pack the tiles once: domainjepa prepare "
                "with the same --data and --set, --out tiles.h5; or write the volume in chunks "
                "that lie in the planes of the tiles"
            )
    return made


def read_for_used(cost: float, chunks: str) -> str:
    """A phrase for the plan and for warnings."""
    return f"{cost:.3g} bytes of chunks ({chunks}) for each byte that is used"


def in_parts(source: Source) -> bool:
    """Whether any sample is too large to be read whole."""
    return any(source.large(row) is not None for row in range(len(source)))


def drawn_to_look_at(source: Source) -> DrawnSource:
    """Some cubes of volumes, or tiles of images, in the place of samples that are too large to be
    read whole: to inspect them, and to know them again."""
    side = 64 if source.volumetric else USUAL_SIDE
    return draw(source, side, [max(_LOOKED_AT // len(source), 1)] * len(source), [-1])


def draw(source: Source, side: int, counts: Sequence[int], axes: Sequence[int]) -> DrawnSource:
    """Parts of this side, so many of each sample.

    Args:
        source: of which `large` tells; a sample that is shorter than a part is taken as it is.
        counts: of each sample.
        axes: of a volume, across which the parts lie by turns; -1: they are cubes.
    """
    of, start, stop, across = [], [], [], []
    dimensions = len(source.shape) - 1
    for sample, count in enumerate(counts):
        large = _large(source, sample)
        turns = np.resize(np.array(axes, np.int64), count)
        size = np.where(np.arange(dimensions) == turns[:, None], 1, side)
        random = np.random.default_rng(key("drawn", sample))
        first, last = large.at(large.places.draw(random, count), size)
        of.append(np.full(count, sample, np.int64))
        start.append(first)
        stop.append(last)
        across.append(turns)
    every = [np.concatenate(one) for one in (of, start, stop, across)]
    found = Found(of=every[0], start=every[1], stop=every[2], sides=[], empty=0)
    names = [",".join(map(str, corner)) for corner in found.start.tolist()]
    facts = inherited(source, found, names if source.ids is not None else [])
    facts["decisions"] = [*source.decisions]
    shape = [*(found.stop[0] - found.start[0]).tolist(), source.channels]
    if axes[0] >= 0:
        del shape[axes[0]]
    made = DrawnSource(**facts, shape=tuple(shape), across=every[3])
    if source.spacings is not None:
        made.spacings = source.spacings[found.of]
        if axes[0] >= 0:
            kept = np.arange(3) != made.across[:, None]
            made.spacings = made.spacings[kept].reshape(-1, 2)
    made.bands = source.bands
    return made


def _large(source: Source, row: int) -> Large:
    """What is known of a sample; of one that is read whole, that it may be drawn from anywhere."""
    found = source.large(row)
    if found is None:
        sides = source.sides(row)
        corners = np.array([(0,) * len(sides), sides], np.float64)
        everywhere = Places(corners[:1], corners[1:], corners[1:].prod(axis=1))
        found = Large(sides, None, everywhere)
    return found


def _usual_side(source: Source, planes: Sequence[Sequence[int]]) -> int:
    """The least whole number of chunks from 224 on, or 256 where chunks are larger."""
    chunks = source.chunks(0)
    chunk = max((chunks[axis] for plane in planes for axis in plane), default=1) if chunks else 1
    return USUAL_SIDE if chunk >= USUAL_SIDE else math.ceil(SMALLEST_SIDE / chunk) * chunk


def _counts(source: PartsSource, tile: int, regions: int | None) -> list[int]:
    """How many tiles of each sample: as many as fill what is there, or so many of each
    volume in the mean; where there is more, there are more."""
    totals = np.array([_large(source, row).places.total for row in range(len(source))])
    every = min(totals.sum() / tile**2, MOST_DRAWN)
    if regions is not None:
        every = regions * len(np.unique(source.of))
    return [max(round(one), 1) for one in (every * totals / totals.sum()).tolist()]
