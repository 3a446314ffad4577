"""A set far away, as a folder near: names, sizes and times of all of it, contents as they are read.

Opening a URL lists its objects and puts an empty file of the right size in the place of each, so
that folders, tables, splits and masks are found as on a disk. What an object holds comes when it is
opened (`objects`). Two things bound the cache: an object is *kept* or *passing*. Of the sets in the
cache those that were opened longest ago are removed to make room for a new one; of one set as many
objects are kept as there is room for, and the others are read anew each time and never stored.

Nothing of a set is evicted for the rest of the same set. Epochs go through a set in ever new
orders: where half of it has room, half of all reads are near with this rule, and a fourth or less
with one that evicts what was used least recently or by chance.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from domainjepa.data.files.cache import cache_folder
from domainjepa.data.remote import listing
from domainjepa.data.remote.addresses import public
from domainjepa.data.remote.listing import Entry
from domainjepa.errors import DataError, UserError
from domainjepa.locking import LockedFile

DATA, PARTS, PASSING, MANIFEST, IN_USE = "data", "parts", "passing", "objects.sqlite", ".in_use"
ABSENT = 0o000
"""Mode of a file whose content is not here yet: nobody reads it by mistake."""
PRESENT = 0o600
FREE_SHARE = 0.8
"""Of the free disk that a cache may fill."""
_SCHEMA = (
    "CREATE TABLE about (url TEXT, query TEXT, name TEXT, left_out INTEGER)",
    "CREATE TABLE objects (name TEXT PRIMARY KEY, size INTEGER, etag TEXT, written INTEGER, "
    "kept INTEGER) WITHOUT ROWID",
)


class Held(NamedTuple):
    """An object in the cache's list.

    Attributes:
        url: of it.
        kept: whether what is read of it is stored.
    """

    url: str
    size: int
    etag: str
    written: int
    kept: bool


class Told(NamedTuple):
    """What was found behind a URL.

    Attributes:
        path: of the folder or the file that stands for it.
        objects, size: how many, and their bytes.
        kept, kept_size: those for which there is room.
        left_out: objects whose names are none that a file may have.
    """

    path: Path
    objects: int
    size: int
    kept: int
    kept_size: int
    left_out: int

    def decision(self) -> str:
        """A line that tells it."""
        from domainjepa.data.storage.cost import in_bytes

        whole = f"{self.objects:,} object{'s' * (self.objects > 1)} of {in_bytes(self.size)}"
        if self.kept == self.objects:
            return f"from far away: {whole}; what is read stays in the cache"
        return (
            f"from far away: {whole}; {self.kept:,} of them, {in_bytes(self.kept_size)}, stay in "
            "the cache once they are read, the others are read anew each time (data.cache_bytes)"
        )


def base() -> Path:
    """The folder of all sets from far away."""
    return (cache_folder() / "remote").resolve()


def mirrored(url: str, room: int, *, folder: bool | None = None) -> Told:
    """The folder, or the file, that stands for a URL.

    Args:
        url: of an object, or of a folder of them.
        room: bytes that the cache may hold, of all sets together.
        folder: that the URL is one of; asked for by default.

    Raises:
        DataError, UserError: it is not there or cannot be reached, or there is nothing in it.
    """
    plain = url.partition("?")[0]
    place = base() / hashlib.blake2b(plain.encode(), digest_size=10).hexdigest()
    begun = time.time_ns()
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _only(place):
            # Another rank may have listed it while this one waited for it.
            if not _is_newer(place, begun):
                _list(url, place, room, folder)
            return _told(place)
    except OSError as error:
        raise UserError(
            f"the cache of {public(url)} cannot be written: {error.strerror}. Free some disk "
            "space, or set DOMAINJEPA_CACHE to another folder."
        ) from error


def _list(url: str, place: Path, room: int, folder: bool | None) -> None:
    """Lists a set anew, makes room for it, and puts a file in the place of each object."""
    entry = None if folder else listing.look(url)
    plain, _, query = url.partition("?")
    parent, _, name = plain.rstrip("/").rpartition("/")
    top = plain.rstrip("/") if entry is None else parent
    entries = listing.below(url) if entry is None else {name: entry}
    if not entries:
        raise DataError(f"there is nothing behind {public(url)}: is the name right?")
    safe = {name: one for name, one in entries.items() if _is_safe(name)}
    about = (top, *((query, name) if entry else ("", "")), len(entries) - len(safe))
    with _only(base()):
        place.mkdir(exist_ok=True, mode=0o700)  # to make room for others it may have been removed
        size = sum(one.size for one in safe.values())
        free = _make_room(place, min(size, room), room)
        kept = _kept(safe, free)
        _place(place, _root(place, top), safe, kept)
        _write(place, about, safe, kept)


@contextlib.contextmanager
def _only(place: Path) -> Iterator[None]:
    """Inside, no other process changes what lies there."""
    lock = LockedFile(place / ".lock", wait=True)
    try:
        yield
    finally:
        lock.close()


def _is_newer(place: Path, begun: int) -> bool:
    try:
        return (place / MANIFEST).stat().st_mtime_ns > begun
    except OSError:
        return False


def _told(place: Path) -> Told:
    with _manifest(place) as manifest:
        top, _, name, left_out = manifest.execute("SELECT * FROM about").fetchone()
        counts = manifest.execute(
            "SELECT count(*), sum(size), sum(kept), sum(size * kept) FROM objects"
        ).fetchone()
    objects, size, kept, kept_size = (int(one or 0) for one in counts)
    root = _root(place, top)
    return Told(root / name if name else root, objects, size, kept, kept_size, left_out)


def _is_safe(name: str) -> bool:
    """Whether a name stays below the folder, and can be one of a file."""
    parts = name.split("/")
    return (
        "\0" not in name
        and not any(part in ("", ".", "..") for part in parts)
        and all(len(os.fsencode(part)) < 256 for part in parts)
    )


def _root(place: Path, top: str) -> Path:
    called = public(top) or "data"
    return place / DATA / (called if _is_safe(called) and "/" not in called else "data")


def _kept(entries: Mapping[str, Entry], free: int) -> set[str]:
    """The objects for which there is room, in the order of hashes of their names: shards that are
    kept and those that are not are then mixed as chance would have it."""
    if sum(one.size for one in entries.values()) <= free:
        return set(entries)
    kept = set()
    for name in sorted(entries, key=lambda one: hashlib.blake2b(one.encode()).digest()):
        if entries[name].size <= free:
            free -= entries[name].size
            kept.add(name)
    return kept


def _make_room(place: Path, wanted: int, room: int) -> int:
    """Removes the sets that were opened longest ago until there is as much room as wanted.

    Returns:
        Bytes that there is room for.
    """
    others = [one for one in base().iterdir() if one.is_dir() and one != place]
    reserved = {one: _reserved(one) for one in others}
    for one in sorted(others, key=lambda other: other.stat().st_mtime_ns):
        free = room - sum(reserved.values())
        if free >= wanted:
            break
        if _remove(one):
            del reserved[one]
    disk = int(FREE_SHARE * shutil.disk_usage(base()).free) + _stored(place)
    return max(min(room - sum(reserved.values()), disk), 0)


def _stored(place: Path) -> int:
    """Bytes on the disk that a set takes."""
    return 512 * sum(
        os.lstat(os.path.join(folder, name)).st_blocks  # noqa: PTH118  (by the million)
        for folder, _, names in os.walk(place)
        for name in names
    )


def _reserved(place: Path) -> int:
    """Bytes that a set in the cache may come to."""
    try:
        with _manifest(place) as manifest:
            return int(
                manifest.execute(
                    "SELECT coalesce(sum(size), 0) FROM objects WHERE kept"
                ).fetchone()[0]
            )
    except sqlite3.Error:
        return 0


def _remove(place: Path) -> bool:
    """Removes a set, unless a process uses it."""
    try:
        with (place / IN_USE).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (place / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(place, ignore_errors=True)
    except OSError:
        return False
    return True


def _place(place: Path, root: Path, entries: Mapping[str, Entry], kept: set[str]) -> None:
    """Puts an empty file of the right size where each new or changed object will be."""
    before: dict[str, tuple[int, str, int, int]] = {}
    with contextlib.suppress(sqlite3.Error), _manifest(place) as manifest:
        for name, *told in manifest.execute("SELECT * FROM objects"):
            before[name] = tuple(told)
    for name in before.keys() - entries.keys():
        (root / name).unlink(missing_ok=True)
    folders: set[str] = set()
    for name, entry in entries.items():
        if before.get(name) == (*entry, int(name in kept)):
            continue
        path = f"{root}/{name}"
        above = path.rpartition("/")[0]
        if above not in folders:
            folders.add(above)
            os.makedirs(above, mode=0o700, exist_ok=True)  # noqa: PTH103  (by the million)
        empty(path, entry.size, entry.written)
    for folder in (place / PASSING, place / PARTS):
        folder.mkdir(exist_ok=True, mode=0o700)
    _sweep(place)


def empty(path: str, size: int, written: int) -> None:
    """An empty file in the place of an object; one of no bytes is the object."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  (by the million)
    mode = PRESENT if size == 0 else ABSENT
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRESENT)
    try:
        os.ftruncate(descriptor, size)
        os.utime(descriptor, ns=(written, written))
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def passing(place: Path) -> Path:
    """The folder of what this process reads and does not keep."""
    return place / PASSING / f"{os.getpid()}@{platform.node()}"


def _sweep(place: Path) -> None:
    """Removes what processes of this machine that are gone have left of passing objects."""
    for one in (place / PASSING).iterdir():
        process, _, machine = one.name.partition("@")
        if machine != platform.node():
            continue
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(one, ignore_errors=True)
        except OSError:
            continue


def _write(
    place: Path, about: tuple[str, str, str, int], entries: Mapping[str, Entry], kept: set[str]
) -> None:
    unfinished = place / f".{MANIFEST}.part"
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT, PRESENT))
    with contextlib.closing(sqlite3.connect(unfinished)) as manifest, manifest:
        for line in _SCHEMA:
            manifest.execute(line)
        manifest.execute("INSERT INTO about VALUES (?, ?, ?, ?)", about)
        rows = ((name, *entry, int(name in kept)) for name, entry in sorted(entries.items()))
        manifest.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?)", rows)
    unfinished.replace(place / MANIFEST)
    os.utime(place)


@contextlib.contextmanager
def _manifest(place: Path) -> Iterator[sqlite3.Connection]:
    """The list of a set; raises sqlite3.Error where there is none."""
    connection = sqlite3.connect(f"file:{place / MANIFEST}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


class Manifest:
    """The list of a set, open in this process; nobody removes the set meanwhile."""

    def __init__(self, place: Path) -> None:
        """
        Raises:
            DataError: the set is no longer in the cache.
        """
        self.place = place
        try:
            self._in_use = (place / IN_USE).open("ab")
            fcntl.flock(self._in_use, fcntl.LOCK_SH)
            self._rows = sqlite3.connect(
                f"file:{place / MANIFEST}?mode=ro", uri=True, check_same_thread=False
            )
            told = self._rows.execute("SELECT url, query FROM about").fetchone()
            self._url, self._query = told
            self._file = (place / MANIFEST).stat().st_ino
        except (OSError, sqlite3.Error, TypeError) as error:
            raise DataError("the cache of these data was removed: open them again.") from error

    def is_of_today(self) -> bool:
        """Whether the set has not been listed anew meanwhile."""
        try:
            return (self.place / MANIFEST).stat().st_ino == self._file
        except OSError:
            return True

    def held(self, name: str) -> Held:
        """What is known of an object.

        Raises:
            DataError: there is none of that name.
        """
        row = self._rows.execute("SELECT * FROM objects WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise DataError(f"{name} is not among the objects that were listed: open them again.")
        query = f"?{self._query}" if self._query else ""
        _, size, etag, written, kept = row
        return Held(f"{self._url}/{name}{query}", size, etag, written, bool(kept))
