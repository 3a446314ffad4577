"""Tiles: mosaics, whole slides and volumes, cut into samples of one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from domainjepa.data.parts.parts import PartsSource, Region, find_parts, inherited
from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError

MOST_TILES = 2**22
"""Of one sample: what is cut finer was hardly meant."""


@dataclass(kw_only=True)
class TilesSource(PartsSource):
    """Squares, or cubes of volumes."""

    tile: int

    def read(self, index: int) -> Image:
        return self.cut(int(self.of[index]), self.start[index].tolist(), self.stop[index].tolist())

    def content_key(self) -> str:
        return f"{self.whole.content_key()} tiles {self.tile}"


def tiled(source: Source, tile: int) -> Source:
    """Every sample cut into tiles, those with nothing on them left out.

    The tiles of a sample cover it; the last ones of an axis are shifted inwards to be whole, so
    they overlap. An axis that is shorter than a tile is taken as it is.

    Args:
        source: images (H, W, C) or volumes (D, H, W, C) of any sizes.
        tile: pixels or voxels a side.

    Raises:
        DataError: all tiles are empty, or there are too many.
    """
    found = find_parts(source, f"tiles {tile}", lambda sides: corners(sides, tile))
    names = [",".join(map(str, corner)) for corner in found.start.tolist()]
    shape = (*(found.stop[0] - found.start[0]).tolist(), source.channels)
    tiles = TilesSource(**inherited(source, found, names), tile=tile, shape=shape)
    tiles.spacings = source.spacings[found.of] if source.spacings is not None else None
    tiles.bands = source.bands
    sizes = {tuple(sides) for sides in (found.stop - found.start).tolist()}
    tiles.decisions.append(
        f"tiles: {len(tiles):,} of {'x'.join(map(str, shape[:-1]))}"
        + (f" and {len(sizes) - 1:,} smaller sizes" if len(sizes) > 1 else "")
        + f" from {len(source):,} samples; {found.left_out}"
    )
    return tiles


def corners(sides: tuple[int, ...], tile: int) -> list[Region]:
    """Where the tiles of a sample lie, row by row.

    Raises:
        DataError: more than 4 million.
    """
    counts = [max(1, math.ceil(side / tile)) for side in sides]
    if math.prod(counts) > MOST_TILES:
        raise DataError(
            f"data.tile = {tile} makes {math.prod(counts):,} tiles of {'x'.join(map(str, sides))}; "
            "take larger ones."
        )
    lengths = tuple(min(side, tile) for side in sides)
    starts = [
        [min(number * tile, side - length) for number in range(count)]
        for side, length, count in zip(sides, lengths, counts, strict=True)
    ]
    return [
        (start, tuple(first + length for first, length in zip(start, lengths, strict=True)))
        for start in product(*starts)
    ]
