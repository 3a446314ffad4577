"""Samples that lie in data sets of their own: groups of one file, or files of a folder.

Each sample is a data set, or a row of one of several. What lies beside a data set in its group, and
the attributes of both, are its columns.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import reason, unreadable
from domainjepa.data.files.identity import content_digest, files_digest
from domainjepa.data.formats.hdf5.index import indexed_column
from domainjepa.data.formats.hdf5.reading import (
    UNREADABLE,
    declared_of,
    require_filters,
    storage_of,
)
from domainjepa.data.formats.hdf5.tree import Absent, Place, open_file, plain_dataset
from domainjepa.data.metadata.blanks import AMONG_NUMBERS
from domainjepa.data.metadata.columns import USUAL_NAMES, find_columns
from domainjepa.data.remote.path import fetch_files
from domainjepa.data.source import Image, OpenOptions, Source, spread
from domainjepa.data.storage.cost import Storage
from domainjepa.data.storage.declared import Declared
from domainjepa.data.storage.layout import MOST_CHANNELS, Array, Layout, bare, layout_of
from domainjepa.errors import DataError

MOST_OPEN = 64
"""Files that a process keeps open."""
MOST_LOOKED_AT = 64
"""Data sets whose sizes are looked at when they are opened; the others are checked as read."""
_AT = "@"
"""Before the name of an attribute of the data set; twice, of its group."""


@dataclass(kw_only=True)
class DatasetsSource(Source):
    """Data sets that hold a sample each, or rows of them; opened lazily, in each process.

    Attributes:
        places: of the data sets.
        counts: (M,) rows of each; 1 where a data set is one sample.
        stacked: whether rows are samples.
        turned: whether W lies before H.
        declared: scale, offset and missing values of the first.
        files: of each data set, below the root; None where one file holds all.
        beside: column -> where it lies beside a data set: a name, `@` and that of an attribute.
    """

    places: list[Place] = field(repr=False)
    counts: NDArray[np.int64] = field(repr=False)
    stacked: bool
    turned: bool = False
    declared: Declared | None = None
    files: list[str] | None = field(default=None, repr=False)
    beside: dict[str, str] = field(default_factory=dict, repr=False)
    options: OpenOptions = field(repr=False)
    _opened: tuple[int, dict[Path, h5py.File]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return int(self.counts.sum())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        alone = self.counts == 1  # the file of one sample is fetched whole, or nearly so
        rows = [int(index) for index in indices if 0 <= index < len(self)]
        numbers = {self._place(row)[0] for row in rows} if self.files else set()
        fetch_files(self.places[number].file for number in numbers if alone[number])
        return [self._read(int(index)) for index in indices]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self._read(int(index), tuple(map(slice, start, stop)))

    def sides(self, index: int) -> tuple[int, ...]:
        return self._layout(self._dataset(int(index))[0]).shape[:-1]

    def chunks(self, index: int) -> tuple[int, ...]:
        dataset, _ = self._dataset(int(index))
        layout, storage = look_at(dataset, self.stacked, self.turned, self.options)
        return storage.read_at_once(layout.sides)

    def _read(self, index: int, window: tuple[slice, ...] = ()) -> Image:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        try:
            dataset, row = self._dataset(index)
            layout = self._layout(dataset)
            where: Any = layout.within(*window) if window else ()
            stored = dataset[(row, *where) if self.stacked else where]
        except (DataError, *UNREADABLE) as error:
            said = str(error) if isinstance(error, DataError) else reason(error)
            raise DataError(
                f"sample {index}, {self._called(index)}, cannot be read: {said}"
            ) from error
        native = stored[None].astype(self._stored_dtype, copy=False)
        values = self.declared.values(native) if self.declared else native
        image: Image = layout.images(values)[0]
        return image

    @property
    def _stored_dtype(self) -> np.dtype[Any]:
        return self.declared.held if self.declared else self.dtype

    def _called(self, index: int) -> str:
        number, row = self._place(index)
        place = self.places[number]
        of = f"row {row} of " if self.stacked else ""
        return f"{of}{place.path.strip('/')!r} in {place.file.name}"

    def _place(self, index: int) -> tuple[int, int]:
        ends = np.cumsum(self.counts)
        number = int(np.searchsorted(ends, index, side="right"))
        return number, index - int(ends[number] - self.counts[number])

    def _dataset(self, index: int) -> tuple[h5py.Dataset, int]:
        """The open data set of a sample, and the sample's row."""
        number, row = self._place(index)
        place = self.places[number]
        dataset = plain_dataset(self.file(place.file), place)
        if self.stacked and dataset.shape[:1] != (self.counts[number],):
            raise DataError(f"{place.file.name} has changed since it was opened.")
        return dataset, row

    def file(self, path: Path) -> h5py.File:
        """An open file of this process: a handle must not be shared with a forked worker."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), {})
        opened = self._opened[1]
        if path not in opened:
            if len(opened) >= MOST_OPEN:
                opened.pop(next(iter(opened))).close()
            opened[path] = open_file(path)
        return opened[path]

    def _layout(self, dataset: h5py.Dataset) -> Layout:
        """How a sample lies in its data set.

        Raises:
            DataError: it is not like the first, or too large.
        """
        layout, storage = look_at(dataset, self.stacked, self.turned, self.options)
        dtype, first = dataset.dtype.newbyteorder("="), self._stored_dtype
        if len(layout.shape) != len(self.shape) or layout.shape[-1] != self.shape[-1]:
            raise DataError(f"it is {layout.shape}, and the first sample is {self.shape}")
        if (dtype.itemsize, dtype.kind == "f") != (first.itemsize, first.kind == "f"):
            raise DataError(f"it is {dtype}, and the first sample is {first}")
        storage.check(self.options, volumetric=layout.volumetric)
        return layout

    def file_names(self) -> Sequence[str]:
        """Of the files, or of the data sets in one file."""
        names = self.files or [place.path.strip("/") for place in self.places]
        return np.repeat(np.array(names, dtype=object), self.counts).tolist()

    def read_column(self, name: str) -> NDArray[Any]:
        if name not in self.beside:
            return super().read_column(name)
        with unreadable(UNREADABLE, f"column {name!r} of {self.name}"):
            where = self.beside[name]
            return indexed_column(self.places, where, lambda: self._column(where))

    def _column(self, where: str) -> NDArray[Any]:
        """One value for each sample; blank where a data set has none beside it."""
        values: list[Any] = []
        for place, count in zip(self.places, self.counts.tolist(), strict=True):
            found = self._beside(place, where)
            if found is None:
                values += [""] * count
            elif self.stacked and np.shape(found)[:1] == (count,):
                values += np.reshape(found, (count,)).tolist()
            else:
                values += np.ravel(found).tolist()[:1] * count
        return _typed(values)

    def _beside(self, place: Place, where: str) -> Any:
        group = place.path.rpartition("/")[0] or "/"
        file = self.file(place.file)
        if where.startswith(_AT):
            holder = file[group] if where.startswith(2 * _AT) else file[place.path]
            return holder.attrs.get(where.lstrip(_AT))
        try:
            dataset = plain_dataset(file, Place(place.file, f"{group.rstrip('/')}/{where}"))
        except Absent:
            return None
        if dataset.size is None or dataset.size * dataset.dtype.itemsize > 2**26:
            raise DataError(f"{where!r} is too large for a column")
        return dataset[()]

    def content_key(self) -> str:
        """The files, and what is read of them."""
        files = list(dict.fromkeys(place.file for place in self.places))
        digest = hashlib.sha256("\0".join(place.path for place in self.places).encode())
        if len(files) == 1:
            return f"{content_digest(files[0])} {digest.hexdigest()}"
        root = Path(os.path.commonpath([file.parent for file in files]))
        names = [str(file.relative_to(root)) for file in files]
        return f"{files_digest(root, names)} {digest.hexdigest()}"


def look_at(
    dataset: h5py.Dataset, stacked: bool, turned: bool, options: OpenOptions
) -> tuple[Layout, Storage]:
    """How one sample lies in a data set, and what it costs to read.

    Raises:
        DataError: it could be no image.
    """
    shape = dataset.shape if stacked else (1, *dataset.shape)
    array = Array(shape, dataset.dtype, turned=turned)
    for dimensions in (options.dimensions, 3):
        layout = layout_of(array, MOST_CHANNELS, dimensions)
        if layout:
            storage = storage_of(dataset, dataset.name.strip("/"), Path(dataset.file.filename).name)
            if not stacked:
                chunks = (1, *storage.chunks) if storage.chunks else None
                storage = replace(storage, shape=shape, chunks=chunks)
            return layout, storage
    raise DataError(f"it is {array}, which is no image of at most {MOST_CHANNELS} channels")


def open_datasets(
    name: str,
    places: list[Place],
    stacked: bool,
    turned: bool,
    options: OpenOptions,
    decision: str,
) -> DatasetsSource:
    """The source of these data sets, in their order.

    Raises:
        DataError: the first cannot be read, or is no image.
    """
    source = DatasetsSource(
        name=name,
        loader="hdf5",
        shape=(),
        dtype=np.dtype("uint8"),
        places=places,
        counts=np.ones(len(places), dtype=np.int64),
        stacked=stacked,
        turned=turned,
        options=options,
    )
    first = plain_dataset(source.file(places[0].file), places[0])
    require_filters(first)
    layout, storage = look_at(first, stacked, turned, options)
    storage.check(options, volumetric=layout.volumetric)
    source.declared = declared_of(first, storage.name)
    own = source.declared.dtype if source.declared else first.dtype
    source.shape, source.dtype = layout.shape, own.newbyteorder("=")
    if stacked:
        shapes = (plain_dataset(source.file(one.file), one).shape for one in places)
        source.counts = np.array([shape[0] for shape in shapes], dtype=np.int64)
    source.decisions.append(f"images: {decision}, {source.dtype} ({layout})")
    if source.declared and str(source.declared):
        source.decisions.append(f"values: {source.declared}")
    sizes = set()
    for index in spread(len(source), MOST_LOOKED_AT):
        with contextlib.suppress(DataError, *UNREADABLE):  # reading it tells why
            sizes.add(source.sides(index))
    if len(sizes) > 1:
        source.decisions.append(f"sizes differ: {len(sizes)} seen; the shape is the first's")
    source.warnings += storage.advice()
    _find_columns(source, places[0], options)
    return source


def _find_columns(source: DatasetsSource, first: Place, options: OpenOptions) -> None:
    """Labels, groups, ids and split out of what lies beside the data sets."""
    source.beside = _names_beside(source, first)
    source.keys = tuple(source.beside)
    arrays = {name: Array((len(source),), np.dtype(object)) for name in source.beside}
    arrays["images"] = Array((len(source), *source.shape), source.dtype)
    asked: dict[str, Any] = {}
    for role in ("labels", "groups", "ids", "split"):
        told = getattr(options, role)
        chosen = told.rpartition("/")[2] if told else _alike(source, role)
        if chosen:
            asked[role] = chosen
    find_columns(
        arrays, source.column, "images", replace(options, images=None, **asked), source.name
    ).complete(source)


def _names_beside(source: DatasetsSource, place: Place) -> dict[str, str]:
    """Column -> where it lies, as beside the first data set."""
    file = source.file(place.file)
    group, _, own = place.path.rpartition("/")
    found: dict[str, str] = {}
    alone = len({one.path.rpartition("/")[0] for one in source.places}) == len(source.places)
    files = len({one.file for one in source.places}) == len(source.places)
    if alone or files:
        rows = int(source.counts[0])
        for name in file[group or "/"]:
            thing = file[group or "/"].get(name, getlink=True)
            if name == own or not isinstance(thing, h5py.HardLink):
                continue
            dataset = file[f"{group}/{name}"]
            if isinstance(dataset, h5py.Dataset) and dataset.shape in ((), (1,), (1, 1), (rows,)):
                found[name] = name
        found |= {name: 2 * _AT + name for name in file[group or "/"].attrs if name not in found}
    attributes = file[place.path].attrs
    return found | {
        name: _AT + name
        for name in attributes
        if name not in found and attributes.get_id(name).shape in ((), (1,))
    }


def _alike(source: DatasetsSource, role: str) -> str | None:
    """A column whose name begins like a usual one, such as Label_2: the only one, or all the same.

    Several that differ are a choice, which a warning names.
    """
    usual = [bare(name) for name in USUAL_NAMES[role] if len(name) > 3]
    if role == "ids" or any(bare(name) in usual for name in source.beside):
        return None
    named = [name for name in source.beside if bare(name).startswith(tuple(usual))]
    if len(named) < 2:
        return named[0] if named else None
    values = [source.column(name).tolist() for name in named]
    if all(one == values[0] for one in values):
        return named[0]
    source.warnings.append(
        f"{role}: none; {' and '.join(named[:5])} differ. Pick one: --set data.{role}={named[0]}"
    )
    return None


def _typed(values: list[Any]) -> NDArray[Any]:
    """Numbers where all are, with NaN for blanks; else strings."""
    texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in values]
    if all(isinstance(one, bool | int | float) for one in texts if one not in AMONG_NUMBERS):
        if any(isinstance(one, str) for one in texts):
            return np.array([np.nan if isinstance(one, str) else one for one in texts])
        return np.array(texts)
    return np.array([str(one) for one in texts], dtype=object)
