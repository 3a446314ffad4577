"""What lies in the folders that a table names, and whether they have changed since."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import spread

if TYPE_CHECKING:
    import pyarrow

MOST_STAMPED = 50_000
"""Folders whose time of change is looked at; of more, so many of them, evenly spread."""
SETTLED = 0.1
"""Seconds: what changed within them may change again without another time."""


class Listed(NamedTuple):
    """What lies in one folder.

    Attributes:
        number: of the folder, in the order in which they were asked for.
        plain: names of the files in it.
        links: names of the links in it, and of the files in a folder behind a link.
    """

    number: int
    plain: list[str]
    links: list[str]


def below_root(folder: str, names: list[str]) -> list[str]:
    """Names in a folder as names below the root."""
    return [f"{folder}/{name}" for name in names] if folder else names


class Grouped:
    """Names with `/` by their folders.

    Args:
        names: below the root.

    Attributes:
        folders: in the order in which they come first.
    """

    def __init__(self, names: pyarrow.Array) -> None:
        import pyarrow.compute as compute

        parts = compute.split_pattern(names, "/", max_splits=1, reverse=True)
        last = parts.offsets.to_numpy()[1:] - 1
        deep = np.asarray(compute.list_value_length(parts)) == 2
        folders = compute.if_else(deep, parts.values.take(last - deep), "")
        encoded = folders.dictionary_encode()
        self.folders: list[str] = encoded.dictionary.to_pylist()
        codes = np.asarray(encoded.indices)
        self._order: NDArray[np.int64] = np.argsort(codes, kind="stable")
        self._leaves: list[str] = parts.values.take(last[self._order]).to_pylist()
        places = np.arange(len(self.folders) + 1)
        self._bounds: list[int] = np.searchsorted(codes[self._order], places).tolist()

    def wanted(self, number: int) -> list[str]:
        """The names in one folder, without it."""
        return self._leaves[self._bounds[number] : self._bounds[number + 1]]

    def rows(self, number: int) -> NDArray[np.int64]:
        """The rows of these names."""
        return self._order[self._bounds[number] : self._bounds[number + 1]]


class Folders:
    """Folders below a root, by their names with `/`, and the folders above them.

    Args:
        root: a resolved folder.
        names: of the folders, all different, in an order that stays; "" is the root itself.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root = root
        self.asked = {name: number for number, name in enumerate(names)}
        self._above = above = {name.rpartition("/")[0] for name in self.asked if name}
        while above := {name.rpartition("/")[0] for name in above if name} - self._above:
            self._above |= above

    def listed(self) -> Iterator[Listed]:
        """Each folder that was asked for and is there, read once."""
        waiting = [("", False)]
        while waiting:
            folder, behind = waiting.pop()
            try:
                with os.scandir(f"{self.root}/{folder}") as found:
                    entries = list(found)
            except OSError:
                continue  # what is named in it is told as missing
            plain = [one.name for one in entries if one.is_file(follow_symlinks=False)]
            links = []
            if len(plain) < len(entries):
                prefix = f"{folder}/" if folder else ""
                for entry in entries:
                    name = prefix + entry.name
                    if name in self.asked or name in self._above:
                        waiting.append((name, behind or entry.is_symlink()))
                    elif entry.is_symlink():
                        links.append(entry.name)
            if folder in self.asked:
                number = self.asked[folder]
                yield Listed(number, [], plain + links) if behind else Listed(number, plain, links)

    def stamp(self) -> str | None:
        """Changes when a file comes, goes or becomes a link; None where that is not certain."""
        every = list(dict.fromkeys(["", *self.asked, *sorted(self._above)]))
        if len(every) > MOST_STAMPED:
            every = [every[place] for place in spread(len(every), MOST_STAMPED)]
        digest, latest = hashlib.blake2b(digest_size=16), 0
        for folder in every:
            try:
                status = os.stat(f"{self.root}/{folder}")  # noqa: PTH116 (a fifth of the time)
            except OSError:
                return None
            latest = max(latest, status.st_mtime_ns)
            digest.update(b"%d %d " % (status.st_ino, status.st_mtime_ns))
        settled = latest < (time.time() - SETTLED) * 1e9
        return digest.hexdigest() if settled else None


def leads_inside(root: Path, name: str) -> bool:
    """Whether a file that is a link, or behind one, is a file below the root."""
    folder, _, leaf = name.rpartition("/")
    file = _resolved(root / folder) / leaf
    if not file.is_file():  # gone, or a link that leads to itself
        return False
    return (file.resolve() if file.is_symlink() else file).is_relative_to(root)


@lru_cache(maxsize=1)
def _resolved(folder: Path) -> Path:
    return folder.resolve()
