"""What an object of a store holds, as it is asked for.

Objects of at most 1 MiB are fetched whole, larger ones in pieces (`pieces`).
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from domainjepa.data.remote import mirror
from domainjepa.data.remote.checksums import is_as_told, md5_of
from domainjepa.data.remote.mirror import Manifest
from domainjepa.data.remote.pieces import BLOCK, GROUP, Blocks, Extent, Pieces, fill
from domainjepa.data.remote.transfer import Range, fetch
from domainjepa.errors import UserError

MOST_PASSING = 2**30
"""Bytes of passing files that a process has on its disk; the newest is always there."""
MOST_IN_MEMORY = 4 * GROUP
"""Bytes of small passing objects that wait in memory for their reader."""


def is_here(path: str) -> bool:
    """Whether the content of an object is in the cache as a whole."""
    return bool(os.stat(path).st_mode & 0o400)  # noqa: PTH116  (by the million)


class Object:
    """One object of a store, as this process reads it."""

    def __init__(self, manifest: Manifest, path: Path, name: str) -> None:
        """
        Args:
            manifest: of its set.
            path: that stands for it.
            name: of it in the set.
        """
        self.path, self.name, self.place = path, name, manifest.place
        self.held = manifest.held(name)
        self.parts: Blocks | Pieces | None = None

    @property
    def small(self) -> bool:
        return self.held.size <= BLOCK

    def missing(self, extents: Sequence[Extent], *, on: bool = False) -> list[Extent]:
        """Bytes that have to be fetched for these.

        Args:
            on: with some of what follows, where one read follows the other.
        """
        if self.small:
            here = str(self.path)
            return [] if here in _waiting.contents or is_here(here) else [(0, self.held.size)]
        if self.parts is None:
            self.parts = Blocks(self._data, self.held) if self.held.kept else Pieces(self.held)
        return self.parts.further(extents) if on else self.parts.missing(extents)

    def take(self, extent: Extent, content: bytes) -> None:
        """Keep what was fetched."""
        if self.parts is not None:
            self.parts.take(extent, content)
            return
        if (asked := md5_of(self.held)) is not None:
            came = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if not is_as_told(self.held, asked, came):
                self.take(extent, fetch([Range(self.held.url, *extent)])[0])
                return
        if not self.held.kept:
            _waiting.put(str(self.path), content)
            return
        beside = self.place / mirror.PARTS / f"{os.getpid()}-{self._key}"
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT, mirror.PRESENT), "wb") as file:
            file.write(content)
        os.utime(beside, ns=(self.held.written, self.held.written))
        beside.replace(self.path)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes start to stop, fetched where they are not here."""
        stop = min(stop, self.held.size)
        if start >= stop:
            return b""
        gather_of(self, [(start, stop)], on=True)
        if self.parts is not None:
            return self.parts.read(start, stop)
        return self.whole()[start:stop]

    def whole(self) -> bytes:
        """All of a small object."""
        while True:
            content = _waiting.contents.get(str(self.path))
            if content is not None:
                return content
            if is_here(str(self.path)):
                return Path(self.path).read_bytes()
            gather_of(self, [(0, self.held.size)])

    def handed_over(self) -> bytes:
        """All of a small passing object, which is then no longer in memory."""
        content = self.whole()
        _waiting.drop(str(self.path))
        return content

    def local(self) -> str:
        """A file that holds all of it: its own place, or of a passing one a file for a while."""
        here = str(self.path)
        if is_here(here):
            return here
        if self.held.kept and self.small:
            gather_of(self, [(0, self.held.size)])
            return here
        place = self.path if self.held.kept else mirror.passing(self.place) / self.name
        if self.held.kept or not place.exists():
            self._download(place)
        return str(place)

    def _download(self, place: Path) -> None:
        if self.small:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.write_bytes(self.whole())
        else:
            if self.held.kept:
                self.missing([])
                blocks = self.parts
                assert isinstance(blocks, Blocks)
            else:
                blocks = Blocks(place.with_name(f".{place.name}.part"), self.held)
            fill(blocks)
            blocks.finish(place)
        if not self.held.kept:
            _passed(place, self.held.size)

    @property
    def _key(self) -> str:
        """Another content is another file."""
        told = f"{self.name} {self.held.size} {self.held.etag} {self.held.written}"
        return hashlib.blake2b(os.fsencode(told), digest_size=10).hexdigest()

    @property
    def _data(self) -> Path:
        return self.place / mirror.PARTS / self._key

    def settle(self) -> None:
        """A kept object of which every block is here takes its place."""
        if isinstance(self.parts, Blocks) and self.parts.data.exists() and self.parts.whole:
            self.parts.finish(self.path)


def gather_of(one: Object, extents: Sequence[Extent], *, on: bool = False) -> None:
    """Fetch what is missing of one object."""
    _fetch([(one, extent) for extent in one.missing(extents, on=on)])


def gather_all(wanted: Iterable[tuple[Object, Sequence[Extent]]]) -> None:
    """Fetch what is missing of several objects, all at the same time."""
    _fetch([(one, extent) for one, extents in wanted for extent in one.missing(extents)])


def _fetch(jobs: list[tuple[Object, Extent]]) -> None:
    while jobs:
        size = count = 0
        while count < len(jobs) and size < GROUP:
            size += jobs[count][1][1] - jobs[count][1][0]
            count += 1
        now, jobs = jobs[:count], jobs[count:]
        contents = fetch([Range(one.held.url, *extent) for one, extent in now])
        for (one, extent), content in zip(now, contents, strict=True):
            one.take(extent, content)
        for one in {one for one, _ in now}:
            one.settle()


class Waiting:
    """Small passing objects in memory, for their readers; the oldest give way."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.size = 0

    def put(self, path: str, content: bytes) -> None:
        self.size += len(content) - len(self.contents.pop(path, b""))
        self.contents[path] = content
        while self.size > MOST_IN_MEMORY and len(self.contents) > 1:
            self.size -= len(self.contents.pop(next(iter(self.contents))))

    def drop(self, path: str) -> None:
        self.size -= len(self.contents.pop(path, b""))


_waiting = Waiting()


_on_disk: dict[int, deque[tuple[Path, int]]] = {}
"""Process -> its passing files and the bytes of all up to each, the oldest first."""


def _passed(place: Path, size: int) -> None:
    """Removes the oldest passing files of this process beyond `MOST_PASSING`."""
    files = _on_disk.setdefault(os.getpid(), deque())
    total = size + (files[-1][1] if files else 0)
    files.append((place, total))
    while len(files) > 1 and total - files[0][1] > MOST_PASSING:
        files.popleft()[0].unlink(missing_ok=True)


_manifests: dict[tuple[int, Path], Manifest] = {}


def find(path: Path, base: Path) -> Object:
    """The object that a file of the cache stands for.

    Args:
        base: the folder of all sets.

    Raises:
        UserError: it is none, or its set is no longer there.
    """
    parts = path.relative_to(base).parts
    if len(parts) < 4:
        raise UserError(f"{path.name} is no object of a store.")
    place = base / parts[0]
    key = (os.getpid(), place)
    if key not in _manifests or not _manifests[key].is_of_today():
        _manifests[key] = Manifest(place)
    return Object(_manifests[key], Path(str(path)), "/".join(parts[3:]))


@atexit.register
def _forget_passing() -> None:
    """Removes what this process has of passing objects on its disk."""
    for process, place in _manifests:
        if process == os.getpid():
            shutil.rmtree(mirror.passing(place), ignore_errors=True)
