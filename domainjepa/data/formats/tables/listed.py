"""What lies in the folders that a table names, and whether they have changed since."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from domainjepa.data.source import spread

MOST_STAMPED = 50_000
"""Folders whose time of change is looked at; of more, so many of them, evenly spread."""
SETTLED = 0.1
"""Seconds: what changed within them may change again without another time."""


class Folders:
    """Folders below a root, by their names with `/`, and the folders above them.

    Args:
        root: a resolved folder.
        names: of the folders, in an order that stays; "" is the root itself.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root = root
        self.asked = dict.fromkeys(names)
        self._every = {"": None, **self.asked}
        above = self.asked
        while above := dict.fromkeys(name.rpartition("/")[0] for name in above if name):
            self._every |= above

    def files(self) -> tuple[list[str], list[str]]:
        """Files in the folders: plain ones, and links or what lies behind a link."""
        plain: list[str] = []
        links: list[str] = []
        above = {name.rpartition("/")[0] for name in self._every if name}
        waiting = [("", False)]
        while waiting:
            folder, behind = waiting.pop()
            asked = folder in self.asked
            prefix = f"{folder}/" if folder else ""
            try:
                entries = os.scandir(f"{self.root}/{folder}")
            except OSError:
                continue  # what is named in it is told as missing
            with entries:
                for entry in entries:
                    if asked and not behind and entry.is_file(follow_symlinks=False):
                        plain.append(prefix + entry.name)
                        continue
                    name = prefix + entry.name
                    if folder in above and name in self._every:
                        waiting.append((name, behind or entry.is_symlink()))
                    elif asked and (entry.is_symlink() or (behind and entry.is_file())):
                        links.append(name)
        return plain, links

    def stamp(self) -> str | None:
        """Changes when a file comes, goes or becomes a link; None where that is not certain."""
        every = list(self._every)
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
