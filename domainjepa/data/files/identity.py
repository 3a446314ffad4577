"""Whether data are the same: by their content, and cheaply by the sizes and times of their files.

Content alone decides: a copy on another disk, or a `touch`, leaves data what they were. Of more
than 1 GiB only parts are hashed, so what must never be stale (cached features) asks for `exact`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from domainjepa.data.remote.path import RemotePath, checksum, unchanged
from domainjepa.data.source import Source, spread

HASHED_WHOLE = 2**30
"""Bytes up to which all of the content is hashed, of one file or of many together."""
HASHED_PART = 2**28
"""Bytes that are hashed of what is larger."""
LEAST_OF_A_FILE = 2**14
MOST_FILES = 10_000
"""Files of a folder that are looked at, evenly spread."""
MOST_LOOKS = 1_000
"""Files of which a running training asks for size and time."""
MOST_ASKED = 8
"""Objects of a store that a running training asks for."""
_BLOCKS = 16

_looked_at: ContextVar[list[Path] | None] = ContextVar("looked_at", default=None)


class Status(NamedTuple):
    """Size in bytes and time of writing in nanoseconds, as a file system tells them."""

    size: int
    written: int

    @classmethod
    def of(cls, path: Path) -> Status:
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Identity:
    """What a source was when it was looked at.

    Attributes:
        fingerprint: of its content.
        files: that the content lies in.
        statuses: of the files, before the content was read.
    """

    fingerprint: str
    files: tuple[Path, ...]
    statuses: tuple[Status, ...]

    @classmethod
    def of(cls, source: Source) -> Identity:
        """Look at a source: its files are those whose content its fingerprint asks for."""
        return cls._of(source, source.fingerprint)

    @classmethod
    def of_files(cls, source: Source) -> Identity:
        """The same without a look at any sample: the content key takes the fingerprint's place."""
        return cls._of(source, source.content_key)

    @classmethod
    def _of(cls, source: Source, told: Callable[[], str]) -> Identity:
        with _noting() as files:
            source.content_key()
        statuses = tuple(map(Status.of, files))
        return cls(told(), tuple(files), statuses)

    @property
    def whole(self) -> bool:
        """Whether the fingerprint saw every byte."""
        return sum(one.size for one in self.statuses) <= HASHED_WHOLE

    @property
    def exact(self) -> str:
        """A key for what is kept of the data: changes with them, and now and then without."""
        if self.whole:
            return self.fingerprint
        return hashlib.sha256(f"{self.fingerprint} {self.stamp}".encode()).hexdigest()

    @property
    def stamp(self) -> str:
        """A hash of all sizes and times."""
        return hashlib.sha256(repr(self.statuses).encode()).hexdigest()

    def stands(self) -> bool:
        """Whether sizes and times are what they were, of at most 1,000 files.

        Raises:
            OSError: a file is gone.
        """
        places = spread(len(self.files), MOST_LOOKS)
        return all(Status.of(self.files[place]) == self.statuses[place] for place in places)

    def stands_far(self) -> bool:
        """Whether what lies far away is there what it was, of at most 8 objects.

        Raises:
            OSError: one of them is gone, or its store does not answer.
        """
        return unchanged([self.files[place] for place in spread(len(self.files), MOST_ASKED)])


def content_digest(path: Path) -> str:
    """What identifies a file's content: the hash of all of it up to 1 GiB, beyond it of parts."""
    _note([path])
    size, written = Status.of(path)
    if size > HASHED_WHOLE:
        return f"{size} {_hash_of(path, size, written, HASHED_PART)}"
    return _hash_of(path, size, written, size)


def files_digest(root: Path, names: Sequence[str]) -> str:
    """What identifies many files: their names, sizes and content; of at most 10,000 of them, and of
    more than 1 GiB a part of each."""
    chosen = [names[place] for place in spread(len(names), MOST_FILES)]
    paths = [root / name for name in chosen]
    _note(paths)
    return _hash_of_all(tuple(names), tuple(paths), tuple(map(Status.of, paths)))


@contextmanager
def _noting() -> Iterator[list[Path]]:
    """Inside, every file whose content is asked for enters the list."""
    files: list[Path] = []
    before = _looked_at.set(files)
    try:
        yield files
    finally:
        _looked_at.reset(before)


def _note(paths: Iterable[Path]) -> None:
    noted = _looked_at.get()
    if noted is not None:
        noted.extend(paths)


@lru_cache(maxsize=4)
def _hash_of_all(
    names: tuple[str, ...], paths: tuple[Path, ...], statuses: tuple[Status, ...]
) -> str:
    """Plan, report and cached features all ask for it: the files are read once for them."""
    whole = sum(status.size for status in statuses) <= HASHED_WHOLE
    most = max(HASHED_PART // max(len(paths), 1), LEAST_OF_A_FILE)
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    for path, status in zip(paths, statuses, strict=True):
        digest.update(f"{status.size} ".encode())
        digest.update(_content(path, status.size, status.size if whole else most))
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _hash_of(path: Path, size: int, written: int, most: int) -> str:
    """As above, of one file."""
    return _content(path, size, most).hex()


def _content(path: Path, size: int, most: int) -> bytes:
    """SHA-256 of a file, or of blocks of it, evenly spread, the first and the last among them."""
    if isinstance(path, RemotePath):
        return hashlib.sha256(checksum(path).encode()).digest()
    with path.open("rb") as file:
        if size <= most:
            return hashlib.file_digest(file, "sha256").digest()
        digest, block = hashlib.sha256(), max(most // _BLOCKS, 1)
        for number in range(_BLOCKS):
            file.seek((size - block) * number // (_BLOCKS - 1))
            digest.update(file.read(block))
        return digest.digest()
