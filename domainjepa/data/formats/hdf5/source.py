"""Images in one data set of an HDF5 file.

Samples are read one at a time into one buffer, in the order in which they lie in the file: fancy
indexing is 20 to 300 times slower, the low-level read twice as fast as `read_direct`, and a whole
chunk as it lies in the file twice as fast again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.files.identity import content_digest
from domainjepa.data.formats.hdf5.extents import extents
from domainjepa.data.formats.hdf5.reading import UNREADABLE, read_column, require_filters
from domainjepa.data.formats.hdf5.tree import Place, open_dataset
from domainjepa.data.remote.path import RemoteFile, RemotePath, fetch_parts, openable
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.cost import Storage
from domainjepa.data.storage.declared import Declared
from domainjepa.data.storage.layout import Layout
from domainjepa.errors import DataError


@dataclass(kw_only=True)
class HDF5Source(Source):
    """Images in one data set of an HDF5 file; opened lazily, once in each process."""

    path: Path
    place: Place
    layout: Layout
    stored_shape: tuple[int, ...]
    storage: Storage
    declared: Declared | None = None
    places: dict[str, Place] = field(repr=False)
    _opened: tuple[int, Any, h5py.Dataset, bool] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return self.stored_shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def _stored_dtype(self) -> np.dtype[Any]:
        return self.declared.held if self.declared else self.dtype

    def _values(self, stored: NDArray[Any]) -> NDArray[Any]:
        return self.declared.values(stored) if self.declared else stored

    def _dataset(self) -> tuple[h5py.Dataset, bool]:
        """The open data set of this process: a handle must not be shared with a forked worker.

        And whether each sample lies in the file as one chunk, just as it is in memory.
        """
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = None
            opened = openable(self.place.file)
            dataset = open_dataset(h5py.File(opened, "r"), self.place.path)
            if dataset.shape != self.stored_shape:
                raise DataError(f"{self.path.name} has changed since it was opened.")
            require_filters(dataset)
            plain = (
                dataset.dtype == self._stored_dtype
                and not dataset.id.get_create_plist().get_nfilters()
            )
            one_chunk = dataset.chunks == (1, *self.stored_shape[1:])
            self._opened = (os.getpid(), opened, dataset, plain and one_chunk)
        return self._opened[2:]

    def _gather(self, wanted: Sequence[Sequence[slice]]) -> None:
        """Fetches what will be read, where the file lies far away: parts along the first axes."""
        if not isinstance(self.place.file, RemotePath):
            return
        dataset, _ = self._dataset()
        opened = self._opened[1] if self._opened else None
        if isinstance(opened, RemoteFile) and openable(self.place.file) is self.place.file:
            self._opened = None  # all of it is here by now: HDF5 reads that by itself
        elif isinstance(opened, RemoteFile):
            parts = [part for sides in wanted for part in extents(dataset, sides)]
            fetch_parts([(opened, parts)])

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        rows, position = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        if len(rows) and not (rows[0] >= 0 and rows[-1] < len(self)):
            raise IndexError(f"samples {rows[0]} to {rows[-1]} of {self.name}, {len(self)} in all")
        buffer = np.empty((len(rows), *self.stored_shape[1:]), self._stored_dtype)
        with unreadable(UNREADABLE, self.path.name):
            self._gather([[slice(row, row + 1)] for row in rows.tolist()])
        # Neighbours are read at once: a chunk that holds many samples is then unpacked once.
        starts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        for start, stop in pairwise(starts):
            if start < stop:
                self._read(int(rows[start]), buffer[start:stop])
        images = self.layout.images(self._values(buffer))
        return [images[place] for place in position.tolist()]

    def _read(self, first: int, buffer: NDArray[Any]) -> None:
        """Samples `first` and those that follow it, into a buffer (n, …)."""
        what = f"sample {first} of {self.place.path.strip('/')!r} in {self.path.name}"
        try:
            with unreadable(UNREADABLE, what):
                dataset, as_it_lies = self._dataset()
                stored = dataset.id
                if as_it_lies and _read_chunks(stored, first, buffer):
                    return
                space = stored.get_space()
                space.select_hyperslab((first, *(0,) * (buffer.ndim - 1)), buffer.shape)
                stored.read(h5py.h5s.create_simple(buffer.shape), space, buffer)
        except DataError:
            if len(buffer) == 1:
                raise
            for offset in range(len(buffer)):  # find the one that cannot be read
                self._read(first + offset, buffer[offset : offset + 1])

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        sides = map(slice, start, stop)
        with unreadable(UNREADABLE, f"sample {index} of {self.path.name}"):
            dataset, _ = self._dataset()
            within = self.layout.within(*sides)
            self._gather([[slice(int(index), int(index) + 1), *_plain(within)]])
            stored = dataset[(int(index), *within)]
        native = stored[None].astype(self._stored_dtype, copy=False)
        image: Image = self.layout.images(self._values(native))[0]
        return image

    def sides(self, index: int) -> tuple[int, ...]:
        return self.shape[:-1]

    def chunks(self, index: int) -> tuple[int, ...]:
        return self.storage.read_at_once(self.layout.sides)

    def read_column(self, name: str) -> NDArray[Any]:
        if name not in self.places:
            return super().read_column(name)
        return read_column(self.places[name], self.path)

    def content_key(self) -> str:
        """The file's content, and the name of what is read."""
        return f"{content_digest(self.place.file)} {self.place.path}"


def _plain(sides: Sequence[Any]) -> list[slice]:
    """Of bounds along axes the first ones that are slices with both ends."""
    told = takewhile(lambda one: isinstance(one, slice) and one.stop is not None, sides)
    return [slice(one.start or 0, one.stop) for one in told]


def _read_chunks(stored: h5py.h5d.DatasetID, first: int, buffer: NDArray[Any]) -> bool:
    """Whole chunks of one sample each into a buffer (n, …); False where one was never written."""
    origin = (0,) * (buffer.ndim - 1)
    try:
        for offset, sample in enumerate(buffer):
            stored.read_direct_chunk((first + offset, *origin), out=sample.reshape(-1).view("u1"))
    except (OSError, RuntimeError, ValueError):
        return False  # the ordinary read gives the fill value, or says what is wrong
    return True
