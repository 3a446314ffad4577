"""Paths of objects of a store: a file is fetched when a library is given its name.

So every loader reads from far away what it reads from a disk: whatever opens a file by its path
gets one that is there. `open("rb")` fetches only what is read of it, and `fetch_files` fetches what
will be read next, all of it at the same time.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PosixPath
from typing import IO, Any

from domainjepa.data.remote import listing, mirror
from domainjepa.data.remote.objects import Object, find, gather_all, is_here
from domainjepa.data.remote.pieces import Extent
from domainjepa.errors import UserError


class RemotePath(PosixPath):
    """A path in the cache of what lies far away. Names, sizes and times are those of the store."""

    def __fspath__(self) -> str:
        """The name of the file, which is there from now on.

        Raises:
            OSError: it cannot be fetched.
        """
        name = str(self)
        try:
            if not is_here(name) and not Path(name).is_dir():
                return _object(self).local()
        except FileNotFoundError:  # nothing there: whoever opens it is told
            pass
        except UserError as error:
            raise Unreachable(str(error)) from error
        return name

    def open(self, mode: str = "r", *arguments: Any, **told: Any) -> IO[Any]:  # type: ignore[override]
        """As `Path.open`; binary files that are not here are read as far as they are asked for."""
        name = str(self)
        if mode != "rb" or is_here(name):
            return open(self, mode, *arguments, **told)  # noqa: PTH123
        file = RemoteFile(self)
        if file.object.small and not file.object.held.kept:
            return io.BytesIO(file.object.handed_over())
        return io.BufferedReader(file, 2**13)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(str(self), follow_symlinks=follow_symlinks)  # noqa: PTH116

    def lstat(self) -> os.stat_result:
        return self.stat(follow_symlinks=False)

    def resolve(self, strict: bool = False) -> RemotePath:
        return RemotePath(os.path.normpath(str(self)))

    def absolute(self) -> RemotePath:
        return self

    def expanduser(self) -> RemotePath:
        return self

    def iterdir(self) -> Iterator[RemotePath]:  # type: ignore[override]
        for name in os.listdir(str(self)):  # noqa: PTH208
            yield self / name

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.lexists(str(self))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.isfile(str(self))  # noqa: PTH113

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.isdir(str(self))  # noqa: PTH112

    def is_symlink(self) -> bool:
        return False


class Unreachable(OSError):
    """An object that cannot be fetched."""

    def __init__(self, said: str) -> None:
        super().__init__(None, said)

    def __str__(self) -> str:
        return str(self.strerror)


class RemoteFile(io.RawIOBase):
    """An object, open to be read: what is not here is fetched."""

    def __init__(self, path: Path) -> None:
        self.object = _object(path)
        self.name = path.name
        self._at = 0

    def __repr__(self) -> str:
        return self.name

    @property
    def size(self) -> int:
        return self.object.held.size

    def pread(self, count: int, offset: int) -> bytes:
        """As `os.pread`.

        Raises:
            OSError: it cannot be fetched.
        """
        try:
            return self.object.read(offset, offset + count)
        except UserError as error:
            raise Unreachable(str(error)) from error

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        content = self.pread(len(view), self._at)
        view[: len(content)] = content
        self._at += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if begin + offset < 0:
            raise OSError(f"seek to {begin + offset}")
        self._at = begin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def local(place: str | os.PathLike[str]) -> Path:
    """A path; of what lies far away a `RemotePath`, also where its name alone was handed on."""
    if isinstance(place, Path):
        return place
    name = os.fspath(place)
    return RemotePath(name) if is_remote(name) else Path(name)


def is_remote(name: str) -> bool:
    """Whether a file's name is one of the cache of what lies far away."""
    return name.startswith(f"{mirror.base()}{os.sep}")


def openable(path: Path) -> Any:
    """What a library that takes names and open files alike is given: the name of a file that is
    here, and of another one that reads as far as it is asked for."""
    far = isinstance(path, RemotePath) and not is_here(str(path))
    return RemoteFile(path) if far else path


def fetch_files(paths: Iterable[Path], *, small: bool = False) -> None:
    """Fetches whole files that will be read next, all at the same time; those that are here, and
    large ones that are not kept, are left alone.

    Args:
        small: leave all large ones alone, of which no more than a header is read.

    Raises:
        UserError: the store cannot be reached.
    """
    wanted = []
    for path in paths:
        if isinstance(path, RemotePath) and not is_here(str(path)):
            found = _object(path)
            if found.small or (found.held.kept and not small):
                wanted.append((found, [(0, found.held.size)]))
    gather_all(wanted)


def fetch_parts(wanted: Iterable[tuple[Any, Sequence[Extent]]]) -> None:
    """Fetches bytes of open files that will be read next, all at the same time.

    Args:
        wanted: open files, of which those that are no `RemoteFile` are left alone, and (start,
            stop) of what is read of each.

    Raises:
        UserError: as `fetch_files`.
    """
    gather_all((one.object, extents) for one, extents in wanted if isinstance(one, RemoteFile))


def checksum(path: RemotePath) -> str:
    """What the store tells the content of an object by; its size and time where it tells nothing.

    Raises:
        OSError: the object is not among those that were listed.
    """
    try:
        held = _object(path).held
    except UserError as error:
        raise Unreachable(str(error)) from error
    return f"{held.size} {held.etag or held.written}"


def unchanged(paths: Sequence[Path]) -> bool:
    """Whether objects are at their store what they were when they were listed; near files are.

    Raises:
        OSError: the store cannot be reached, or one of them is gone.
    """
    try:
        for path in paths:
            if isinstance(path, RemotePath):
                held = _object(path).held
                if listing.look(held.url) != (held.size, held.etag, held.written):
                    return False
    except UserError as error:
        raise Unreachable(str(error)) from error
    return True


def _object(path: Path) -> Object:
    return find(path, mirror.base())
