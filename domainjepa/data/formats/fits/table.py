"""Images in a column of a FITS binary table, one a row, and the other columns beside them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.files.identity import content_digest
from domainjepa.data.formats.fits.headers import headers
from domainjepa.data.formats.fits.images import ImageHDU, kind_of
from domainjepa.data.formats.fits.pixels import physical
from domainjepa.data.formats.tables.reading import PATHS
from domainjepa.data.formats.tables.template import is_template
from domainjepa.data.metadata.columns import find_columns
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.data.storage.layout import Array, Layout, layout_of, pick_images
from domainjepa.data.storage.uncompressed import Stored
from domainjepa.errors import DataError

BITPIX = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}
"""numpy's name of a stored number -> what FITS calls it."""


class Column(NamedTuple):
    """A column of fixed length.

    Attributes:
        name: as in the file.
        values: shape of one row's value and what its numbers mean, as an image's header would
            tell; None for text and for logical values.
        record: the dtype of a row of the table.
        offset: of the table in the file, in bytes.
        rows: of the table.
    """

    name: str
    values: ImageHDU | None
    record: np.dtype[Any]
    offset: int
    rows: int

    @property
    def array(self) -> Array:
        """What the column looks like to those who look for images and labels."""
        stored = self.record[self.name]
        logical = stored.base == np.int8
        dtype = self.values.dtype if self.values else np.dtype(bool) if logical else stored.base
        return Array((self.rows, *stored.shape), dtype)

    def read(self, path: Path, rows: Sequence[int] | None = None) -> NDArray[Any]:
        """Its values in these rows of the table in a file, by default in all.

        Raises:
            DataError: the file is shorter than its header says.
        """
        assert self.record.fields is not None
        dtype, first = self.record.fields[self.name][:2]
        where = slice(first, first + dtype.itemsize)
        table = Stored(path, np.dtype(np.uint8), (self.rows, self.record.itemsize), self.offset)
        found = table[:, where] if rows is None else np.stack([table[row, where] for row in rows])
        return self.told(np.ascontiguousarray(found).view(dtype.base).reshape(-1, *dtype.shape))

    def told(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Stored numbers, a copy of their own -> values."""
        native = np.array(stored, stored.dtype.newbyteorder("="), order="C")
        if self.values:
            return physical(native, self.values)
        return native == ord("T") if native.dtype == np.int8 else native


@dataclass(kw_only=True)
class FITSTable(Source):
    """Samples are the rows of one column."""

    path: Path
    columns: dict[str, Column] = field(repr=False)
    images: str
    layout: Layout

    def __len__(self) -> int:
        return self.columns[self.images].rows

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"samples {wanted.min()} to {wanted.max()} of {len(self)}")
        if not len(wanted):
            return []
        with unreadable((OSError,), self.path.name):
            values = self.columns[self.images].read(self.path, wanted.tolist())
        return list(self.layout.images(values))

    def read_column(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            return super().read_column(name)
        return self.columns[name].read(self.path)

    def content_key(self) -> str:
        """The file's content, and the column."""
        return f"{content_digest(self.path)} {self.images}"


def open_table(path: Path, options: OpenOptions) -> FITSTable | None:
    """The source of a file whose images lie in a table, or None where it has no table.

    Raises:
        DataError: no column of images, several, a sample too large, or a table in a gzip.
    """
    columns = table_columns(path, options.max_sample_bytes)
    if not columns:
        return None
    arrays = {name: column.array for name, column in columns.items()}
    name, layout = pick_images(arrays, options.images, "the table")
    size = int(np.prod(layout.shape)) * arrays[name].dtype.itemsize
    if size > options.max_sample_bytes:
        raise DataError(
            f"one sample would take {size:,} bytes, more than {options.max_sample_bytes:,}. If "
            f"that is meant: --set data.max_sample_bytes={size}"
        )
    if not columns[name].rows:
        raise DataError("the table has no rows")

    beside = find_columns(arrays, lambda one: columns[one].read(path), name, options, "the table")
    return FITSTable(
        name=path.stem,
        loader="fits",
        shape=layout.shape,
        dtype=arrays[name].dtype,
        keys=tuple(columns),
        path=path,
        columns=columns,
        images=name,
        layout=layout,
        **vars(beside),
    )


def names_files(path: Path, options: OpenOptions) -> bool:
    """Whether a table has no images in it, but the paths of files that hold them."""
    columns = table_columns(path, options.max_sample_bytes)
    if options.images is not None:
        named = columns.get(options.images)
        return is_template(options.images) or (named is not None and named.array.dtype.kind == "S")
    return not any(layout_of(one.array) for one in columns.values()) and any(
        name.lower() in PATHS and one.array.dtype.kind == "S" for name, one in columns.items()
    )


def table_columns(path: Path, most: int) -> dict[str, Column]:
    """Every column of a fixed length, of the first table that has some.

    Raises:
        DataError: as `contents`; or the columns do not fill the rows, or the file is a gzip.
    """
    from astropy.io import fits

    for number, header, offset, packed, _ in headers(path, most):
        if kind_of(header) != "BINTABLE":
            continue
        if packed:
            raise DataError("a table in a packed file cannot be read by rows: gunzip or bunzip2 it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = fits.BinTableHDU.fromstring(header.tostring().encode())
            told, record = table.columns, table.columns.dtype.newbyteorder(">")
        if record.itemsize != header["NAXIS1"]:
            raise DataError(f"the columns of HDU {number} do not fill its rows: it is damaged")
        found = {}
        for one in told:
            stored = record[one.name]
            code = f"{stored.base.kind}{stored.base.itemsize}"
            if any(letter in one.format for letter in "PQXCM"):
                continue  # of variable length, bits, complex numbers
            values = None
            if code in BITPIX:
                shape, scale, zero = stored.shape, one.bscale or 1.0, one.bzero or 0.0
                values = ImageHDU(
                    number, one.name, shape, BITPIX[code], scale, zero, one.null, 0, "plain"
                )
            found[one.name] = Column(one.name, values, record, offset, header["NAXIS2"])
        if found:
            return found
    return {}
