"""Tables of astronomy by astropy: ECSV, VOTable, binary tables of FITS."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.tables.tabular import MOST_BYTES, MOST_ROWS, Table
from domainjepa.data.metadata.blanks import without
from domainjepa.errors import DataError

ECSV = b"# %ECSV"
FITS = b"SIMPLE  ="
_VOTABLE = re.compile(rb"<(\w+:)?VOTABLE[\s>]")
_PLAIN_XML = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"'](?!utf-8|us-ascii|iso-8859-1)", re.I)


def is_votable(head: bytes) -> bool:
    """Whether a file begins like a VOTable."""
    return head.lstrip().startswith(b"<") and _VOTABLE.search(head) is not None


class AstropyTable(Table):
    """The columns of one value a row; the others are left out.

    Raises:
        DataError: too large, damaged, or a VOTable that keeps its data in another place.
    """

    def __init__(self, path: Path, kind: str, blank: Sequence[str] = ()) -> None:
        self.where, self._blank = path.name, blank
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(
                f"{self.where} has {size:,} bytes, more than {MOST_BYTES:,}: store it as Parquet, "
                "of which single columns are read."
            )
        if kind == "votable":
            _check_votable(path)
        from astropy.table import Table as Read

        how: dict[str, Any] = {"hdu": _first_table(path)} if kind == "fits" else {}
        with warnings.catch_warnings(), unreadable((Exception,), self.where):
            warnings.simplefilter("ignore")
            table = Read.read(path, format=kind, **how)
        self.rows = len(table)
        if self.rows > MOST_ROWS:
            raise DataError(f"{self.where} has {self.rows:,} rows, more than {MOST_ROWS:,}.")
        self._columns = {
            name: values
            for name in table.colnames
            if (values := _values(table[name], self.rows)) is not None
        }
        self.names = tuple(self._columns)

    def _read(self, name: str) -> NDArray[Any]:
        return without(self._columns[name], self._blank)


def _values(column: Any, rows: int) -> NDArray[Any] | None:
    """(rows,) integers, floats, booleans or strings as objects; None for anything else."""
    masked = np.ma.asarray(getattr(column, "value", column))
    if masked.shape != (rows,):
        return None
    missing, stored = np.ma.getmaskarray(masked), masked.data
    kind = stored.dtype.kind
    if kind == "b" and missing.any():
        kind = "O"
    if kind in "SUO":
        texts = [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for value in stored.tolist()
        ]
        told = [
            "" if blank else text.strip()
            for text, blank in zip(texts, missing.tolist(), strict=True)
        ]
        return np.array(told, dtype=object)
    if kind not in "uifb":
        return None
    native = stored.astype(stored.dtype.newbyteorder("="))
    return np.where(missing, np.nan, native) if missing.any() else native


def _first_table(path: Path) -> int:
    """The first binary table of a FITS file.

    Raises:
        DataError: it has none, or claims more than it holds.
    """
    from domainjepa.data.formats.fits.headers import headers
    from domainjepa.data.formats.fits.images import kind_of

    with unreadable((Exception,), path.name):
        for number, header, _, packed, _ in headers(path, MOST_BYTES):
            if kind_of(header) == "BINTABLE":
                if packed:
                    raise DataError("a table in a gzip is not read: unpack it with gunzip")
                return int(number)
    raise DataError(f"{path.name} has no table of columns.")


def _check_votable(path: Path) -> None:
    """Raises DataError where reading would follow a link, or allocate what a header alone claims.

    astropy opens the `href` of a STREAM, whatever it leads to; entities could hide one.
    """
    text = path.read_bytes()
    if b"<!DOCTYPE" in text or b"\0" in text or _PLAIN_XML.match(text):
        raise DataError(f"{path.name} has a DOCTYPE or is not in UTF-8, which is not read.")
    row = claimed = 0

    def start(name: str, told: dict[str, str]) -> None:
        nonlocal row, claimed
        name = name.rpartition(":")[2]
        if name == "STREAM" and "href" in told:
            raise DataError(
                f"{path.name} keeps its data in another place (STREAM href), which is not opened: "
                "save the table with its data inside."
            )
        if name == "TABLE":
            row, claimed = 0, int(told.get("nrows", 0))
        elif name == "FIELD":
            sides = re.findall(r"\d+", told.get("arraysize", "1")) or ["1"]
            row += 16 * int(np.prod([float(side) for side in sides]))
            if row * max(claimed, 1) > 16 * MOST_BYTES or claimed > max(len(text), MOST_ROWS):
                raise DataError(f"{path.name} claims {claimed:,} rows of {row:,} bytes.")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path.name} cannot be read: {error}.") from error
