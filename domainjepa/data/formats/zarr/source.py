"""Samples in Zarr arrays, whatever the order of their axes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.files.identity import content_digest, files_digest
from domainjepa.data.remote.addresses import is_url
from domainjepa.data.remote.path import local
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.cost import Storage
from domainjepa.errors import DataError

if TYPE_CHECKING:
    import zarr

MOST_OPEN = 1_000
"""Arrays that stay open in a process."""
REMOTE_READS = 16
"""Reads that wait for a remote store at the same time."""


@dataclass(frozen=True)
class Part:
    """An array whose t axis counts samples; without one it is a single sample.

    Attributes:
        store: of the array, below the root of the source; empty for the root itself.
        path: in the store.
        axes: one letter for each axis: t, c, z, y, x.
        chunks: what is read at once, along the same axes.
        spacing: millimetres along z, y, x (those that are there), or None.
        ome: whether OME metadata describe it.
        missing: files of chunks that are not there; zarr reads them as the fill value.
        overview: path of a coarse resolution; empty where there is none that is small.
    """

    store: str
    path: str
    axes: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    spacing: tuple[float, ...] | None = None
    ome: bool = False
    missing: int = 0
    overview: str = ""

    def side(self, letter: str) -> int:
        """Length of an axis; 1 of one that is not there."""
        return self.shape[self.axes.index(letter)] if letter in self.axes else 1

    def storage(self, where: str) -> Storage:
        """How its samples are stored, t first."""
        order = sorted(range(len(self.axes)), key=lambda axis: self.axes[axis] != "t")
        first = () if "t" in self.axes else (1,)
        return Storage(
            self.path or "images",
            where,
            (*first, *(self.shape[axis] for axis in order)),
            (*first, *(self.chunks[axis] for axis in order)),
            np.dtype(self.dtype).itemsize,
        )


@dataclass(kw_only=True)
class ZarrSource(Source):
    """Samples in one or many arrays; opened lazily, once in each process."""

    root: str = field(repr=False)
    parts: list[Part] = field(repr=False)
    follow_links: bool = False
    _opened: tuple[int, dict[Part, zarr.Array[Any]]] = field(
        default=(0, {}), init=False, repr=False, compare=False
    )
    _ends: NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._ends = np.cumsum([part.side("t") for part in self.parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": (0, {})}

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        rows, position = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        if len(rows) and not (rows[0] >= 0 and rows[-1] < len(self)):
            raise IndexError(f"samples {rows[0]} to {rows[-1]} of {self.name}, {len(self)} in all")
        runs = list(self._runs(rows))
        if is_url(self.root):
            with ThreadPoolExecutor(REMOTE_READS) as pool:
                read = [image for run in pool.map(self._run, runs) for image in run]
        else:
            read = [image for run in runs for image in self._run(run)]
        return [read[place] for place in position.tolist()]

    def file_names(self) -> Sequence[str] | None:
        if len({part.store for part in self.parts}) < 2:
            return None
        return [part.store for part in self.parts for _ in range(part.side("t"))]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        letters = "zyx" if self.volumetric else "yx"
        sides = {letter: slice(*ends) for letter, *ends in zip(letters, start, stop, strict=True)}
        (run,) = self._runs(np.array([index]))
        image: Image = self._read(*run, sides)[0]
        return image

    def sides(self, index: int) -> tuple[int, ...]:
        part = self._part(index)
        return tuple(part.side(letter) for letter in ("zyx" if self.volumetric else "yx"))

    def chunks(self, index: int) -> tuple[int, ...]:
        part = self._part(index)
        letters = "zyx" if self.volumetric else "yx"
        return tuple(
            max(part.chunks[part.axes.index(one)], 1) if one in part.axes else 1 for one in letters
        )

    def overview(self, index: int) -> Image | None:
        part = self._part(index)
        if not part.overview:
            return None
        number = int(np.searchsorted(self._ends, index, side="right"))
        first = int(index - (self._ends[number - 1] if number else 0))
        lower = replace(part, path=part.overview, shape=())  # of a shape that nobody has noted
        what = f"the overview of {self.name}"
        coarse: Image = self._values(lower, first, first + 1, {}, what)[0]
        return coarse

    def _part(self, index: int) -> Part:
        return self.parts[int(np.searchsorted(self._ends, index, side="right"))]

    def read_column(self, name: str) -> NDArray[Any]:
        if name not in self.keys:
            return super().read_column(name)
        from domainjepa.data.formats.zarr import store as zarr_store

        store = zarr_store.connect(self.root, self.follow_links)
        return zarr_store.read_column(zarr_store.array_at(store, name, self.name), self.name)

    def content_key(self) -> str:
        """Of a local store its names and their content; of a remote one what its metadata says."""
        chosen = hashlib.sha256(repr([asdict(part) for part in self.parts]).encode()).hexdigest()
        root = local(self.root)
        if root.is_file():
            return f"{content_digest(root)} {chosen}"
        if not root.is_dir():
            return chosen
        files = [
            os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118  (by the million)
            for store in sorted({part.store for part in self.parts})
            for folder, _, names in os.walk(root / store)
            for name in names
        ]
        return f"{files_digest(root, sorted(files))} {chosen}"

    def _runs(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Ascending rows as (part, first, last + 1) of its samples that follow each other.

        Neighbours are read at once where a chunk holds several samples: it is then unpacked once.
        """
        of = np.searchsorted(self._ends, rows, side="right")
        begin = rows - np.append(0, self._ends)[of]
        together = np.array([self._t_chunk(part) > 1 for part in of.tolist()], dtype=bool)
        apart = (np.diff(rows) != 1) | (np.diff(of) != 0) | ~together[1:]
        starts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(rows)]
        for start, stop in pairwise(starts):
            if start < stop:
                yield int(of[start]), int(begin[start]), int(begin[stop - 1]) + 1

    def _t_chunk(self, part: int) -> int:
        told = self.parts[part]
        return told.chunks[told.axes.index("t")] if "t" in told.axes else 1

    def _run(self, run: tuple[int, int, int]) -> list[Image]:
        part, first, last = run
        try:
            return list(self._read(part, first, last, {}))
        except DataError:
            if last - first == 1:
                raise
            each = range(first, last)  # find the one that cannot be read
            return [image for one in each for image in self._run((part, one, one + 1))]

    def _read(self, part: int, first: int, last: int, sides: dict[str, slice]) -> NDArray[Any]:
        """Samples of one part, or the same region of them, as (n, [D,] H, W, C)."""
        told = self.parts[part]
        index = first + (int(self._ends[part - 1]) if part else 0)
        what = f"sample {index}, {told.path or 'the array'} in {told.store or self.name},"
        return self._values(told, first, last, sides, what)

    def _values(
        self, told: Part, first: int, last: int, sides: dict[str, slice], what: str
    ) -> NDArray[Any]:
        with unreadable((Exception,), what):
            array = self._array(told)
            sides = {"t": slice(first, last), **sides}
            stored = np.asarray(array[tuple(sides.get(one, slice(None)) for one in told.axes)])
        order = [told.axes.index(letter) for letter in "tzyxc" if letter in told.axes]
        images = stored.transpose(order)
        for place, letter in ((0, "t"), (1, "z"), (4, "c")):
            if letter not in told.axes:
                images = np.expand_dims(images, place)
        if not self.volumetric:
            images = images[:, 0]
        return np.ascontiguousarray(images, dtype=self.dtype)

    def _array(self, told: Part) -> zarr.Array[Any]:
        """The open array of this process: handles must not be shared with a forked worker."""
        if self._opened[0] != os.getpid() or len(self._opened[1]) > MOST_OPEN:
            self._opened = (os.getpid(), {})
        opened = self._opened[1]
        if told not in opened:
            from domainjepa.data.formats.zarr import codecs as zarr_codecs
            from domainjepa.data.formats.zarr import store as zarr_store

            where = told.store or self.name
            place = self.root if not told.store else f"{self.root}/{told.store}"
            store = zarr_store.connect(place, self.follow_links)
            array = zarr_store.array_at(store, told.path, where)
            if told.shape and array.shape != told.shape:
                raise DataError(
                    f"{where} has changed since it was opened, or since its folder was indexed: "
                    "open it again, and if that does not help empty the cache ($DOMAINJEPA_CACHE, "
                    "else ~/.cache/domainjepa)."
                )
            opened[told] = zarr_codecs.guarded(array)
        return opened[told]
