"""What an object of a store holds, as it is asked for.

Objects of at most 1 MiB are fetched whole. Of larger ones that are kept, blocks of 1 MiB are: they
lie in a sparse file with a CRC-32 for each, and once all are there it takes the place of the
object, so an interrupted download goes on where it was. Of larger ones that are passing, the very
bytes that are asked for are fetched, and no more.
"""

from __future__ import annotations

import atexit
import hashlib
import mmap
import os
import shutil
import struct
import weakref
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
from rich.console import Console

from domainjepa.data.remote import listing, mirror
from domainjepa.data.remote.addresses import bucket, public
from domainjepa.data.remote.listing import MD5
from domainjepa.data.remote.mirror import Held, Manifest
from domainjepa.data.remote.transfer import Range, fetch
from domainjepa.errors import DataError, UserError
from domainjepa.waiting import bar

BLOCK = 2**20
MOST_BLOCKS = 8
"""Neighbouring blocks that are fetched by one request."""
MOST_AHEAD = 32
"""Blocks that are read ahead of a file that is read from one end to the other."""
GROUP = 64 * BLOCK
"""Bytes that are in flight at the same time."""
NEAR = 2**16
"""Bytes between two ranges that are fetched rather than asked around."""
WINDOW = 2**16
"""Bytes that a read of a passing object takes at least: headers lie beside each other."""
MOST_WINDOWS = 8
MOST_PASSING = 2**30
"""Bytes of passing files that a process has on its disk; the newest is always there."""
TOLD = 64 * BLOCK
"""Bytes from which on a download is shown."""
MOST_IN_MEMORY = 4 * GROUP
"""Bytes of small passing objects that wait in memory for their reader."""

Extent = tuple[int, int]
"""(start, stop) of bytes."""


def is_here(path: str) -> bool:
    """Whether the content of an object is in the cache as a whole."""
    return bool(os.stat(path).st_mode & 0o400)  # noqa: PTH116  (by the million)


class Blocks:
    """A file that is filled block by block, by any number of processes.

    Each block is written before its checksum; two processes that fetch the same one write the same.
    """

    def __init__(self, data: Path, held: Held) -> None:
        """
        Args:
            data: where the blocks lie; the checksums lie beside it.
        """
        self.data, self.held = data, held
        self.sums_path = data.with_name(f"{data.name}.crc")
        self.count = -(-held.size // BLOCK)
        data.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.file = os.open(data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mirror.PRESENT)
        weakref.finalize(self, os.close, self.file)
        os.ftruncate(self.file, held.size)
        sums = os.open(self.sums_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mirror.PRESENT)
        try:
            os.ftruncate(sums, 4 * self.count)
            self.sums = mmap.mmap(sums, 4 * self.count)
        finally:
            os.close(sums)
        self.seen: set[int] = set()
        self.next, self.ahead = -1, 1

    def missing(self, extents: Iterable[Extent]) -> list[Extent]:
        """Bytes that have to be fetched for these, in whole blocks."""
        wanted = {
            block
            for start, stop in extents
            for block in range(start // BLOCK, -(-min(stop, self.held.size) // BLOCK))
            if not self._is_there(block)
        }
        found: list[Extent] = []
        for block in sorted(wanted):
            stop = min((block + 1) * BLOCK, self.held.size)
            first = found[-1][0] if found else 0
            if found and found[-1][1] == block * BLOCK and stop - first <= MOST_BLOCKS * BLOCK:
                found[-1] = (first, stop)
            else:
                found.append((block * BLOCK, stop))
        return found

    def further(self, extents: Sequence[Extent]) -> list[Extent]:
        """The same, with the blocks that follow where a file is read from one end to the other."""
        if not (found := self.missing(extents)):
            return []
        stop = extents[-1][1]
        self.ahead = min(2 * self.ahead, MOST_AHEAD) if found[0][0] == self.next else 1
        self.next = min((-(-stop // BLOCK) + self.ahead - 1) * BLOCK, self.held.size)
        return self.missing([*extents, (stop, max(self.next, stop))])

    def take(self, extent: Extent, content: bytes) -> None:
        """Store what was fetched."""
        start, stop = extent
        os.pwrite(self.file, content, start)
        for at in range(start, stop, BLOCK):
            block = at // BLOCK
            self.seen.add(block)
            sum_ = zlib.crc32(content[at - start : at - start + BLOCK]) or 1
            struct.pack_into("<I", self.sums, 4 * block, sum_)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes that are there."""
        return os.pread(self.file, stop - start, start)

    @property
    def whole(self) -> bool:
        """Whether every block is there; none is looked at before all have a checksum."""
        return bool(np.frombuffer(self.sums, "<u4").all()) and all(
            self._is_there(block) for block in range(self.count)
        )

    def finish(self, place: Path) -> None:
        """All blocks as a file in its place; whoever has this one open goes on with it.

        Raises:
            DataError: it comes in another form each time.
        """
        if (asked := md5_of(self.held)) is not None:
            with os.fdopen(os.dup(self.file), "rb") as file:
                file.seek(0)
                came = hashlib.file_digest(file, "md5").hexdigest()
            if not _is_as_told(self.held, asked, came):
                self.forget()
                fill(self)
                self.finish(place)
                return
        os.fsync(self.file)
        with suppress(FileNotFoundError):  # another process was faster
            os.utime(self.file, ns=(self.held.written, self.held.written))
            self.data.replace(place)
            self.sums_path.unlink()

    def forget(self) -> None:
        """Take no block for there."""
        self.sums[:] = bytes(4 * self.count)
        self.seen.clear()

    def _is_there(self, block: int) -> bool:
        """What a power cut has spoilt is taken for absent: its checksum is compared once."""
        if block in self.seen:
            return True
        (sum_,) = struct.unpack_from("<I", self.sums, 4 * block)
        if not sum_:
            return False
        content = os.pread(self.file, BLOCK, block * BLOCK)
        if (zlib.crc32(content) or 1) != sum_:
            return False
        self.seen.add(block)
        return True


class Pieces:
    """Bytes of a passing object, in memory until others are asked for."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.pieces: dict[Extent, bytes] = {}
        self.windows: dict[Extent, bytes] = {}
        self.next, self.window, self.on = -1, WINDOW, False

    def missing(self, extents: Iterable[Extent]) -> list[Extent]:
        """What has to be fetched for these: neighbours at once."""
        wanted = sorted({one for one in extents if self._of(one) is None and one[0] < one[1]})
        if wanted:
            self.pieces, self.on = {}, False
        found: list[Extent] = []
        for start, stop in wanted:
            near = found and start - found[-1][1] <= NEAR
            if near and max(stop, found[-1][1]) - found[-1][0] <= MOST_BLOCKS * BLOCK:
                found[-1] = (found[-1][0], max(stop, found[-1][1]))
            else:
                found.append((start, stop))
        return found

    def further(self, extents: Sequence[Extent]) -> list[Extent]:
        """The same with some of what follows: more of it the longer the reading goes on."""
        (start, stop), *_ = extents
        if self._of((start, stop)) is not None:
            return []
        self.on = True
        on = 0 <= start - self.next <= self.window
        self.window = min(2 * self.window, MOST_AHEAD * BLOCK // 4) if on else WINDOW
        self.next = min(max(stop, start + self.window), self.held.size)
        return [(start, self.next)]

    def take(self, extent: Extent, content: bytes) -> None:
        if not self.on:
            self.pieces[extent] = content
            return
        self.windows[extent] = content
        if len(self.windows) > MOST_WINDOWS:
            self.windows.pop(next(iter(self.windows)))

    def read(self, start: int, stop: int) -> bytes:
        content = self._of((start, stop))
        assert content is not None, "fetched before it is read"
        return content

    def _of(self, extent: Extent) -> bytes | None:
        for (start, stop), content in chain(self.pieces.items(), self.windows.items()):
            if start <= extent[0] and extent[1] <= stop:
                return content[extent[0] - start : extent[1] - start]
        return None


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
            if not _is_as_told(self.held, asked, came):
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


def fill(blocks: Blocks) -> None:
    """Fetch every block that is not there, in order."""
    missing = blocks.missing([(0, blocks.held.size)])
    size = sum(stop - start for start, stop in missing)
    told = f"fetching {public(blocks.held.url)}, MiB" if size >= TOLD else ""
    if not told:
        _fill_in(blocks, missing)
        return
    with bar(Console(stderr=True), told, size // BLOCK) as show:
        done = 0
        for first in range(0, len(missing), GROUP // (MOST_BLOCKS * BLOCK)):
            group = missing[first : first + GROUP // (MOST_BLOCKS * BLOCK)]
            _fill_in(blocks, group)
            done += sum(stop - start for start, stop in group)
            show(done // BLOCK)


def _fill_in(blocks: Blocks, extents: Sequence[Extent]) -> None:
    contents = fetch([Range(blocks.held.url, *extent) for extent in extents])
    for extent, content in zip(extents, contents, strict=True):
        blocks.take(extent, content)


_came: dict[str, str] = {}
_without_md5: set[str] = set()


def md5_of(held: Held) -> str | None:
    """The MD5 that a store tells of an object, in hexadecimal; None where it tells none."""
    if not held.etag.startswith(MD5) or bucket(held.url) in _without_md5:
        return None
    return held.etag.removeprefix(MD5)


def _is_as_told(held: Held, asked: str, came: str) -> bool:
    """Whether what came is what the store tells by its MD5; False where it has to come again.

    What comes twice with the same MD5, while the store tells what it told before, is accepted: then
    that is no MD5. S3 tells something else of objects that it encrypts by keys of KMS.

    Raises:
        DataError: it came in two forms, or is another object than was listed.
    """
    before = _came.pop(held.url, None)
    if came == asked:
        return True
    if before is None:
        _came[held.url] = came
        return False
    if listing.look(held.url) != (held.size, held.etag, held.written):
        raise DataError(f"{public(held.url)} has changed since it was listed: open it again.")
    if before != came:
        raise DataError(
            f"{public(held.url)} came in two forms, and neither is the one that its store tells by "
            "its MD5: the way to it is damaged. Try again."
        )
    _without_md5.add(bucket(held.url))
    return True


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
