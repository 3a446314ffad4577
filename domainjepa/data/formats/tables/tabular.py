"""A table: named columns of one length, whatever file they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pyarrow

MOST_BYTES = 2**30
"""Of a file of text, or of a column in memory."""
MOST_ROWS = 50_000_000


class Table(ABC):
    """Named columns.

    Attributes:
        where: the file's name, for messages.
        names: of the columns.
        rows: how many.
        decisions: readable lines on how it was read.
    """

    where: str
    names: tuple[str, ...]
    rows: int
    decisions: tuple[str, ...] = ()

    def column(self, name: str) -> NDArray[Any]:
        """(rows,) integers, floats, booleans, or strings as objects; what is missing is NaN or "".

        Raises:
            DataError: there is none of that name, or it is damaged or too large.
        """
        self._check_name(name)
        return self._read(name)

    def texts(self, name: str) -> pyarrow.Array:
        """(rows,) a column as strings, as they stand in the file; what is missing is "".

        Whole floats come without their `.0`: a blank makes floats of integers.

        Raises:
            DataError: as `column`.
        """
        import pyarrow

        self._check_name(name)
        return pyarrow.array(as_words(self._read(name)), pyarrow.string())

    def _check_name(self, name: str) -> None:
        if name not in self.names:
            raise DataError(f"{self.where} has no column {name!r}.{did_you_mean(name, self.names)}")

    @abstractmethod
    def _read(self, name: str) -> NDArray[Any]: ...


def as_words(values: NDArray[Any]) -> list[str]:
    """(N,) values as text; "" for NaN, and whole floats as integers."""
    if values.dtype.kind == "f":
        return ["" if one != one else str(int(one)) if one.is_integer() else str(one)
                for one in values.tolist()]  # fmt: skip
    return list(map(str, values.tolist()))


def may_hold(texts: pyarrow.Array, *signs: bytes) -> bool:
    """Whether a sign may be in one of these texts: a search in all of them at once.

    Where texts follow each other it may be said to be there although it is in none.
    """
    held = texts.buffers()[2]
    together = held.to_pybytes() if held is not None else b""
    return any(sign in together for sign in signs)


class RowsOf(Table):
    """Some rows of a table."""

    def __init__(self, table: Table, chosen: NDArray[np.int64]) -> None:
        self._table, self._chosen = table, chosen
        self.where, self.names, self.rows = table.where, table.names, len(chosen)
        self.decisions = table.decisions

    def texts(self, name: str) -> pyarrow.Array:
        return self._table.texts(name).take(self._chosen)

    def _read(self, name: str) -> NDArray[Any]:
        return self._table.column(name)[self._chosen]
