"""NumPy's own files: one array (`.npy`), or an archive of named arrays (`.npz`).

An archive with `train_images`, `test_images`, … (MedMNIST) is one source with a split. In a folder
each file is one sample.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.files.folder import read_folders, refuse_names
from domainjepa.data.files.gathering import gather
from domainjepa.data.files.identity import content_digest
from domainjepa.data.files.listing import ends_in
from domainjepa.data.formats.arrays.bands import band_names, with_samples
from domainjepa.data.formats.arrays.files import open_array_files
from domainjepa.data.formats.arrays.members import (
    MAGIC,
    MOST_LOADED,
    UNREADABLE,
    Member,
    in_archive,
    in_array,
    read_column,
    size_of,
    verify,
)
from domainjepa.data.metadata.columns import SPLITS, counts, find_columns
from domainjepa.data.source import Image, Loader, OpenOptions, Source
from domainjepa.data.storage.layout import (
    MOST_CHANNELS,
    Array,
    Layout,
    dimensions_of,
    layout_of,
    pick_images,
)
from domainjepa.data.storage.uncompressed import Stored
from domainjepa.errors import DataError

_PART = re.compile(rf"({'|'.join(SPLITS)})_(.+)|(.+)_({'|'.join(SPLITS)})", re.IGNORECASE)


@dataclass(kw_only=True)
class ArraysSource(Source):
    """Images in one array, or in one for each part of the split."""

    path: Path
    members: dict[str, tuple[Member, ...]] = field(repr=False)
    images: str
    layout: Layout
    _opened: list[Stored | NDArray[Any]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return sum(member.shape[0] for member in self.members[self.images])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        buffer = np.empty((len(indices), *self.members[self.images][0].shape[1:]), self.dtype)
        for place, (part, row) in enumerate(self._places(indices)):
            buffer[place] = part[row]
        return list(self.layout.images(buffer))

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        ((whole, row),) = self._places([index])
        where: Any = (row, *self.layout.within(*map(slice, start, stop)))
        part = whole[where]
        image: Image = self.layout.images(np.array(part[None], self.dtype))[0]
        return image

    def sides(self, index: int) -> tuple[int, ...]:
        return self.shape[:-1]

    def _places(self, indices: Sequence[int]) -> list[tuple[Stored | NDArray[Any], int]]:
        """The array in which each sample lies, and its row there."""
        if self._opened is None:
            self._opened = [member.open() for member in self.members[self.images]]
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"samples {wanted.min()} to {wanted.max()} of {len(self)}")
        ends = np.cumsum([len(part) for part in self._opened])
        part_of = np.searchsorted(ends, wanted, side="right").tolist()
        return [
            (self._opened[part], int(index - ends[part]) + len(self._opened[part]))
            for index, part in zip(wanted.tolist(), part_of, strict=True)
        ]

    def read_column(self, name: str) -> NDArray[Any]:
        if name not in self.members:
            return super().read_column(name)
        return read_column(self.members[name])

    def content_key(self) -> str:
        """The file's content, and the name of what is read."""
        return f"{content_digest(self.path)} {self.images}"


class ArraysLoader(Loader):
    """Opens `.npy` and `.npz`."""

    name = "arrays"
    title = "NumPy"
    suffixes = (".npy", ".npz")
    container = True

    def sniff(self, path: Path, head: bytes) -> bool:
        if head.startswith(MAGIC):
            return True
        archive = head.startswith(b"PK\x03\x04") and b".npy" in head[:512]
        return archive and path.suffix.lower() != ".zip"  # of files, each a sample

    def holds_many(self, path: Path) -> bool:
        try:
            arrays = _as_arrays(_joined(_members(path))[0]).values()
        except DataError:
            return True  # opening it tells what is wrong
        return any(layout_of(one) or layout_of(one, dimensions=3) for one in arrays)

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        return any(ends_in(name, self.suffixes) for name in names)

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        return open_array_files(root, files, options)

    def open(self, path: Path, options: OpenOptions) -> Source:
        return self._open_folder(path, options) if path.is_dir() else self._open_file(path, options)

    def _open_folder(self, path: Path, options: OpenOptions) -> Source:
        refuse_names(path, options)
        found = gather(path, self, options)
        source = found.open(partial(self.open_files, found.root))
        read_folders(source, found.names)
        return source

    def _open_file(self, path: Path, options: OpenOptions) -> Source:
        where = path.name
        members, parts = _joined(_members(path))
        bands = band_names(members)
        members = with_samples(members, len(bands)) if bands else members
        arrays = _as_arrays(members)
        dimensions = dimensions_of(arrays, options.images, options.dimensions)
        name, layout = pick_images(arrays, options.images, where, dimensions)
        _check_size(members[name], options.max_sample_bytes, where)
        for member in members[name]:
            verify(member)
        bands = bands if len(bands) == layout.shape[-1] else ()
        columns = find_columns(
            arrays, lambda one: read_column(members[one]), name, options, where, layout
        )
        if bands:
            shown = ", ".join(bands[:MOST_CHANNELS]) + ", …" * (len(bands) > MOST_CHANNELS)
            columns.decisions.append(f"bands: {shown}, as the file names them")
        if columns.split is None and len(members[name]) > 1:
            sizes = [member.shape[0] for member in members[name]]
            columns.split = np.repeat(np.array(parts), sizes)
            columns.decisions.append(f"split: by the arrays' names, {counts(columns.split)}")
        return ArraysSource(
            name=path.stem,
            loader=self.name,
            shape=layout.shape,
            dtype=arrays[name].dtype.newbyteorder("="),
            keys=tuple(sorted(members)),
            path=path,
            members=members,
            images=name,
            layout=layout,
            bands=bands or None,
            **vars(columns),
        )


def _members(path: Path) -> dict[str, Member]:
    """The arrays in a file by their names."""
    with unreadable(UNREADABLE, path.name):
        with path.open("rb") as file:
            is_array = file.read(len(MAGIC)) == MAGIC
        return in_array(path) if is_array else in_archive(path)


def _joined(found: dict[str, Member]) -> tuple[dict[str, tuple[Member, ...]], list[str]]:
    """`train_images`, `test_images`, … become the parts of one `images` (MedMNIST, Keras).

    Returns:
        name -> its members in the order of the parts, and the parts' names.
    """
    parts: dict[str, dict[str, Member]] = {}
    for name, member in found.items():
        match = _PART.fullmatch(name)
        if match:
            part = SPLITS[(match[1] or match[4]).lower()]
            parts.setdefault(part, {})[match[2] or match[3]] = member
    order: list[str] = [part for part in ("train", "val", "test") if part in parts]
    common = set.intersection(*(set(parts[part]) for part in order)) if len(order) > 1 else set()
    joined: dict[str, tuple[Member, ...]] = {
        name: tuple(parts[part][name] for part in order) for name in sorted(common)
    }
    joined = {
        name: members
        for name, members in joined.items()
        if len({(member.shape[1:], member.dtype) for member in members}) == 1
    }
    if not joined:
        return {name: (member,) for name, member in found.items()}, []
    rest = {
        name: (member,)
        for name, member in found.items()
        if not any(member in members for members in joined.values()) and name not in joined
    }
    return joined | rest, order


def _as_arrays(members: Mapping[str, tuple[Member, ...]]) -> dict[str, Array]:
    told = None
    for name in ("class_names", "classes"):
        one = members.get(name, ())
        if len(one) == 1 and told is None and len(one[0].shape) == 1 and one[0].dtype.kind in "SU":
            values = read_column(one)
            told = tuple(
                value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                for value in values.tolist()
            )
    return {
        name: Array(
            (sum(one.shape[0] for one in parts), *parts[0].shape[1:]) if parts[0].shape else (),
            parts[0].dtype,
            class_names=told,
        )
        for name, parts in members.items()
    }


def _check_size(members: tuple[Member, ...], most: int, where: str) -> None:
    """Raises DataError before anything is allocated that only the header asks for."""
    size = size_of(members[0].shape[1:], members[0].dtype)
    if size > most:
        raise DataError(
            f"one sample of {where} would take {size:,} bytes, more than {most:,}. If that is "
            f"meant: --set data.max_sample_bytes={size}"
        )
    if not any(member.shape[0] for member in members):
        raise DataError(f"{where} is empty: its images are {members[0].shape}.")
    loaded = sum(size_of(one.shape, one.dtype) for one in members if one.offset is None)
    if loaded > MOST_LOADED:
        raise DataError(
            f"{where} unpacks to {loaded / 2**30:.1f} GB in memory. Save it with numpy.savez, "
            "which does not compress and is read by parts, or as HDF5."
        )
