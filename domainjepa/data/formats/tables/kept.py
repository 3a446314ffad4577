"""By which rule all names of a table were found, kept for the next time that it is opened."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from domainjepa.data.files.index import MANY, cache_folder
from domainjepa.errors import UserError
from domainjepa.writing import write_atomically

if TYPE_CHECKING:
    import pyarrow


class Rule(NamedTuple):
    """What all names have before, and lack behind, what stands on the disk.

    Attributes:
        dropped: characters of the folders at their beginning.
        ending: with the dot.
    """

    dropped: int = 0
    ending: str = ""

    def applied(self, told: pyarrow.Array) -> pyarrow.Array:
        """The names on the disk."""
        import pyarrow.compute as compute

        if self.dropped:
            told = compute.utf8_slice_codeunits(told, self.dropped)
        return compute.binary_join_element_wise(told, self.ending, "") if self.ending else told

    def say(self, tell: Callable[[str], None], told: pyarrow.Array) -> None:
        """Tells what was done to these names."""
        if self.dropped:
            folders = told[0].as_py()[: self.dropped]
            tell(f"paths: all begin with {folders!r}, which is not here, and left out")
        if self.ending:
            tell(f"paths: {self.ending!r} is added to the names")


class Kept:
    """By which rule all names were found, how many they are, and what the folders were like then.

    In the cache folder, under a hash of the names: none of them is written.
    """

    def __init__(
        self, root: Path, told: pyarrow.Array, follow_links: bool, endings: Sequence[str]
    ) -> None:
        self.rule: Rule | None = None
        self.distinct = 0
        self.stamp = ""
        self._place: Path | None = None
        if len(told) < MANY:
            return
        about = f"2 {root} {follow_links} {endings} {told.offset} {len(told)}"
        digest = hashlib.blake2b(about.encode("utf-8", "surrogateescape"), digest_size=16)
        for buffer in told.buffers():
            if buffer is not None:
                digest.update(buffer)
        self._place = cache_folder() / "tables" / f"{digest.hexdigest()}.json"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads(self._place.read_bytes())
            self.rule = Rule(int(found["dropped"]), str(found["ending"]))
            self.stamp, self.distinct = str(found["stamp"]), int(found["distinct"])

    def save(self, rule: Rule, stamp: str, distinct: int) -> None:
        """Keeps it, where there are many names."""
        if self._place is None:
            return
        text = json.dumps({**rule._asdict(), "stamp": stamp, "distinct": distinct}).encode()
        # A cache that cannot be written costs time and nothing else.
        with contextlib.suppress(OSError, UserError):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._place, lambda file: file.write(text))
