"""Tables: CSV and Parquet files as columns of one length."""

from __future__ import annotations

import contextlib
import csv
import gc
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.columns import BLANK
from domainjepa.data.damage import reason, unreadable
from domainjepa.errors import DataError, MissingExtra, did_you_mean

if TYPE_CHECKING:
    from pyarrow import ChunkedArray
    from pyarrow.parquet import ParquetFile

PARQUET = b"PAR1"
DELIMITERS = ",\t;|"
MOST_BYTES = 2**30
"""Of a CSV file, or of a column in memory."""
MOST_ROWS = 50_000_000
MOST_FIELD = 2**16
"""Characters."""
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})")
_NAME = re.compile(r"0\d+|-?\d{16,}")
"""007 is a name, not a number; two of more digits than a float has would become one."""


class Table(ABC):
    """Named columns.

    Attributes:
        where: the file's name, for messages.
        names: of the columns.
        rows: how many.
    """

    where: str
    names: tuple[str, ...]
    rows: int

    def column(self, name: str) -> NDArray[Any]:
        """(rows,) integers, floats, booleans, or strings as objects; what is missing is NaN or "".

        Raises:
            DataError: there is none of that name, or it is damaged or too large.
        """
        if name not in self.names:
            raise DataError(f"{self.where} has no column {name!r}.{did_you_mean(name, self.names)}")
        return self._read(name)

    @abstractmethod
    def _read(self, name: str) -> NDArray[Any]: ...

    def text(self, name: str) -> list[str]:
        """A column as strings."""
        values = self.column(name).tolist()
        return values if all(type(value) is str for value in values) else list(map(str, values))


class CSVTable(Table):
    """Text with a header line; the delimiter is the one of , tab ; | that the header has most."""

    def __init__(self, path: Path) -> None:
        self.where = path.name
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(
                f"{self.where} has {size:,} bytes, more than {MOST_BYTES:,}: store it as Parquet, "
                "of which single columns are read."
            )
        with (
            unreadable((OSError, csv.Error), self.where),
            _in_utf8(self.where),
            path.open(encoding="utf-8-sig", newline="") as file,
            _reading(),
        ):
            header = file.readline()
            delimiter = max(DELIMITERS, key=header.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = [name.strip() for name in next(reader, [])]
            rows = [row for row in reader if row]
            self._check(names, rows)
            columns = list(zip(*rows, strict=True)) or [()] * len(names)
        self._columns = {name: fields for name, fields in zip(names, columns, strict=True) if name}
        self.names = tuple(self._columns)
        self.rows = len(rows)

    def _check(self, names: list[str], rows: list[list[str]]) -> None:
        if set(map(len, rows)) - {len(names)}:
            wrong = next(row for row, fields in enumerate(rows) if len(fields) != len(names))
            raise DataError(
                f"row {wrong} of {self.where} has {len(rows[wrong])} fields, the header has "
                f"{len(names)}."
            )
        repeated = {name for name in names if name and names.count(name) > 1}
        if repeated:
            raise DataError(f"{self.where} has two columns of the name {min(repeated)!r}.")

    def _read(self, name: str) -> NDArray[Any]:
        return typed(self._columns[name])


@contextlib.contextmanager
def _in_utf8(where: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not in UTF-8 ({error.reason} at byte {error.start:,}): save it as UTF-8."
        ) from error


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """A limit of our own, whatever other code has set; no search for garbage among a million new
    lists, which takes longer than reading them.
    """
    before, collecting = csv.field_size_limit(MOST_FIELD), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        csv.field_size_limit(before)
        if collecting:
            gc.enable()


def typed(fields: tuple[str, ...]) -> NDArray[Any]:
    """Integers, booleans or floats where all fields are, else strings."""
    distinct = set(fields)
    if all(map(_INTEGER.fullmatch, distinct)):
        with contextlib.suppress(OverflowError):
            return np.array(list(map(int, fields)), dtype=np.int64)
    if len(distinct) <= 4 and {field.lower() for field in distinct} <= {"true", "false"}:
        return np.array([field.lower() == "true" for field in fields])
    # float() takes 1_12 for 112, and 11_2 too: two patients would become one.
    if not any(_NAME.fullmatch(one) or "_" in one for one in distinct):
        with contextlib.suppress(ValueError):
            return np.array([float("nan" if field.strip() in BLANK else field) for field in fields])
    return np.array([*map(str.strip, fields)], dtype=object)


class ParquetTable(Table):
    """Columns of numbers and strings; nested ones are left out. Each is read when it is wanted."""

    def __init__(self, path: Path) -> None:
        self.where = path.name
        self._path = path
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
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise MissingExtra("pyarrow", "tables", "Parquet") from error
        damaged = (ArrowException, OSError, ValueError, KeyError)
        with unreadable(damaged, self.where), ParquetFile(self._path, **how) as file:
            yield file

    def _read(self, name: str) -> NDArray[Any]:
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
            values: NDArray[Any] = column.to_numpy()
        if len(values) != self.rows:
            raise DataError(f"column {name!r} of {self.where} does not have {self.rows:,} values.")
        return values

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


def read_table(path: Path) -> Table:
    """A table by its first bytes.

    Raises:
        DataError: damaged, too large, or with rows of different lengths.
        MissingExtra: pyarrow is not installed.
    """
    with path.open("rb") as file:
        is_parquet = file.read(4) == PARQUET
    try:
        return ParquetTable(path) if is_parquet else CSVTable(path)
    except MemoryError as error:
        raise DataError(f"{path.name} does not fit into memory: {reason(error)}") from error
