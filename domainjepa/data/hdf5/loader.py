"""HDF5: images in one data set, labels and the rest beside it.

Samples are read one at a time into one buffer, in the order in which they lie in the file: fancy
indexing is 20 to 300 times slower, the low-level read twice as fast as `read_direct`, and a whole
chunk as it lies in the file twice as fast again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from domainjepa.data.columns import USUAL_NAMES, find_columns
from domainjepa.data.damage import unreadable
from domainjepa.data.hdf5.tree import Place, Tree, look, open_dataset
from domainjepa.data.layout import USUAL_NAMES as IMAGE_NAMES
from domainjepa.data.layout import Layout, dimensions_of, is_usual, layout_of, pick_images
from domainjepa.data.packing import prepared
from domainjepa.data.source import Image, Loader, OpenOptions, Source, content_digest
from domainjepa.data.storage import Storage, in_bytes
from domainjepa.errors import DataError, MissingExtra

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)
"""What h5py raises on damaged files."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(kw_only=True)
class HDF5Source(Source):
    """Images in one data set of an HDF5 file; opened lazily, once in each process."""

    path: Path
    place: Place
    layout: Layout
    stored_shape: tuple[int, ...]
    places: dict[str, Place] = field(repr=False)
    _opened: tuple[int, h5py.File, h5py.Dataset, bool] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return self.stored_shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _dataset(self) -> tuple[h5py.Dataset, bool]:
        """The open data set of this process: a handle must not be shared with a forked worker.

        And whether each sample lies in the file as one chunk, just as it is in memory.
        """
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = None
            file = h5py.File(self.place.file, "r")
            dataset = open_dataset(file, self.place.path)
            if dataset.shape != self.stored_shape:
                raise DataError(f"{self.path.name} has changed since it was opened.")
            _require_filters(dataset)
            plain = dataset.dtype == self.dtype and not dataset.id.get_create_plist().get_nfilters()
            one_chunk = dataset.chunks == (1, *self.stored_shape[1:])
            self._opened = (os.getpid(), file, dataset, plain and one_chunk)
        return self._opened[2:]

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        rows, position = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        if len(rows) and not (rows[0] >= 0 and rows[-1] < len(self)):
            raise IndexError(f"samples {rows[0]} to {rows[-1]} of {self.name}, {len(self)} in all")
        buffer = np.empty((len(rows), *self.stored_shape[1:]), self.dtype)
        # Neighbours are read at once: a chunk that holds many samples is then unpacked once.
        starts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        for start, stop in pairwise(starts):
            if start < stop:
                self._read(int(rows[start]), buffer[start:stop])
        images = self.layout.images(buffer)
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
            stored = dataset[(int(index), *self.layout.within(*sides))]
        image: Image = self.layout.images(stored[None].astype(self.dtype, copy=False))[0]
        return image

    def column(self, name: str) -> NDArray[Any]:
        if name not in self.places:
            return super().column(name)
        return _read_column(self.places[name], self.path)

    def content_key(self) -> str:
        """The file's content, and the name of what is read."""
        return f"{content_digest(self.place.file)} {self.place.path}"


class HDF5Loader(Loader):
    """Opens HDF5 files."""

    name = "hdf5"
    title = "HDF5"
    suffixes = (".h5", ".hdf5", ".hdf", ".he5")

    def sniff(self, path: Path, head: bytes) -> bool:
        # A user block of 512, 1024, … bytes may come before the signature.
        return any(head[at : at + 8] == SIGNATURE for at in (0, 512, 1024, 2048))

    def open(self, path: Path, options: OpenOptions) -> Source:
        with unreadable(UNREADABLE, f"{path.name}, HDF5,"):
            return self._open(path, path.name, options)

    def _open(self, path: Path, where: str, options: OpenOptions) -> Source:
        tree = look(path, options.follow_links)

        def read(column: str) -> NDArray[Any]:
            return _read_column(tree.places[column], path)

        told = _told(path)
        layout = prepared.layout_in(tree.arrays, options) if told else None
        if told and layout:
            name, fields = "images", prepared.restored(told, tree.arrays, read, where)
        else:
            _refuse(tree, options, where)
            dimensions = dimensions_of(tree.arrays, options.images, options.dimensions)
            name, layout = pick_images(tree.arrays, options.images, where, dimensions)
            fields = vars(find_columns(tree.arrays, read, name, options, where, layout))
        place = tree.places[name]
        with h5py.File(place.file, "r") as file:
            dataset = open_dataset(file, place.path)
            storage = _storage(dataset, name, where)
            storage.check(options)
            if not (dataset.is_virtual or dataset.external):
                storage.check_claim(path.stat().st_size)
            _require_filters(dataset)
        if tree.refused:
            names = ", ".join(sorted(tree.refused)[:10])
            fields["decisions"].append(f"left out, since they lead to other files: {names}")
        source = HDF5Source(
            name=path.stem,
            loader=self.name,
            shape=layout.shape,
            dtype=tree.arrays[name].dtype.newbyteorder("="),
            keys=tuple(sorted(tree.arrays)),
            path=path,
            place=place,
            layout=layout,
            stored_shape=tree.arrays[name].shape,
            places=tree.places,
            **fields,
        )
        source.warnings += storage.advice()
        return source


def _told(path: Path) -> dict[str, Any] | None:
    """What `domainjepa prepare` wrote about the file; None where it did not make it."""
    with h5py.File(path, "r") as file:
        if prepared.ATTRIBUTE not in file.attrs:
            return None
        kind = file.attrs.get_id(prepared.ATTRIBUTE)
        if kind.dtype.kind != "S" or kind.shape:
            return None
        return prepared.about(bytes(file.attrs[prepared.ATTRIBUTE]))


def _read_chunks(stored: h5py.h5d.DatasetID, first: int, buffer: NDArray[Any]) -> bool:
    """Whole chunks of one sample each into a buffer (n, …); False where one was never written."""
    origin = (0,) * (buffer.ndim - 1)
    try:
        for offset, sample in enumerate(buffer):
            stored.read_direct_chunk((first + offset, *origin), out=sample.reshape(-1).view("u1"))
    except (OSError, RuntimeError, ValueError):
        return False  # the ordinary read gives the fill value, or says what is wrong
    return True


def _refuse(tree: Tree, options: OpenOptions, where: str) -> None:
    """Raises DataError where a link stands in place of something that would have been read."""
    missed = [] if any(map(layout_of, tree.arrays.values())) else list(tree.refused)
    for role, usual in {"images": IMAGE_NAMES, **USUAL_NAMES}.items():
        wanted = getattr(options, role, None)
        for name in tree.refused:
            named = wanted is not None and f"{wanted.strip('/')}/".startswith(f"{name}/")
            if named or (wanted is None and is_usual(name, usual)):
                missed.append(name)
    for name in missed[:1]:
        raise DataError(
            f"{name!r} in {where} {tree.refused[name]} and is not followed. Where you trust the "
            "file: --set data.follow_links=true follows what stays in its folder; or copy it all "
            "into one file with h5repack."
        )


def _storage(dataset: h5py.Dataset, name: str, where: str) -> Storage:
    return Storage(name, where, dataset.shape, dataset.chunks, dataset.dtype.itemsize)


def _require_filters(dataset: h5py.Dataset) -> None:
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


def _read_column(place: Place, path: Path, most: int = 2**30) -> NDArray[Any]:
    """A whole small data set, in native byte order."""
    what = f"{place.path.strip('/')!r} in {path.name}"
    with unreadable(UNREADABLE, what), h5py.File(place.file, "r") as file:
        dataset = open_dataset(file, place.path)
        size = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize
        size = max(size, _storage(dataset, place.path, path.name).chunk_bytes)
        if size > most:
            raise DataError(
                f"{what} would take {in_bytes(size)} to read; it is no column of labels."
            )
        _require_filters(dataset)
        values: NDArray[Any] = dataset[()]
    return values.astype(values.dtype.newbyteorder("="), copy=False)
