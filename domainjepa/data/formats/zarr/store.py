"""Zarr stores, opened so that they can neither lead anywhere else nor run anything.

A folder is read as it is: no link in it is followed, no key leaves it. Codecs are those that turn
bytes into numbers: pickled objects are never loaded. Metadata is believed about nothing that costs
memory before its size was compared with a limit.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore, ZipStore

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.zarr.codecs import METADATA, guarded, unsafe
from domainjepa.data.remote.addresses import fatal, is_url, unreachable
from domainjepa.data.remote.path import is_remote, local
from domainjepa.data.remote.transfer import Trouble
from domainjepa.data.storage.cost import in_bytes
from domainjepa.data.storage.layout import Array
from domainjepa.errors import DataError
from domainjepa.reading import regular

MOST_FILES = 100_000
"""Chunk files that are counted when a store is opened."""


class Folder(LocalStore):
    """A folder that is read, never written, and never left.

    Reads at once in place of zarr's thread for every read: twice as fast where the page is cached.
    """

    follow_links = False

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """The bytes behind a key, or a part of them; None where there are none."""
        root = os.fspath(self.root)
        path = os.path.join(root, key)  # noqa: PTH118  (this and the next: a third of the time)
        real = os.path.realpath(path)
        if real != path and not (self.follow_links and real.startswith(root + os.sep)):
            raise PermissionError(f"{key!r} leads out of its place by a link or '..'")
        try:
            if is_remote(path):
                path = os.fspath(local(path))
            with open(path, "rb", opener=regular) as file:
                if isinstance(byte_range, RangeByteRequest):
                    file.seek(byte_range.start)
                    content = file.read(byte_range.end - byte_range.start)
                elif isinstance(byte_range, OffsetByteRequest):
                    file.seek(byte_range.offset)
                    content = file.read()
                elif isinstance(byte_range, SuffixByteRequest):
                    file.seek(max(0, os.fstat(file.fileno()).st_size - byte_range.suffix))
                    content = file.read()
                else:
                    content = file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        return (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """What lies in a folder of the store, links left out: they could go round in circles."""
        folder = self.root / prefix
        if folder.is_dir():
            for entry in sorted(folder.iterdir()):
                if not entry.is_symlink():
                    yield entry.name


class Far(FsspecStore):
    """A store behind a URL, asked again where it does not answer."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """The bytes behind a key, or a part of them; None where there are none.

        Raises:
            UserError: it has not answered for two minutes, or asks for credentials.
        """
        trouble = Trouble(f"{self.fs.protocol[0]}://{self.path}")
        while True:
            try:
                found = await super().get(key, prototype or default_buffer_prototype(), byte_range)
            except Exception as error:  # each file system has errors of its own
                await asyncio.sleep(trouble.met(error))
            else:
                trouble.over()
                return found


def connect(place: str, follow_links: bool = False) -> Store:
    """The store behind a folder's path, a zip file's path or a URL.

    Raises:
        DataError: it cannot be reached.
        UserError: a package that speaks the protocol is missing.
    """
    if not is_url(place):
        path = Path(place).resolve()
        if path.is_dir():
            folder = Folder(path, read_only=True)
            folder.follow_links = follow_links
            return folder
        with unreadable((Exception,), path.name):
            return ZipStore(path, mode="r", read_only=True)
    try:
        return Far.from_url(place, read_only=True)
    except Exception as error:  # each file system has errors of its own
        raise fatal(error, place) or unreachable(error, place) from error


def node(store: Store, path: str, where: str) -> zarr.Array[Any] | zarr.Group:
    """The array or group at a path.

    Consolidated metadata goes stale, so it is used only where a store may be unable to list itself.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if ".." in path.split("/"):
        raise DataError(f"{where} names {path!r}, which leads out of it.")
    consolidated = None if isinstance(store, FsspecStore) else False
    with unreadable((Exception,), f"{path or where} in {where}" if path else where), _quiet():
        try:
            return zarr.open_array(store, path=path, mode="r")
        except (zarr.errors.NodeTypeValidationError, FileNotFoundError):
            pass
        try:
            return zarr.open_group(store, path=path, mode="r", use_consolidated=consolidated)
        except FileNotFoundError as error:
            remote = isinstance(store, FsspecStore)
            raise DataError(
                f"{where} has no Zarr array or group {path!r}: no zarr.json, .zarray or .zgroup."
                + (" Nothing else is read over a network: download it." if remote else "")
            ) from error


def is_there(store: Store, path: str) -> bool:
    """Whether a store has an array or a group at a path."""
    if ".." in path.split("/"):
        return True  # `node` refuses it
    try:
        zarr.open(store, path=path, mode="r")
    except FileNotFoundError:
        return False
    except Exception:  # damaged: `node` tells why
        return True
    return True


def array_at(store: Store, path: str, where: str) -> zarr.Array[Any]:
    """The array at a path.

    Raises:
        DataError: there is none, it is damaged, or it must not be read.
    """
    found = node(store, path, where)
    if not isinstance(found, zarr.Array):
        raise DataError(f"{path!r} in {where} is a group, where an array is expected.")
    why = unsafe(found)
    if why:
        raise DataError(f"{path or 'the array'!r} in {where} {why}.")
    return found


def members(group: zarr.Group, where: str) -> tuple[dict[str, zarr.Array[Any]], dict[str, str]]:
    """Every array below a group by its name, and those that must not be read with the reason."""
    found: dict[str, zarr.Array[Any]] = {}
    refused: dict[str, str] = {}
    with unreadable((Exception,), where), _quiet():
        for name, thing in group.members(max_depth=None):
            if isinstance(thing, zarr.Array):
                why = unsafe(thing)
                if why:
                    refused[name] = why
                else:
                    found[name] = thing
    return found, refused


def as_array(array: zarr.Array[Any]) -> Array:
    """What is known of an array before it is read; names of values as in the CF conventions 3.5."""
    attributes: Mapping[str, Any] = array.attrs
    told = attributes.get("class_names", attributes.get("classes"))
    names = tuple(map(str, told)) if isinstance(told, list) else None
    flags, meanings = attributes.get("flag_values"), attributes.get("flag_meanings")
    values = None
    if isinstance(flags, list) and isinstance(meanings, str):
        values = dict(zip(map(int, flags), meanings.split(), strict=False))
    dtype = np.dtype("U") if array.dtype.kind == "T" else array.dtype
    return Array(array.shape, dtype, values=values, class_names=names)


def missing_chunks(array: zarr.Array[Any], folder: Path) -> tuple[int, int]:
    """How many files of chunks or shards are not there, of how many.

    Zarr reads what is missing as the fill value without a word.
    """
    sides = zip(array.shape, array.shards or array.chunks, strict=True)
    expected = prod(-(-side // max(chunk, 1)) for side, chunk in sides)
    found = 0
    for _, _, names in os.walk(folder / array.path):
        found += sum(name not in METADATA and not name.endswith(".partial") for name in names)
        if found >= min(expected, MOST_FILES):
            return 0, expected
    return expected - found, expected


def read_column(array: zarr.Array[Any], where: str, most: int = 2**30) -> NDArray[Any]:
    """A whole small array, in native byte order.

    Raises:
        DataError: too large, or damaged.
    """
    what = f"{array.path.strip('/')!r} in {where}"
    size = max(prod(array.shape), prod(array.chunks)) * max(array.dtype.itemsize, 1)
    if size > most:
        raise DataError(f"{what} would take {in_bytes(size)} to read; it is no column of labels.")
    with unreadable((Exception,), what):
        found = np.asarray(guarded(array)[...])
    if found.dtype.kind == "T":
        return np.array(found.tolist(), dtype=np.str_)
    return found.astype(found.dtype.newbyteorder("="), copy=False)


class _quiet(warnings.catch_warnings):
    """Without zarr's remarks on files in a store that are none of its own."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
