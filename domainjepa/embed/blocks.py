"""Features of samples, by blocks: in memory, or in a file that `domainjepa embed` wrote.

Nothing here needs all of them at once, so that millions of rows are looked through in the memory of
one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from domainjepa.errors import DataError

Features = NDArray[np.float32]

BLOCK = 8192
"""Rows that are looked at together: 16 MiB of 512 features."""


class Rows(Protocol):
    """Something that gives a slice of rows: an array, an HDF5 data set, an array in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: slice, /) -> Any: ...


class Blocks:
    """(N, D) features, read by slices.

    Args:
        stored: what gives them.
    """

    def __init__(self, stored: Rows) -> None:
        self.stored = stored

    def __len__(self) -> int:
        return int(self.stored.shape[0])

    @property
    def width(self) -> int:
        """Features of each sample."""
        return int(self.stored.shape[1])

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, Features]]:
        """(first row, (n, D) float32) after each other.

        Raises:
            DataError: the file is damaged, or holds what is not finite.
        """
        for first in range(0, len(self), size):
            yield first, self._finite(first, self.stored[first : first + size])

    def take(self, positions: NDArray[np.int64]) -> Features:
        """(len(positions), D) float32, in this order."""
        found = np.empty((len(positions), self.width), np.float32)
        for at, position in enumerate(positions.tolist()):
            found[at] = self._finite(position, self.stored[position : position + 1])[0]
        return found

    def all(self) -> Features:
        """(N, D) float32, in memory."""
        if isinstance(self.stored, np.ndarray) and self.stored.dtype == np.float32:
            return self.stored
        return np.concatenate([block for _, block in self.blocks()])

    @staticmethod
    def _finite(first: int, block: Any) -> Features:
        values = np.asarray(block, np.float32)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise DataError(f"features of row {first + bad[0]} are not finite: embed anew.")
        return values


class ParquetBlocks(Blocks):
    """Features in a column of lists: batches are read after each other, one in memory."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self.file = parquet.ParquetFile(path)
        first = next(self.file.iter_batches(1, columns=["features"]), None)
        if first is None:
            raise DataError(f"{path.name} holds no rows.")
        self._shape = (self.file.metadata.num_rows, len(first.column(0)[0]))

    def __len__(self) -> int:
        return int(self._shape[0])

    @property
    def width(self) -> int:
        return int(self._shape[1])

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, Features]]:
        first = 0
        for batch in self.file.iter_batches(size, columns=["features"]):
            lists = batch.column(0)
            values = lists.flatten().to_numpy(zero_copy_only=False)
            if len(values) != len(lists) * self.width:
                raise DataError(f"features of rows from {first} on are not {self.width} numbers.")
            yield first, self._finite(first, values.reshape(len(lists), self.width))
            first += len(lists)

    def take(self, positions: NDArray[np.int64]) -> Features:
        found = np.empty((len(positions), self.width), np.float32)
        for first, block in self.blocks():
            here = np.flatnonzero((positions >= first) & (positions < first + len(block)))
            found[here] = block[positions[here] - first]
        return found

    def all(self) -> Features:
        return np.concatenate([block for _, block in self.blocks()])
