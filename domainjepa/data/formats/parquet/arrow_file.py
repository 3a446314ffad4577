"""Encoded pictures in one Arrow IPC file, by row: what Hugging Face's `save_to_disk` writes.

The file is mapped and its batches lie in it as they are in memory, so a random row costs its own
bytes alone. Reference: Arrow columnar format, section IPC.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.types as kinds
from numpy.typing import NDArray
from pyarrow import ArrowException, ipc

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.parquet.parquet_file import bytes_of
from domainjepa.data.formats.tables.tabular import MOST_BYTES
from domainjepa.data.parts.recent import Recent
from domainjepa.errors import DataError

DAMAGED = (ArrowException, OSError, ValueError, KeyError, IndexError, struct.error, MemoryError)
FILE_MAGIC = b"ARROW1\0\0"
RECORD_BATCH = 3
"""Of the union MessageHeader (Message.fbs)."""
MOST_BATCHES = 1_000_000


class ArrowPictures:
    """One file, mapped.

    Attributes:
        rows: how many.
        schema: of the table.
        group_bytes: 0, since a random read takes nothing beyond its own bytes.
    """

    group_bytes = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        with unreadable(DAMAGED, path.name):
            self._batches = _opened(path)
            self.schema = self._batches.schema
            self._starts = np.cumsum([0, *(one.num_rows for one in self._batches.to_batches())])
            self._parts = self._batches.to_batches()
        self.rows = int(self._starts[-1])
        self._checked: set[tuple[str, int]] = set()
        self._size = path.stat().st_size

    def first(self, name: str) -> bytes | None:
        """The first picture of a column, of those in the first batch."""
        with unreadable(DAMAGED, f"column {name!r} of {self.path.name}"):
            values = self._pictures(name, 0)[:64] if self.rows else ()
            return next((one.as_py() for one in values if one.is_valid), None)

    def pictures(self, name: str, rows: Sequence[int], recent: Recent) -> list[bytes | None]:
        """The encoded pictures of these rows, None where a row has none; nothing has to be kept."""
        batches = np.searchsorted(self._starts, np.asarray(rows), side="right") - 1
        with unreadable(DAMAGED, f"column {name!r} of {self.path.name}"):
            self._refuse_shorter()
            return [
                self._pictures(name, batch)[row - int(self._starts[batch])].as_py()
                for row, batch in zip(rows, batches.tolist(), strict=True)
            ]

    def column(self, name: str) -> NDArray[Any]:
        """A column of numbers or strings, whole; what is missing is NaN or ""."""
        with unreadable(DAMAGED, f"column {name!r} of {self.path.name}"):
            self._refuse_shorter()
            column = self._batches.column(name)
            if column.nbytes > MOST_BYTES:
                raise DataError(f"it would take {column.nbytes:,} bytes, more than {MOST_BYTES:,}")
            column.validate(full=True)
            if kinds.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            kind = column.type
            if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)):
                column = column.cast(pyarrow.string()).fill_null("")
            values: NDArray[Any] = column.to_numpy()
            return values

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the columns that `column` reads."""
        return tuple(one.name for one in self.schema if not kinds.is_nested(one.type))

    def _refuse_shorter(self) -> None:
        """Raises DataError where the file was cut short: a look beyond its end would kill."""
        if self.path.stat().st_size < self._size:
            raise DataError(f"{self.path.name} has become shorter since it was opened.")

    def _pictures(self, name: str, batch: int) -> Any:
        """The pictures of a batch, whose offsets were checked: a wrong one would crash."""
        values = bytes_of(self._parts[batch], name)
        if (name, batch) not in self._checked:
            values.validate(full=True)
            self._checked.add((name, batch))
        return values


def _opened(path: Path) -> pyarrow.Table:
    """The batches of a file, as they lie in it.

    Raises:
        DataError: they are compressed, so that a header decides what is allocated.
    """
    # A file is the magic, and then a stream, and then a footer that nothing here needs.
    stream = pyarrow.memory_map(str(path))
    skipped = len(FILE_MAGIC) if stream.read(len(FILE_MAGIC)) == FILE_MAGIC else 0
    stream.seek(skipped)
    for message in ipc.MessageReader.open_stream(stream):
        if _is_compressed(message.metadata.to_pybytes()):
            raise DataError(
                f"{path.name} is compressed inside: write it again without compression, or as "
                "Parquet"
            )
    stream.seek(skipped)
    reader = ipc.open_stream(stream)
    batches = []
    for batch in reader:
        batches.append(batch)
        if len(batches) > MOST_BATCHES:
            raise DataError(f"{path.name} has more than {MOST_BATCHES:,} batches: write fewer")
    return pyarrow.Table.from_batches(batches, reader.schema)


def _is_compressed(message: bytes) -> bool:
    """Whether a message is a batch whose buffers are compressed (Message.fbs: the fourth field of
    RecordBatch, which is the header of the message, its third field)."""
    root = struct.unpack_from("<I", message)[0]
    kind = _field(message, root, 1)
    header = _field(message, root, 2)
    if not kind or not header or message[kind] != RECORD_BATCH:
        return False
    batch = header + struct.unpack_from("<I", message, header)[0]
    return _field(message, batch, 3) > 0


def _field(message: bytes, table: int, number: int) -> int:
    """Where a field of a table of FlatBuffers lies, 0 where it is not there."""
    vtable = table - struct.unpack_from("<i", message, table)[0]
    if not 0 <= vtable < len(message) or not 0 <= table < len(message):
        raise DataError("its messages are damaged")
    entry = 4 + 2 * number
    if entry >= struct.unpack_from("<H", message, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", message, vtable + entry)[0]
    return table + offset if offset else 0
