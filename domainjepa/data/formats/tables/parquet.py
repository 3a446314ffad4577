"""Parquet files as tables. Each column is read when it is wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.tables.tabular import MOST_BYTES, MOST_ROWS, Table
from domainjepa.data.metadata.blanks import without
from domainjepa.data.remote.path import openable
from domainjepa.errors import DataError

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import ChunkedArray
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"


class ParquetTable(Table):
    """Columns of numbers and strings; nested ones are left out."""

    def __init__(self, path: Path, blank: Sequence[str] = ()) -> None:
        self.where = path.name
        self._path, self._blank = path, blank
        with self._opened() as file:
            import pyarrow.types as kinds

            schema = file.schema_arrow
            self.names = tuple(field.name for field in schema if not kinds.is_nested(field.type))
            self.rows = file.metadata.num_rows
        if self.rows > MOST_ROWS:
            raise DataError(f"{self.where} has {self.rows:,} rows, more than {MOST_ROWS:,}.")
        if len(set(self.names)) < len(self.names):
            raise DataError(f"{self.where} has two columns of one name.")

    @contextlib.contextmanager
    def _opened(self, **how: Any) -> Iterator[ParquetFile]:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        damaged = (ArrowException, OSError, ValueError, KeyError)
        with unreadable(damaged, self.where), ParquetFile(openable(self._path), **how) as file:
            yield file

    def _column(self, name: str) -> ChunkedArray:
        """Numbers, booleans or strings, of the right length."""
        # A text of a dictionary counts once in the file and is checked before it is repeated.
        with self._opened(read_dictionary=[name]) as file:
            import pyarrow
            import pyarrow.types as kinds

            self._check(name, _uncompressed(file, name))
            column = file.read(columns=[name], use_threads=False).column(0)
            if kinds.is_dictionary(column.type):
                self._check(name, _decoded(column))
                column = column.cast(column.type.value_type)
            kind = column.type
            if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)):
                column = column.cast(pyarrow.string()).fill_null("")
        if len(column) != self.rows:
            raise DataError(f"column {name!r} of {self.where} does not have {self.rows:,} values.")
        return column

    def texts(self, name: str) -> pyarrow.Array:
        import pyarrow
        import pyarrow.types as kinds

        self._check_name(name)
        column = self._column(name)
        if kinds.is_string(column.type) or kinds.is_integer(column.type):
            return pyarrow.concat_arrays(column.cast(pyarrow.string()).fill_null("").chunks or [[]])
        return super().texts(name)

    def _read(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = self._column(name).to_numpy()
        return without(values, self._blank)

    def _check(self, name: str, size: int) -> None:
        if size > MOST_BYTES:
            raise DataError(
                f"column {name!r} of {self.where} would take {size:,} bytes, more than "
                f"{MOST_BYTES:,}."
            )


def _uncompressed(file: ParquetFile, name: str) -> int:
    meta = file.metadata
    paths = [meta.schema.column(place).path for place in range(meta.num_columns)]
    place = paths.index(name)  # a nested column before it counts as several
    groups = range(meta.num_row_groups)
    return sum(meta.row_group(group).column(place).total_uncompressed_size for group in groups)


def _decoded(column: ChunkedArray) -> int:
    """At most so many bytes has a column of a dictionary's texts."""
    import pyarrow.compute as compute

    longest = (
        compute.max(compute.binary_length(part.dictionary)).as_py() for part in column.chunks
    )
    return sum(len(part) * (most or 0) for part, most in zip(column.chunks, longest, strict=True))
