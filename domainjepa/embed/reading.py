"""Files that `domainjepa embed` wrote, read again: features by blocks, columns one by one.

They go to whoever looks for things in them, and to `embed --append`, which adds to them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.arrays.members import UNREADABLE, Member, in_archive, read_column
from domainjepa.data.metadata.columns import as_text
from domainjepa.embed.blocks import Blocks, ParquetBlocks
from domainjepa.embed.formats import ABOUT, ABOUT_FITS, WRITERS
from domainjepa.errors import DataError, MissingExtra, UserError

FEATURES = "features"
MOST_ABOUT = 2**20
"""Bytes of what tells where features came from."""
DAMAGED = (*UNREADABLE, ImportError, TypeError)


class _Container(Protocol):
    """What a format gives."""

    features: Blocks
    names: list[str]

    def __init__(self, path: Path) -> None: ...
    def about(self) -> Any: ...
    def column(self, name: str) -> NDArray[Any]: ...


class EmbeddedFile:
    """`features`, columns with a value for each sample, and where the features came from.

    Attributes:
        path: of the file, or of the folder of Zarr.
        features: (N, D), read by blocks.
        names: of the columns.
        about: what wrote them (`encoder_sha256`, `backbone`, …); empty where it does not tell.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: another suffix, or no file.
            DataError: no features in it, or a damaged one.
            MissingExtra: Zarr is not installed.
        """
        self.path = path
        if path.suffix.lower() not in _CONTAINERS:
            raise UserError(f"{path.name}: files of features are {', '.join(WRITERS)}")
        if not path.exists():
            raise UserError(f"{path.name}: there is no such file. `domainjepa embed` makes one.")
        with unreadable(DAMAGED, path.name):
            self._inside: _Container = _CONTAINERS[path.suffix.lower()](path)
            self.features, self.names = self._inside.features, self._inside.names
            self.about: dict[str, Any] = self._inside.about() or {}
        if len(self.features) == 0 or self.features.width == 0:
            raise DataError(f"{path.name} holds no features.")

    def column(self, name: str) -> NDArray[Any] | None:
        """(N, …) values of a column, text as str; None where the file has none of that name."""
        if name not in self.names:
            return None
        with unreadable(DAMAGED, self.path.name):
            values = self._inside.column(name)
        if values.shape[:1] != (len(self.features),):
            return None
        return as_text(values) if values.dtype.kind in "SUO" else values


def _blocks(path: Path, stored: Any) -> Blocks:
    if len(stored.shape) != 2:
        raise DataError(
            f"{path.name}: features of shape {stored.shape}, where one vector a sample is "
            "expected; those of patches cannot be compared."
        )
    return Blocks(stored)


def _without(path: Path, name: str = FEATURES) -> DataError:
    return DataError(f"{path.name} holds no {name} of its own: it is not of `domainjepa embed`.")


class _Npz:
    def __init__(self, path: Path) -> None:
        self.members: dict[str, Member] = in_archive(path)
        if FEATURES not in self.members:
            raise _without(path)
        self.features = _blocks(path, self.members[FEATURES].open())
        self.names = [name for name in self.members if name not in (FEATURES, ABOUT)]

    def about(self) -> Any:
        told = self.members.get(ABOUT)
        if told is None or told.shape != () or told.dtype.itemsize > MOST_ABOUT:
            return None
        with np.load(told.path, allow_pickle=False) as packed:
            return json.loads(str(packed[ABOUT]))

    def column(self, name: str) -> NDArray[Any]:
        return read_column((self.members[name],))


class _HDF5:
    def __init__(self, path: Path) -> None:
        self.path, self.file = path, h5py.File(path)
        self.features = _blocks(path, self._own(FEATURES))
        self.names = [name for name in self.file if name != FEATURES]

    def about(self) -> Any:
        return json.loads(self.file.attrs.get(ABOUT, "null"))

    def column(self, name: str) -> NDArray[Any]:
        return np.asarray(self._own(name)[()])

    def _own(self, name: str) -> h5py.Dataset:
        """A data set of this very file: links would lead to others."""
        link = self.file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink) or not isinstance(self.file[name], h5py.Dataset):
            raise _without(self.path, name)
        found = self.file[name]
        if found.is_virtual or found.external:
            raise _without(self.path, name)
        return found


class _Parquet:
    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        if FEATURES not in parquet.read_schema(path).names:
            raise _without(path)
        self.features: Blocks = ParquetBlocks(path)
        self.file = parquet.ParquetFile(path)
        self.names = [name for name in self.file.schema_arrow.names if name != FEATURES]

    def about(self) -> Any:
        return json.loads((self.file.schema_arrow.metadata or {}).get(ABOUT.encode(), b"null"))

    def column(self, name: str) -> NDArray[Any]:
        return np.array(self.file.read([name]).column(0).to_pylist())


class _Fits:
    def __init__(self, path: Path) -> None:
        from astropy.io import fits

        self.table = fits.open(path, memmap=True)[1]
        if FEATURES not in self.table.columns.names:
            raise _without(path)
        self.features = _blocks(path, self.table.data[FEATURES])
        self.names = [name for name in self.table.columns.names if name != FEATURES]

    def about(self) -> Any:
        return json.loads(self.table.header.get(ABOUT_FITS, "null"))

    def column(self, name: str) -> NDArray[Any]:
        values = np.array(self.table.data[name])
        return values.astype(values.dtype.newbyteorder("="))


class _Zarr:
    def __init__(self, path: Path) -> None:
        try:
            import zarr
        except ImportError as error:
            raise MissingExtra("zarr", "zarr", "reading Zarr") from error
        self.group: Any = zarr.open_group(path, mode="r")
        every = [name for name, _ in self.group.arrays()]
        if FEATURES not in every:
            raise _without(path)
        self.features = _blocks(path, self.group[FEATURES])
        self.names = [name for name in every if name != FEATURES]

    def about(self) -> Any:
        return self.group.attrs.get(ABOUT)

    def column(self, name: str) -> NDArray[Any]:
        values = np.asarray(self.group[name][...])
        return np.array(values.tolist(), np.str_) if values.dtype.kind in "OT" else values


_CONTAINERS: dict[str, type[_Container]] = {
    ".npz": _Npz,
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".parquet": _Parquet,
    ".fits": _Fits,
    ".zarr": _Zarr,
}
