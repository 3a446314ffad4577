"""Tar shards of WebDataset, and any tar or ZIP of pictures, read in place.

Headers are read once, and kept; after that a random sample costs one read of its own bytes. Nothing
is unpacked to disk, and no member is ever unpickled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.folder import read_folders
from domainjepa.data.files.gathering import warn_of_rest
from domainjepa.data.files.listing import ends_in, list_files
from domainjepa.data.files.shards import Shards, read_parts
from domainjepa.data.formats.archives import tar_file, zip_file
from domainjepa.data.formats.archives.index import indexed
from domainjepa.data.formats.archives.member import Contents, Member, close, extent, opened, read
from domainjepa.data.formats.archives.samples import MOST_TEXT, Samples, is_text, key_of, samples_of
from domainjepa.data.formats.encoded import EncodedSource
from domainjepa.data.formats.images.loader import SUFFIXES
from domainjepa.data.metadata.columns import find_columns
from domainjepa.data.remote.path import RemoteFile, RemotePath, fetch_parts
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.data.storage.layout import Array
from domainjepa.errors import DataError

PICTURES = (*SUFFIXES, ".npy")
MOST_OPEN = 64
"""Archives that a process keeps open."""
PACKED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
"""How a packed tar begins -> what unpacks it."""
_PACKED_NAME = re.compile(r"\.(tar\.\w+|t[gbx]z2?|tzst)$", re.IGNORECASE)


@dataclass(kw_only=True)
class ArchiveSource(EncodedSource):
    """Members of archives; those are opened lazily, once in each process.

    Attributes:
        archive: (N,) the number of each sample's archive.
        place: (N, 5) int64: offset, packed, size, method and checksum of its picture.
        names: (N,) of its picture in the archive.
    """

    shards: Shards = field(repr=False)
    archive: NDArray[np.int32] = field(repr=False)
    place: NDArray[np.int64] = field(repr=False)
    columns: dict[str, NDArray[Any]] = field(repr=False)
    names: list[str] = field(repr=False)
    _opened: tuple[int, dict[int, int | RemoteFile]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.archive)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __del__(self) -> None:
        self._close()

    def called(self, row: int) -> str:
        key = f"{self.ids[row]}, " if self.ids is not None else ""
        return f"{key}in {self.shards.files[int(self.archive[row])]}"

    def stored(self, rows: Sequence[int]) -> list[bytes | DataError]:
        wanted: dict[int, list[tuple[int, int]]] = {}
        for row in rows if isinstance(self.shards.root, RemotePath) else ():
            member = Member("", *self.place[row].tolist())
            if member.packed <= self.options.max_sample_bytes:
                wanted.setdefault(int(self.archive[row]), []).append(extent(member))
        fetch_parts((self._archive(one), extents) for one, extents in wanted.items())
        return [self._stored(int(row)) for row in rows]

    def _stored(self, row: int) -> bytes | DataError:
        member = Member("", *self.place[row].tolist())
        try:
            return read(
                self._archive(int(self.archive[row])), member, self.options.max_sample_bytes
            )
        except DataError as error:
            return error
        except OSError as error:
            return DataError(f"the archive cannot be read: {error.strerror}")

    def _archive(self, number: int) -> int | RemoteFile:
        """An archive, open in this process."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), {})
        descriptors = self._opened[1]
        if number not in descriptors:
            if len(descriptors) >= MOST_OPEN:
                close(descriptors.pop(next(iter(descriptors))))
            descriptors[number] = opened(self.shards.root / self.shards.files[number])
        return descriptors[number]

    def _close(self) -> None:
        """Closes what this process opened; a child leaves its parent's alone."""
        if self._opened is not None and self._opened[0] == os.getpid():
            for descriptor in self._opened[1].values():
                close(descriptor)
            self._opened = None

    def file_names(self) -> Sequence[str]:
        """Of the pictures in their archives."""
        return self.names

    def read_column(self, name: str) -> NDArray[Any]:
        return self.columns[name] if name in self.columns else super().read_column(name)

    def content_key(self) -> str:
        """The archives."""
        return self.shards.content_key()


class ArchiveLoader(Loader):
    """Opens tar and ZIP archives of pictures, and folders of them."""

    name = "archive"
    title = "a tar or ZIP of pictures"
    suffixes = (".tar", ".zip")
    container = True

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.suffix.lower() == ".npz":  # NumPy's own, be it damaged
            return False
        packed = head.startswith(tuple(PACKED)) and _PACKED_NAME.search(path.name)
        return bool(packed) or head.startswith(zip_file.MAGIC) or tar_file.is_tar(head)

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        return any(ends_in(name, self.suffixes) for name in names)

    def open(self, path: Path, options: OpenOptions) -> Source:
        if not path.is_dir():
            return _open(path.resolve().parent, [path.resolve().name], path.stem, options)
        found = list_files(path, self.suffixes, replace(options, images=None))
        source = _open(found.root, found.files, found.root.name, options)
        warn_of_rest(source, found, self)
        return source


def _open(root: Path, files: list[str], where: str, options: OpenOptions) -> Source:
    archives = [indexed(root / file, _contents) for file in files]
    samples = samples_of(archives, PICTURES, options.images, where)
    counts = np.bincount(samples.archives, minlength=len(files))
    shards = Shards(root, files, counts.tolist())
    place = np.array([one[1:] for one in samples.pictures], dtype=np.int64)
    source = ArchiveSource(
        name=where,
        loader="archive",
        options=options,
        shards=shards,
        archive=np.array(samples.archives, dtype=np.int32),
        place=place,
        columns=samples.columns,
        keys=tuple(samples.columns),
        names=samples.names,
        ids=_ids(samples, files),
    )
    of = "members" + (f" of {len(files):,} archives" if len(files) > 1 else " of an archive")
    source.look_at_headers(of)
    _read_columns(source, options)
    if not samples.grouped and options.labels is None and source.labels is None:
        read_folders(source, samples.names)
    if len(files) > 1:
        read_parts(source, shards)
    _tell_of_others(source, archives)
    return source


def _contents(path: Path) -> Contents:
    """What an archive holds, with the texts beside its pictures.

    Raises:
        DataError: as those of tar and ZIP.
    """
    with path.open("rb") as file:
        head = file.read(tar_file.BLOCK)
    if packer := next((by for magic, by in PACKED.items() if head.startswith(magic)), None):
        raise DataError(
            f"{path.name} is packed as a whole, so no member can be read by itself: {packer} it."
        )
    found = zip_file.contents(path) if head.startswith(zip_file.MAGIC) else tar_file.contents(path)
    keys = {key_of(one.name)[0] for one in found.members if ends_in(one.name, PICTURES)}
    beside = [one for one in found.members if is_text(one) and key_of(one.name)[0] in keys]
    found.texts = {}
    descriptor = opened(path)
    try:
        for one in beside:
            text = read(descriptor, one, 2 * MOST_TEXT)
            found.texts[one.name] = text.decode("utf-8", "replace")
    except DataError as error:
        raise DataError(f"{one.name} in {path.name} cannot be read: {error}") from error
    finally:
        close(descriptor)
    return found


def _ids(samples: Samples, files: list[str]) -> NDArray[np.str_]:
    """The keys; with their archive where archives have the same ones."""
    if len(set(samples.keys)) == len(samples.keys):
        return np.array(samples.keys)
    stems = [file.rsplit(".", 1)[0] for file in files]
    pairs = zip(samples.archives, samples.keys, strict=True)
    return np.array([f"{stems[archive]}/{key}" for archive, key in pairs])


def _read_columns(source: ArchiveSource, options: OpenOptions) -> None:
    """Labels, groups, ids and split out of the members beside the pictures."""
    arrays = {name: Array(values.shape, values.dtype) for name, values in source.columns.items()}
    arrays["images"] = Array((len(source), *source.shape), source.dtype)
    columns = {**source.columns}
    found = find_columns(arrays, columns.__getitem__, "images", options, source.name)
    found.complete(source)


def _tell_of_others(source: ArchiveSource, archives: Sequence[Contents]) -> None:
    for count, what in (
        (sum(one.links for one in archives), "links"),
        (sum(one.sparse for one in archives), "sparse files"),
    ):
        if count:
            source.warnings.append(f"left out: {count:,} {what} in the archive, never followed")
