"""What a folder stands for: the one container in it beside a README, or the known set below it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from domainjepa.data.files.listing import ends_in, first_bytes, walk
from domainjepa.data.source import Loader
from domainjepa.errors import DataError

MOST_ENTRIES = 50
"""A folder of more entries is one of samples, and opens at once."""
_NAMES = 1_000
_ALONGSIDE = (
    *("", ".md", ".rst", ".txt", ".pdf", ".html", ".json", ".yaml", ".yml", ".toml", ".xml"),
    *(".bib", ".cff", ".py", ".ipynb", ".sh", ".md5", ".sha1", ".sha256", ".log"),
)
"""Suffixes of what lies beside data and is none; "" stands for names without a dot."""
_PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".tar")
"""Suffixes of the archive that a known set was unpacked from."""


def inner(folder: Path, loaders: Sequence[Loader]) -> Path:
    """The container or the known set that a folder holds, else the folder itself.

    Raises:
        DataError: several known sets, or one beside other data.
    """
    entries = [one for one in islice(folder.iterdir(), MOST_ENTRIES) if one.name[0] != "."]
    if not 0 < len(entries) < MOST_ENTRIES or _claimed(folder, loaders):
        return folder
    sets = [one for one in sorted(entries) if _is_folder(one) and _claimed(one, loaders)]
    if sets:
        return _known_set(folder, sets, entries, loaders)
    data = [one for one in entries if _is_folder(one) or not ends_in(one.name, _ALONGSIDE)]
    if len(data) != 1 or data[0].is_symlink():
        return folder
    if _is_folder(data[0]):
        found = inner(data[0], loaders)
        return found if found != data[0] else folder
    head = first_bytes(data[0])
    first = next((one for one in loaders if one.sniff(data[0], head)), None)
    return data[0] if first is not None and first.holds_many(data[0]) else folder


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _claimed(folder: Path, loaders: Sequence[Loader]) -> bool:
    """Whether a loader knows the folder as a whole."""
    names = list(islice(walk(folder), _NAMES))
    return any(one.whole_folder and one.sniff_folder(folder, names) for one in loaders)


def _known_set(
    folder: Path, sets: Sequence[Path], entries: Sequence[Path], loaders: Sequence[Loader]
) -> Path:
    """The one known set below a folder, if nothing else could be meant."""
    name, called = folder.resolve().name, " and ".join(one.name for one in sets)
    if len(sets) > 1:
        raise DataError(f"the folder {name} holds {called}: give one of them as --data.")
    suffixes = tuple(suffix for one in loaders for suffix in one.suffixes)
    others = [
        one.name
        for one in entries
        if one != sets[0]
        and (_is_folder(one) or not ends_in(one.name, (*_PACKED, *_ALONGSIDE)))
        and (_is_folder(one) or ends_in(one.name, suffixes))
    ]
    if others:
        raise DataError(
            f"the folder {name} holds {called}, a known set, beside {min(others)}: give "
            f"{called} itself as --data, or say by --loader how all of it is to be read."
        )
    return sets[0]
