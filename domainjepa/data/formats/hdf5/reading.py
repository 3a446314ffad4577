"""What reading HDF5 takes, whichever way the samples lie: its errors, filters, columns, sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.hdf5.tree import MATLAB, Place, open_dataset, open_file
from domainjepa.data.storage.cost import Storage, in_bytes
from domainjepa.data.storage.declared import Declared, declared
from domainjepa.errors import DataError, MissingExtra

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)
"""What h5py raises on damaged files."""
MOST_CELLS = 100_000
"""Cells of MATLAB whose text is read."""


def storage_of(dataset: h5py.Dataset, name: str, where: str) -> Storage:
    """How a dataset lies in its file: shape, chunks and bytes a value."""
    return Storage(name, where, dataset.shape, dataset.chunks, dataset.dtype.itemsize)


def require_filters(dataset: h5py.Dataset) -> None:
    """Raises MissingExtra where a compression filter is not there."""
    plist = dataset.id.get_create_plist()
    for index in range(plist.get_nfilters()):
        code, _, _, label = plist.get_filter(index)
        if h5py.h5z.filter_avail(code):
            continue
        try:
            import hdf5plugin  # noqa: F401  (registers its filters)
        except ImportError as error:
            title = label.decode("utf-8", "replace").strip("\0") or "unnamed"
            raise MissingExtra("hdf5plugin", "hdf5", f"the HDF5 filter {code} ({title})") from error
        if not h5py.h5z.filter_avail(code):
            raise DataError(f"the HDF5 filter {code} is neither in h5py nor in hdf5plugin.")


def read_column(place: Place, path: Path, most: int = 2**30) -> NDArray[Any]:
    """A whole small data set, in native byte order."""
    what = f"{place.path.strip('/')!r} in {path.name}"
    with unreadable(UNREADABLE, what), open_file(place.file) as file:
        dataset = open_dataset(file, place.path)
        size = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize
        size = max(size, storage_of(dataset, place.path, path.name).chunk_bytes)
        if size > most:
            raise DataError(
                f"{what} would take {in_bytes(size)} to read; it is no column of labels."
            )
        require_filters(dataset)
        values: NDArray[Any] = dataset[()]
        if h5py.check_ref_dtype(dataset.dtype) is h5py.Reference:
            values = _cells(file, values)
        if MATLAB in dataset.attrs and values.ndim == 2 and values.shape[0] == 1:
            values = values[0]  # a column of MATLAB's
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def declared_of(dataset: h5py.Dataset, where: str) -> Declared | None:
    """Scale, offset and missing values, where attributes of a data set declare them."""
    if not h5py.h5a.get_num_attrs(dataset.id):
        return None
    return declared(set(dataset.attrs), dataset.attrs.__getitem__, dataset.dtype, where)


def _cells(file: h5py.File, references: NDArray[Any]) -> NDArray[Any]:
    """Texts of a MATLAB cell array, which holds references to arrays of UTF-16 units."""
    cells = references.ravel().tolist()
    if len(cells) > MOST_CELLS:
        raise DataError(f"it has {len(cells):,} cells, more than {MOST_CELLS:,}")
    texts = []
    for cell in cells:
        units = file[cell]
        plain = isinstance(units, h5py.Dataset) and not (units.external or units.is_virtual)
        if not plain or units.dtype != np.uint16 or units.size > 2**16:
            raise DataError("its cells hold something other than short texts")
        texts.append(np.ravel(units[()]).astype("<u2").tobytes().decode("utf-16-le", "replace"))
    return np.array(texts, dtype=object)
