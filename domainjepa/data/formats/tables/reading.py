"""A file -> a table, by its first bytes."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from pathlib import Path

from domainjepa.data.files.damage import reason
from domainjepa.data.formats.tables import parquet
from domainjepa.data.formats.tables.astronomical import ECSV, FITS, AstropyTable, is_votable
from domainjepa.data.formats.tables.parquet import ParquetTable
from domainjepa.data.formats.tables.tabular import Table
from domainjepa.data.formats.tables.text import GZIP, TextTable, read_bytes
from domainjepa.errors import DataError

TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat", ".psv", ".ssv")
PATHS = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_file",
    "image_name",
    "image_filename",
    "img",
    "img_path",
    "img_name",
    "image_id",
    "relative_path",
)
"""Usual names of the column of paths, lower case, the most telling first."""


def is_table(path: Path, head: bytes) -> bool:
    """Whether a file is a table, by its first bytes; of plain text also by its suffix."""
    if head.startswith((parquet.MAGIC, ECSV)) or is_votable(head):
        return True
    name = path.name.lower()
    if head.startswith(GZIP):
        return name.removesuffix(".gz").endswith(TEXT) and name.endswith(".gz")
    is_text = b"\0" not in head or head.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    return is_text and name.endswith(TEXT)


def read_table(path: Path, blank: Sequence[str] = ()) -> Table:
    """A table by its first bytes.

    Args:
        path: CSV and its like, Parquet, ECSV, a VOTable, or FITS with a binary table.
        blank: texts and numbers that mean no value, beside the usual ones.

    Raises:
        DataError: damaged, too large, or with rows of different lengths.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    try:
        if head.startswith(parquet.MAGIC):
            return ParquetTable(path, blank)
        if head.startswith(ECSV):
            return AstropyTable(path, "ascii.ecsv", blank)
        if head.startswith(FITS):
            return AstropyTable(path, "fits", blank)
        if is_votable(head):
            return AstropyTable(path, "votable", blank)
        return TextTable(path.name, read_bytes(path), blank, PATHS)
    except MemoryError as error:
        raise DataError(f"{path.name} does not fit into memory: {reason(error)}") from error
