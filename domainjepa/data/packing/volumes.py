"""A volume too large to be read whole, written once more in chunks that fit what views need.

It is read and written block by block. A block is a file, a shard of Zarr v3, and holds chunks that
are read one by one; blocks that hold nothing but zeros are not written, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.masks.masks import Masks
from domainjepa.data.packing.blocks import Task
from domainjepa.data.packing.prepared import BLANK
from domainjepa.data.packing.writers import Columns, Order, ZarrWriter, full_disk
from domainjepa.data.source import Source
from domainjepa.errors import UserError

CHUNK = 32
"""Voxels a side: the block that turned views of 64 voxels need takes two to four of them."""
BLOCK_BYTES = 32 * 2**20


def side_of_blocks(voxel_bytes: int) -> int:
    """Voxels a side of a block: whole chunks, 256 at most, of about 32 MB at most."""
    chunks = round((BLOCK_BYTES / voxel_bytes) ** (1 / 3), 6) // CHUNK
    return CHUNK * int(np.clip(chunks, 1, 8))


def corners(sides: Sequence[int], side: int) -> list[tuple[int, ...]]:
    """Where the blocks of a volume begin, in the order in which they are written."""
    return list(product(*(range(0, length, side) for length in sides)))


class VolumeTask(Task):
    """Reads blocks of the one volume of a source."""

    def __init__(self, source: Source) -> None:
        """
        Raises:
            UserError: there are several volumes, or boxes.
        """
        super().__init__(source, None)
        if len(source) != 1 or source.split is not None:
            raise UserError(
                f"{source.name} is too large to be read whole, so it is written block by block, "
                "one volume a file: leave data.split_boxes out and give it with the new file, or "
                "choose one volume (data.images, data.where)."
            )
        self.side = side_of_blocks(source.channels * source.dtype.itemsize)
        self.corners = corners(source.sides(0), self.side)

    def __len__(self) -> int:
        return len(self.corners)

    def read(self, rows: range) -> NDArray[Any]:
        """(1, d, h, w, C): the block of this number, smaller at the far ends."""
        start, sides = self.corners[rows.start], self.source.sides(0)
        stop = [min(first + self.side, end) for first, end in zip(start, sides, strict=True)]
        return self.source.region(0, start, stop)[None]


class VolumeWriter(ZarrWriter):
    """`images` (1, D, H, W, C) of Zarr v3 in cubic chunks with CRC-32C; a block is a shard."""

    def __init__(self, order: Order, done: int) -> None:
        _, *sides, channels = order.shape
        self._side = side_of_blocks(channels * order.dtype.itemsize)
        self._corners = corners(sides, self._side)
        super().__init__(order, done)

    def there(self, order: Order, done: int) -> int:
        """Blank blocks are no files, so their number tells nothing."""
        return done if order.path.is_dir() else 0

    def layout(self, order: Order) -> dict[str, Any]:
        """Cubes in cubes."""
        channels = order.shape[-1]
        return {
            "chunks": (1, *(CHUNK,) * 3, channels),
            "shards": (1, *(self._side,) * 3, channels),
            "fill_value": 0,
        }

    def write(self, start: int, block: NDArray[Any]) -> None:
        """One block, on the disk when this returns, unless it is blank."""
        where = [
            slice(first, first + length)
            for first, length in zip(self._corners[start], block.shape[1:4], strict=True)
        ]
        with full_disk(self._path):
            images: Any = self._group["images"]
            images[(slice(0, 1), *where)] = block

    def finish(self, columns: Columns, masks: Masks | None, about: dict[str, Any]) -> None:
        """Everything else, and how many blocks are blank."""
        images: Any = self._group["images"]
        expected = prod(
            ceil(side / length) for side, length in zip(images.shape, images.shards, strict=True)
        )
        there = sum(one.is_file() for one in (self._path / "images" / "c").glob("**/*"))
        super().finish(columns, masks, {**about, BLANK: expected - there})
