"""What the pages of a Parquet column claim to unpack to, read from their headers alone.

The footer may say what it likes; the header of a page says what the decompressor will allocate.
Headers are in Thrift's compact protocol (parquet-format: PageHeader in parquet.thrift; Thrift:
thrift-compact-protocol.md), of which only integers have to be understood and the rest is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from domainjepa.errors import DataError

DICTIONARY_PAGE = 2
_LOOKED_AT = 2**13
"""Bytes in which a header ends, but for statistics as long as the pictures themselves."""
_LONGEST = 2**24
_TYPE, _UNPACKED, _PACKED = 1, 2, 3
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = (
    *(0, 1, 2, 3, 7, 8, 9, 10, 11, 12),
)


class Page(NamedTuple):
    """The header of a page: its type, and the bytes that it takes in memory and in the file."""

    type: int
    unpacked: int
    packed: int


def pages(path: Path, start: int, length: int) -> Iterator[Page]:
    """The pages of a column chunk that lies at `start` and takes `length` bytes.

    Raises:
        DataError: a header makes no sense, or claims a page that the chunk does not hold.
    """
    end = start + length
    with path.open("rb") as file:
        while start < end:
            page, begin = _header(file, start)
            if page.packed < 0 or page.unpacked < 0 or begin + page.packed > end:
                raise DataError(f"a page of it claims {page.packed:,} bytes, which are not there")
            yield page
            start = begin + page.packed


def _header(file: IO[bytes], start: int) -> tuple[Page, int]:
    looked_at = _LOOKED_AT
    while True:
        file.seek(start)
        reader = _Compact(file.read(looked_at))
        try:
            told = reader.struct()
            return Page(told.get(_TYPE, -1), told[_UNPACKED], told[_PACKED]), start + reader.place
        except IndexError:
            looked_at *= 8
            if looked_at > _LONGEST or len(reader.content) < looked_at // 8:
                raise DataError("the header of a page has no end: the file is damaged") from None
        except (KeyError, RecursionError) as error:
            raise DataError("the header of a page makes no sense: the file is damaged") from error


class _Compact:
    """Thrift's compact protocol, read from its first byte on."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def struct(self) -> dict[int, int]:
        """Field number -> integer, of those of a struct that are integers."""
        found, number = {}, 0
        while (head := self._byte()) & 0x0F != _STOP:
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 0x0F
            value = self._value(kind)
            if value is not None:
                found[number] = value
        return found

    def _value(self, kind: int) -> int | None:
        """An integer; None of anything else, which is passed over."""
        if kind in (_TRUE, _FALSE):
            return None
        if kind < _DOUBLE:
            return self._byte() if kind == _BYTE else self._integer()
        if kind == _STRUCT:
            self.struct()
        elif kind in (_LIST, _SET, _MAP):
            self._collection(kind)
        else:
            self._pass(8 if kind == _DOUBLE else self._varint())
        return None

    def _collection(self, kind: int) -> None:
        if kind == _MAP:
            raise KeyError("no header of a page holds a map")
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        for _ in range(count):  # each takes a byte at least, so the end comes first
            if head & 0x0F in (_TRUE, _FALSE):
                self._byte()
            else:
                self._value(head & 0x0F)

    def _pass(self, count: int) -> None:
        self.place += count
        if self.place > len(self.content):
            raise IndexError

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise KeyError("no integer has so many bytes")

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
