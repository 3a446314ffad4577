"""Names that are not there: the files that are meant, where one alone fits.

A table of another machine begins its paths with folders of that machine. Ids stand for files and
lack the ending. Disks that know no case, and those that take accents apart, write names otherwise.
"""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from domainjepa.data.files.listing import walk

if TYPE_CHECKING:
    import pyarrow

MOST_WALKED = 5_000_000
"""Files below the root among which a name is looked for."""
MOST_COMPARED = 2_000
"""Names that are compared letter by letter for a hint."""


def common_ending(name: str, present: Iterable[str], endings: Sequence[str]) -> str | None:
    """The ending of the only file of a known one that begins with a name, such as `.jpg`."""
    found = [file[len(name) :] for file in present if file.startswith(f"{name}.")]
    known = [ending for ending in found if ending.lower() in endings]
    return known[0] if len(known) == 1 else None


def foreign_folders(root: Path, told: pyarrow.Array, endings: Sequence[str]) -> int:
    """The folders that all names begin with and that are not here, while what follows them is.

    Args:
        root: a resolved folder.
        told: names with `/` or `\\`.
        endings: that a name may lack.

    Returns:
        How many characters they have, with the last `/`; 0 where there are none, or where the
        whole name leads to a file.
    """
    import pyarrow.compute as compute

    told = compute.replace_substring(told, "\\", "/")
    first = told[0].as_py()
    parts = first.split("/")
    if ".." in parts or "\0" in first or os.path.lexists(os.path.join(root, first)):  # noqa: PTH118
        return 0
    for count in range(1, len(parts)):
        dropped, rest = "/".join(parts[:count]) + "/", "/".join(parts[count:])
        if not compute.all(compute.starts_with(told, dropped)).as_py():
            return 0
        if rest and any(os.path.lexists(f"{root}/{rest}{ending}") for ending in ("", *endings)):
            return len(dropped)
    return 0


class Index:
    """Files by their names as people mean them.

    Args:
        files: names with `/`.
        endings: that a name may lack, lower case.
        leaves: files are meant by the last part of their names alone.
    """

    def __init__(self, files: Iterable[str], endings: Sequence[str], leaves: bool = False) -> None:
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        longest = sorted(filter(None, endings), key=len, reverse=True)
        for file in files:
            name = meant(file.rpartition("/")[2] if leaves else file)
            self._by_name[name].append(file)
            ending = next((one for one in longest if name.endswith(one)), None)
            if ending:
                self._by_name[name.removesuffix(ending)].append(file)

    def find(self, name: str) -> list[str]:
        """The files that a name may mean."""
        return self._by_name.get(meant(name), [])

    def like(self, name: str) -> list[str]:
        """At most three that look like it."""
        near = difflib.get_close_matches(meant(name), list(islice(self._by_name, MOST_COMPARED)), 3)
        return list(dict.fromkeys(file for one in near for file in self._by_name[one]))[:3]


def meant(name: str) -> str:
    """A name without its case and in one normal form (Unicode Standard Annex 15)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def found_one_by_one(
    root: Path, names: Sequence[str], present: Sequence[str], endings: Sequence[str]
) -> list[list[str]]:
    """For each name the files that it may mean: in its own folder, else anywhere below the root.

    A name with folders is looked for by all of them, one without by itself alone.
    """
    here = Index(present, endings)
    found = [here.find(name) for name in names]
    if all(found):
        return found
    everything = list(islice(walk(root), MOST_WALKED))
    by_path, by_leaf = Index(everything, endings), Index(everything, endings, leaves=True)
    return [
        hits or by_path.find(name) or ([] if "/" in name else by_leaf.find(name))
        for hits, name in zip(found, names, strict=True)
    ]
