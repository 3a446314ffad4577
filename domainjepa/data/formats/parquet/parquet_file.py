"""Encoded pictures in one Parquet file, by row.

Parquet unpacks whole row groups: of a random row the other pictures of its group are read, too. So
the groups read last are kept, up to a bound, and the rows of a batch are read group by group. A
group that is too large to keep is passed through, and only the rows that are wanted stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import ArrowException, BinaryArray, ChunkedArray, RecordBatch, Schema, chunked_array
from pyarrow.parquet import ParquetFile

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.parquet.features import stored_as
from domainjepa.data.formats.parquet.pages import DICTIONARY_PAGE, pages
from domainjepa.data.formats.tables.parquet import ParquetTable
from domainjepa.data.parts.recent import Recent
from domainjepa.data.remote.path import openable
from domainjepa.data.storage.cost import in_bytes
from domainjepa.errors import DataError

DAMAGED = (ArrowException, OSError, ValueError, KeyError, IndexError, MemoryError, OverflowError)
MOST_KEPT = 2**28
"""Bytes of a row group that is kept; larger ones are passed through in batches."""
MOST_UNPACKED = 2**34
MOST_PACKED = 250
"""Times that pictures get smaller in a Parquet file; they are compressed already."""
BATCH_BYTES = 2**26
"""What a batch of rows may take where all are the longest value of a dictionary."""


class ParquetPictures:
    """One file, open.

    Attributes:
        rows: how many.
        schema: as Arrow sees it.
        group_bytes: of the largest row group, all columns, as the footer tells.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with unreadable(DAMAGED, path.name):
            self._file = ParquetFile(openable(path))  # not mapped: a map of a file cut short kills
            meta = self._file.metadata
            self.schema: Schema = self._file.schema_arrow
            sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
            if min(sizes, default=0) < 0 or sum(sizes) != meta.num_rows:
                raise DataError(f"{path.name} is damaged: its row groups are {sizes[:10]}.")
            groups = map(meta.row_group, range(meta.num_row_groups))
            self.group_bytes: int = max((one.total_byte_size for one in groups), default=0)
            self._starts = np.cumsum([0, *sizes])
        self.rows = int(self._starts[-1])
        self._too_large: set[tuple[str, int]] = set()
        self._claims: dict[tuple[str, int], tuple[int, int]] = {}

    def first(self, name: str) -> bytes | None:
        """The first picture of a column, of those in the first batch of rows."""
        with unreadable(DAMAGED, f"column {name!r} of {self.path.name}"):
            for batch in self._batches(name, 0, most_rows=64) if self.rows else ():
                return next((one.as_py() for one in batch if one.is_valid), None)
        return None

    def pictures(self, name: str, rows: Sequence[int], recent: Recent) -> list[bytes | None]:
        """The encoded pictures of these rows, None where a row has none.

        Args:
            recent: keeps row groups for the reads that follow.
        """
        found: dict[int, bytes | None] = {}
        groups = np.searchsorted(self._starts, np.asarray(rows), side="right") - 1
        with unreadable(DAMAGED, f"column {name!r} of {self.path.name}"):
            for group in np.unique(groups).tolist():
                here = np.asarray(rows)[groups == group]
                wanted = sorted(set((here - self._starts[group]).tolist()))
                start = int(self._starts[group])
                for row, value in self._of_group(name, group, wanted, recent):
                    found[start + row] = value
            return [found[row] for row in rows]

    def column(self, name: str) -> NDArray[Any]:
        """A column of numbers or strings, whole."""
        return ParquetTable(self.path).column(name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the columns that `column` reads."""
        return ParquetTable(self.path).names

    def _of_group(
        self, name: str, group: int, wanted: list[int], recent: Recent
    ) -> Iterator[tuple[int, bytes | None]]:
        """(row within the group, picture) of those that are wanted, ascending."""
        kept = self._kept(name, group, recent)
        if kept is None:
            yield from _passing(self._batches(name, group), wanted)
            return
        for row in wanted:
            yield row, kept[row].as_py()

    def _kept(self, name: str, group: int, recent: Recent) -> ChunkedArray | None:
        """All pictures of a row group; None where they are too large to keep."""
        if (name, group) in self._too_large or self._claim(name, group)[0] > MOST_KEPT:
            return None
        try:
            return recent.get((self.path, name, group), lambda: self._whole(name, group))
        except OverflowError:  # a dictionary says one value many times
            self._too_large.add((name, group))
            return None

    def _whole(self, name: str, group: int) -> ChunkedArray:
        parts, size = [], 0
        for batch in self._batches(name, group):
            parts.append(batch)
            size += batch.nbytes
            if size > MOST_KEPT:
                raise OverflowError
        return chunked_array(parts)

    def _batches(self, name: str, group: int, most_rows: int = 2**16) -> Iterator[BinaryArray]:
        """The pictures of a row group in batches of bounded size."""
        _, longest = self._claim(name, group)
        rows = min(most_rows, max(1, BATCH_BYTES // max(longest, 1)))
        for batch in self._file.iter_batches(
            rows, row_groups=[group], columns=[self._leaf(name)], use_threads=False
        ):
            yield bytes_of(batch, name)

    def _claim(self, name: str, group: int) -> tuple[int, int]:
        """Bytes that the pages of a group unpack to, and those of its dictionary.

        Raises:
            DataError: more than pictures in so many bytes of a file can be.
        """
        if (name, group) not in self._claims:
            about, leaf = self._file.metadata.row_group(group), self._leaf(name)
            chunks = [about.column(place) for place in range(about.num_columns)]
            chunk = next(one for one in chunks if one.path_in_schema == leaf)
            start = chunk.data_page_offset
            if chunk.dictionary_page_offset is not None:
                start = min(start, chunk.dictionary_page_offset)
            packed = chunk.total_compressed_size
            if start < 0 or packed < 0 or start + packed > self.path.stat().st_size:
                raise DataError(f"row group {group} reaches beyond the end of the file")
            found = list(pages(self.path, start, packed))
            unpacked = sum(page.unpacked for page in found)
            if unpacked > min(MOST_UNPACKED, max(2**26, MOST_PACKED * packed)):
                raise DataError(
                    f"row group {group} claims {in_bytes(unpacked)} of pictures in "
                    f"{in_bytes(packed)}: it is damaged, or made to exhaust memory. Write the file "
                    "again with fewer rows a group"
                )
            longest = sum(page.unpacked for page in found if page.type == DICTIONARY_PAGE)
            self._claims[name, group] = (unpacked, longest)
        return self._claims[name, group]

    def _leaf(self, name: str) -> str:
        return f"{name}.bytes" if stored_as(self.schema.field(name).type) == "struct" else name


def bytes_of(batch: RecordBatch, name: str) -> BinaryArray:
    """The column of encoded pictures of a batch, be it {bytes, path} or bytes."""
    column = batch.column(batch.schema.get_field_index(name))
    return column.field("bytes") if stored_as(column.type) == "struct" else column


def _passing(
    batches: Iterator[BinaryArray], wanted: list[int]
) -> Iterator[tuple[int, bytes | None]]:
    """The rows that are wanted, out of batches that follow each other; one at a time in memory."""
    start, left = 0, list(reversed(wanted))
    for batch in batches:
        while left and left[-1] < start + len(batch):
            row = left.pop()
            yield row, batch[row - start].as_py()
        start += len(batch)
        if not left:
            return
