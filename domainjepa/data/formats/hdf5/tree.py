"""What an HDF5 file holds, looked at without letting it lead anywhere else.

HDF5 follows external links, raw storage in other files and virtual data sets without a word, so a
downloaded file could read any file of its user. Every component of every path is therefore looked
at before it is opened, and what leaves the file is refused, or, when the user opts in, followed as
long as it stays in the folder of the file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from domainjepa.data.remote.path import openable
from domainjepa.data.storage.layout import Array
from domainjepa.errors import DataError

MOST_OBJECTS = 500_000
MOST_LINKS = 10_000
"""Links that are followed, of all paths together: links to links can multiply without end."""
MOST_HOPS = 16
"""Links and virtual data sets that one path may lead through."""


MATLAB = "MATLAB_class"
"""The attribute of every array that MATLAB writes (version 7.3)."""
MATLABS_OWN = ("#refs#", "#subsystem#")
"""Groups in which it keeps what cells and objects are made of."""


class Refused(Exception):
    """A path that leads out of the file; the message says how."""


class Absent(DataError):
    """There is nothing at a place."""


@dataclass(frozen=True)
class Place:
    """Where a data set lies: a file and a path in it that holds no link."""

    file: Path
    path: str


@dataclass
class Tree:
    """Everything in a file.

    Attributes:
        arrays: name -> array.
        places: name -> where to open it.
        refused: name -> why it was not looked at.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def look(path: Path, follow_links: bool = False) -> Tree:
    """Lists a file.

    Args:
        path: of the file.
        follow_links: follow what leads to other files in its folder or below.

    Raises:
        DataError: the file holds too many objects.
        OSError, RuntimeError, KeyError, ValueError: HDF5 cannot read it.
    """
    tree = Tree()
    with contextlib.ExitStack() as files:
        walk = _Walk(path, follow_links, files)
        for name, thing, place in walk.everything():
            if isinstance(thing, str):
                tree.refused[name] = thing
            else:
                tree.arrays[name] = _array(thing)
                tree.places[name] = place
    return tree


def open_file(path: Path) -> h5py.File:
    """A file, to be read; of one that lies far away no more than what is asked for."""
    return h5py.File(openable(path), "r")


def open_dataset(file: h5py.File, path: str) -> h5py.Dataset:
    """A data set by a path without links; raw storage in other files is looked for beside it.

    HDF5 itself would look for raw storage in the current folder of the process.
    """
    dataset = file[path]
    if not dataset.external:
        return dataset
    del dataset  # HDF5 refuses another prefix while it is open
    if file.driver == "fileobj":
        raise DataError(
            f"{path!r} keeps its bytes in another file, and is read from far away: download both."
        )
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_efile_prefix(os.fsencode(Path(file.filename).parent))
    return h5py.Dataset(h5py.h5d.open(file.id, path.encode("utf-8", "surrogateescape"), access))


def plain_dataset(file: h5py.File, place: Place) -> h5py.Dataset:
    """A data set by a path of which no part is a link, and whose bytes lie in the file itself.

    Raises:
        DataError: a part of the path is a link or missing, or the bytes lie elsewhere.
    """
    thing: Any = h5py.h5g.open(file.id, b"/")
    for part in filter(None, place.path.split("/")):
        name = part.encode("utf-8", "surrogateescape")
        if not isinstance(thing, h5py.h5g.GroupID) or not thing.links.exists(name):
            raise Absent(f"there is no {place.path.strip('/')!r}")
        if thing.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise DataError(f"{place.path.strip('/')!r} is a link, which is not followed")
        thing = h5py.h5o.open(thing, name)
    if not isinstance(thing, h5py.h5d.DatasetID):
        raise DataError(f"{place.path.strip('/')!r} is no data set")
    plist = thing.get_create_plist()
    if plist.get_external_count() or plist.get_layout() == h5py.h5d.VIRTUAL:
        raise DataError(f"{place.path.strip('/')!r} keeps its bytes in another file")
    return h5py.Dataset(thing)


def _array(dataset: h5py.Dataset) -> Array:
    dtype = dataset.dtype
    enum = h5py.check_enum_dtype(dtype)
    names, turned = None, False
    shape: tuple[int, ...] = dataset.shape or ()
    told_of = h5py.h5a.get_num_attrs(dataset.id) > 0
    if told_of and MATLAB in dataset.attrs:
        turned = True
        shape = shape[1:] if len(shape) == 2 and shape[0] == 1 else shape  # a column of MATLAB's
    for attribute in ("class_names", "classes") if told_of else ():
        if attribute in dataset.attrs and names is None:
            told = dataset.attrs.get_id(attribute)
            text = told.dtype.kind == "S" or h5py.check_string_dtype(told.dtype)
            if text and len(told.shape) == 1 and told.shape[0] <= 10_000:
                names = tuple(
                    name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
                    for name in dataset.attrs[attribute]
                )
    info = h5py.h5o.get_info(dataset.id)
    return Array(
        shape,
        dtype,
        values={int(value): str(name) for name, value in enum.items()} if enum else None,
        class_names=names,
        same_as=(info.fileno, info.addr),
        turned=turned,
    )


class _Walk:
    """Depth first through the groups of a file, each group once."""

    def __init__(self, path: Path, follow_links: bool, files: contextlib.ExitStack) -> None:
        self.path = path.resolve()
        self.root = self.path.parent
        self.follow_links = follow_links
        self.files = files
        self.opened: dict[Path, h5py.File] = {}
        self.objects = self.links = 0

    def everything(self) -> Iterator[tuple[str, h5py.Dataset | str, Place]]:
        """(name, data set or why it is refused, its place)."""
        start = Place(self.path, "")
        stack = [("", self.file(self.path)["/"], start)]
        seen: set[tuple[int, int]] = set()
        while stack:
            prefix, group, at = stack.pop()
            info = h5py.h5o.get_info(group.id)
            if (info.fileno, info.addr) in seen:
                continue
            seen.add((info.fileno, info.addr))
            for key in group:
                name = f"{prefix}{key}"
                if name in MATLABS_OWN:
                    continue
                try:
                    thing, place = self.step(group, key, at, MOST_HOPS)
                    if isinstance(thing, h5py.Group):
                        stack.append((f"{name}/", thing, place))
                    elif isinstance(thing, h5py.Dataset):
                        self.check(thing, place, MOST_HOPS)
                        yield name, thing, place
                except Refused as refusal:
                    yield name, str(refusal), at

    def step(self, group: h5py.Group, key: str, at: Place, hops: int) -> tuple[Any, Place]:
        """The object behind one link of a group, and where it really lies."""
        self.objects += 1
        if self.objects > MOST_OBJECTS or self.links > MOST_LINKS:
            raise DataError(
                f"{self.path.name} holds more than {MOST_OBJECTS:,} objects or {MOST_LINKS:,} "
                "links. Write all images into one data set (N, H, W, C) with one sample a chunk."
            )
        if hops < 0:
            raise Refused("leads round in circles")
        name = key.encode("utf-8", "surrogateescape")
        kind = group.id.links.get_info(name).type
        if kind == h5py.h5l.TYPE_HARD:
            place = Place(at.file, f"{at.path}/{key}")
            return self.behind(h5py.h5o.open(group.id, name), place), place
        self.links += 1
        if kind == h5py.h5l.TYPE_EXTERNAL:
            link = group.get(key, getlink=True)
            other = self.beside(link.filename, at, "is an external link")
            return self.resolve(Place(other, ""), link.path, hops - 1)
        if kind != h5py.h5l.TYPE_SOFT:
            raise Refused("is a link of an unknown kind")
        path = group.get(key, getlink=True).path
        return self.resolve(Place(at.file, "") if path.startswith("/") else at, path, hops - 1)

    def behind(self, found: Any, place: Place) -> Any:
        """A group, a data set, or None for anything else."""
        if isinstance(found, h5py.h5g.GroupID):
            return h5py.Group(found)
        if not isinstance(found, h5py.h5d.DatasetID):
            return None
        if found.get_create_plist().get_external_count():
            del found
            return open_dataset(self.file(place.file), place.path)
        return h5py.Dataset(found)

    def resolve(self, at: Place, path: str, hops: int) -> tuple[Any, Place]:
        """Follows a path component by component."""
        thing: Any = self.file(at.file)[at.path or "/"]
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if not isinstance(thing, h5py.Group) or part not in thing:
                raise Refused("is a link to nothing")
            thing, at = self.step(thing, part, at, hops)
        return thing, at

    def check(self, dataset: h5py.Dataset, place: Place, hops: int) -> None:
        """Refuses a data set whose bytes lie in other files, unless they may be followed."""
        if hops < 0:
            raise Refused("leads round in circles")
        made = dataset.id.get_create_plist()
        if made.get_external_count():
            for name, _, _ in dataset.external:
                self.beside(name, place, "keeps its bytes in another file")
        if made.get_layout() != h5py.h5d.VIRTUAL:
            return
        if not self.follow_links:
            raise Refused("is a virtual data set")
        for source in dataset.virtual_sources():
            here = source.file_name == "."
            file = place.file if here else self.beside(source.file_name, place, "is virtual")
            thing, at = self.resolve(Place(file, ""), source.dset_name, hops - 1)
            if isinstance(thing, h5py.Dataset):
                self.check(thing, at, hops - 1)

    def beside(self, name: str | bytes, at: Place, what: str) -> Path:
        """The real path of another file, if it may be followed."""
        if not self.follow_links:
            raise Refused(what)
        name = os.fsdecode(name)
        path = at.file.parent.joinpath(name).resolve()
        if "%" in name or not path.is_relative_to(self.root):
            raise Refused(f"{what} out of the folder of the data")
        if not path.is_file():
            raise Refused(f"{what}, and that file is missing")
        return path

    def file(self, path: Path) -> h5py.File:
        if path not in self.opened:
            self.opened[path] = self.files.enter_context(open_file(path))
        return self.opened[path]
