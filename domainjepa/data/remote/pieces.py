"""What is here of one large object: blocks in a file where it is kept, else bytes in memory.

Of objects that are kept, blocks of 1 MiB are fetched: they lie in a sparse file with a CRC-32 for
each, and once all are there it takes the place of the object, so an interrupted download goes on
where it was. Of those that are passing, the very bytes that are asked for are fetched, and no more.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
from rich.console import Console

from domainjepa.data.remote import mirror
from domainjepa.data.remote.addresses import public
from domainjepa.data.remote.checksums import is_as_told, md5_of
from domainjepa.data.remote.mirror import Held
from domainjepa.data.remote.transfer import Range, fetch
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
TOLD = 64 * BLOCK
"""Bytes from which on a download is shown."""
Extent = tuple[int, int]
"""(start, stop) of bytes."""


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
            if not is_as_told(self.held, asked, came):
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
