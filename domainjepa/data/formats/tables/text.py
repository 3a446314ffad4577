"""Tables of text: CSV, TSV and their like, with any usual separator, comments, a mark of UTF-8.

The separator is the one of , tab ; | or blanks that gives the first lines equally many fields.
Lines that begin with # go before the header, which may be the last of them.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.tables.tabular import MOST_BYTES, MOST_ROWS, Table
from domainjepa.data.metadata.fields import AmbiguousNumbers, Comma, typed_distinct
from domainjepa.errors import DataError

if TYPE_CHECKING:
    import pyarrow

SEPARATORS = ",\t;|"
BLANKS = " "
"""Runs of blanks as one separator."""
GZIP = b"\x1f\x8b"
MOST_FIELD = 2**16
"""Bytes."""
MOST_COLUMNS = 10_000
_SEVERAL_LINES = re.compile(rb"[^\r\n][\r\n]+[^\r\n]")
_SAMPLE = 2**16
_SAMPLED_LINES = 50


class TextTable(Table):
    """Columns of text, typed as they are asked for.

    Args:
        where: the file's name.
        text: its content, in UTF-8 without a mark.
        blank: what the user calls no value.
        usual: lower-case names that tell a header from a comment.

    Raises:
        DataError: no UTF-8, rows of different lengths, or a field that is too long.
    """

    def __init__(
        self, where: str, text: bytes, blank: Sequence[str] = (), usual: Sequence[str] = ()
    ) -> None:
        self.where, self._blank = where, blank
        comments, body = _apart(text)
        separator = separator_of(body[: 4 * _SAMPLE].decode("utf-8", "replace")[:_SAMPLE])
        header = self._fields(comments[-1], separator) if comments else []
        names = self._fields(io.BytesIO(body).readline(), separator)
        if _is_header(header, names, usual):
            names, body = header, b"\n" + body
        self._comma: Comma = "decimal" if separator == ";" else "unknown"
        self._check_names(names)
        self._skipped = 0
        columns = self._columns_of(body, separator, len(names))
        self._columns = {name: column for name, column in zip(names, columns, strict=True) if name}
        self.names = tuple(self._columns)
        self.rows = len(columns[0]) if columns else 0
        told = []
        if comments or self._skipped:
            told.append(f"comments: {len(comments) + self._skipped:,} lines that begin with #")
        self.decisions = tuple(told)

    def _fields(self, line: bytes, separator: str) -> list[str]:
        try:
            text = line.decode().strip("\r\n")
        except UnicodeDecodeError as error:
            raise _no_utf8(self.where, error) from error
        if separator == BLANKS:
            text = text.strip()
        read = csv.reader([text], delimiter=separator, skipinitialspace=separator == BLANKS)
        with unreadable((csv.Error,), self.where):
            return [name.strip() for name in next(read, [])]

    def _check_names(self, names: list[str]) -> None:
        repeated = {name for name in names if name and names.count(name) > 1}
        if repeated:
            raise DataError(f"{self.where} has two columns of the name {min(repeated)!r}.")
        if len(names) > MOST_COLUMNS:
            raise DataError(f"{self.where} has more than {MOST_COLUMNS:,} columns.")

    def _columns_of(self, body: bytes, separator: str, width: int) -> list[pyarrow.Array]:
        """The fields below the first line, one array for each name."""
        import pyarrow as pa
        import pyarrow.compute as compute
        from pyarrow import csv as reader

        if separator == BLANKS:
            body, separator = _with_tabs(body), "\t"
        if not _SEVERAL_LINES.search(body):
            return [pa.array([], pa.string())] * width if body[:1] != b"\n" else []
        names = [str(place) for place in range(width)]
        wrong: list[str] = []

        def invalid(row: Any) -> str:
            if row.text.startswith("#"):
                self._skipped += 1
                return "skip"
            wrong.append(self._wrong(row, width))
            return "error"

        try:
            table = reader.read_csv(
                pa.py_buffer(body),
                reader.ReadOptions(
                    use_threads=False, column_names=names, skip_rows=1, block_size=2**24
                ),
                reader.ParseOptions(
                    delimiter=separator, newlines_in_values=True, invalid_row_handler=invalid
                ),
                reader.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowException as error:
            if wrong:
                raise DataError(wrong[0]) from error
            raise self._damage(error, body) from error
        if table.num_rows > MOST_ROWS:
            raise DataError(f"{self.where} has {table.num_rows:,} rows, more than {MOST_ROWS:,}.")
        if table.num_rows and width > 1:
            comment = compute.starts_with(table.column(0), "# ")
            if compute.any(comment).as_py():
                self._skipped += compute.sum(comment).as_py()
                table = table.filter(compute.invert(comment))
        columns = [table.column(place).combine_chunks() for place in range(width)]
        for column in columns:
            if len(column) and compute.max(compute.binary_length(column)).as_py() > MOST_FIELD:
                raise DataError(
                    f"{self.where} cannot be read: a field larger than the limit of "
                    f"{MOST_FIELD:,} bytes."
                )
        return columns

    def _wrong(self, row: Any, width: int) -> str:
        if row.text.count('"') % 2:
            return f"{self.where} cannot be read: a quote is opened in row {row.number - 2} and " \
                "never closed."  # fmt: skip
        return (
            f"row {row.number - 2 - self._skipped} of {self.where} has {row.actual_columns} "
            f"fields, the header has {width}."
        )

    def _damage(self, error: Exception, body: bytes) -> DataError:
        try:
            body.decode()
        except UnicodeDecodeError as wrong:
            return _no_utf8(self.where, wrong)
        if "straddl" in str(error):
            return DataError(
                f"{self.where} cannot be read: a field larger than the limit of {MOST_FIELD:,} "
                "bytes."
            )
        return DataError(f"{self.where} cannot be read: {error}")

    def texts(self, name: str) -> pyarrow.Array:
        import pyarrow.compute as compute

        self._check_name(name)
        return compute.utf8_trim_whitespace(self._columns[name])

    def _read(self, name: str) -> NDArray[Any]:
        encoded = self._columns[name].dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        try:
            values = typed_distinct(distinct, self._blank, self._comma)
        except AmbiguousNumbers as error:
            raise AmbiguousNumbers(f"column {name!r} of {self.where} holds {error}.") from error
        return values[np.asarray(encoded.indices, dtype=np.int64)]


def read_bytes(path: Path) -> bytes:
    """A file of text, unpacked, in UTF-8 without a mark.

    Raises:
        DataError: too large, or a damaged gzip.
    """
    where, text = path.name, b""
    with unreadable((OSError, EOFError, zlib.error), where), path.open("rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        if packed:
            with gzip.open(file) as unpacked:
                text = unpacked.read(MOST_BYTES + 1)
        elif path.stat().st_size <= MOST_BYTES:
            text = file.read()
        large = len(text) > MOST_BYTES or not (packed or text or not path.stat().st_size)
    if large:
        raise DataError(
            f"{where} has more than {MOST_BYTES:,} bytes: store it as Parquet, of which single "
            "columns are read."
        )
    if text.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        try:
            return text.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where} is neither UTF-16 nor UTF-8 ({error.reason}): save it as UTF-8."
            ) from error
    return text.removeprefix(BOM_UTF8)


def _no_utf8(where: str, error: UnicodeDecodeError) -> DataError:
    return DataError(
        f"{where} is not in UTF-8 ({error.reason} at byte {error.start:,}): save it as UTF-8."
    )


def _apart(text: bytes) -> tuple[list[bytes], bytes]:
    """The comments at the top without their #, and what follows them."""
    comments, start = [], 0
    while start < len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end + 1
        line = text[start:end].strip()
        if line and not line.startswith(b"#"):
            break
        if line:
            comments.append(line.lstrip(b"# \t"))
        start = end
    return comments, text[start:]


def _is_header(comment: list[str], first: list[str], usual: Sequence[str]) -> bool:
    """Whether the last comment names the columns, and the line below it is a row already."""

    def known(names: list[str]) -> bool:
        return any(name.lower() in usual for name in names)

    return len(comment) == len(first) > 0 and known(comment) and not known(first)


def separator_of(sample: str) -> str:
    """The separator of a text by its first lines: the one that gives them equally many fields.

    Args:
        sample: the beginning of the text, without comments.
    """
    lines = sample.splitlines()[: _SAMPLED_LINES + 1]
    lines = [line for line in (lines[:-1] if len(lines) > 1 and len(sample) >= _SAMPLE else lines)
             if line.strip() and not line.startswith("#")]  # fmt: skip
    if not lines:
        return ","
    found = {separator: _widths(lines, separator) for separator in SEPARATORS + BLANKS}
    even = [one for one in SEPARATORS + BLANKS if len(set(found[one])) == 1 and found[one][0] > 1]
    apart = [one for one in even if one != BLANKS] or even
    if apart:
        return max(apart, key=lambda one: found[one][0])
    # Rows of different lengths are told; which separator the header has most is the best guess.
    return max(SEPARATORS, key=lines[0].count)


def _widths(lines: list[str], separator: str) -> list[int]:
    text = lines
    if separator == BLANKS:
        text = [line.strip() if '"' in line else " ".join(line.split()) for line in lines]
    try:
        read = csv.reader(text, delimiter=separator, skipinitialspace=separator == BLANKS)
        return [len(row) for row in read if row]
    except csv.Error:
        return [0, 1]


def _with_tabs(body: bytes) -> bytes:
    """Text whose fields have runs of blanks between them, with single tabs in their place."""
    if b'"' not in body:
        body = re.sub(rb"(?m)^[ \t]+|[ \t]+\r?$", b"", body)
        return re.sub(rb"[ \t]+", b"\t", body)
    lines = (line.strip() for line in body.decode("utf-8", "surrogateescape").split("\n"))
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerows(csv.reader(lines, delimiter=" ", skipinitialspace=True))
    return out.getvalue().encode("utf-8", "surrogateescape")
