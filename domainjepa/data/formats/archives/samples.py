"""From the members of archives to samples: which of them belong together, and what they tell.

WebDataset's rule: what comes before the first dot of a file's name is its key, and members of one
key are one sample; `cls` is its class, the fields of `json` are its columns. Where there is nothing
but pictures, each is a sample of its own, and its folder is its class, as in a folder of files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from domainjepa.data.files.listing import ends_in
from domainjepa.data.formats.archives.member import Contents, Member, is_hidden
from domainjepa.data.metadata.fields import typed
from domainjepa.errors import DataError

TEXTS = ("cls", "cls2", "json", "txt", "text", "id", "index")
"""Suffixes of members that are columns."""
MOST_TEXT = 2**16
"""Bytes of such a member; longer ones are not read."""
_DEPTH = 3
"""Of fields within fields."""


@dataclass
class Samples:
    """Samples in the order of the archives.

    Attributes:
        keys: of each sample.
        names: of the member that is its picture.
        pictures: the member itself.
        archives: the number of its archive.
        columns: name -> a value for each sample.
        grouped: whether members were put together by their keys.
    """

    keys: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    pictures: list[Member] = field(default_factory=list)
    archives: list[int] = field(default_factory=list)
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    grouped: bool = False


def key_of(name: str) -> tuple[str, str]:
    """The key of a member, and its suffix in lower case: `a/b.seg.png` -> `a/b`, `seg.png`."""
    folder, _, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return (f"{folder}/{stem}" if folder else stem), suffix.lower()


def is_text(member: Member) -> bool:
    """Whether a member is a column of the sample beside it."""
    return key_of(member.name)[1] in TEXTS and member.size <= MOST_TEXT


def samples_of(
    archives: Sequence[Contents], suffixes: tuple[str, ...], chosen: str | None, where: str
) -> Samples:
    """The samples of these archives.

    Args:
        suffixes: of pictures.
        chosen: the user's `data.images`: the suffix of the pictures, such as `seg.png`.

    Raises:
        DataError: no pictures, or keys with several of which none is chosen.
    """
    found = Samples()
    fields: list[dict[str, str]] = []
    for number, contents in enumerate(archives):
        plain = [one for one in contents.members if not is_hidden(one.name)]
        pictures = [one for one in plain if ends_in(one.name, suffixes)]
        if chosen:
            wanted = chosen.lower().lstrip("*.")
            pictures = [one for one in pictures if f".{one.name.lower()}".endswith(f".{wanted}")]
        keys = {key_of(one.name)[0] for one in pictures}
        texts = {
            name: text for name, text in (contents.texts or {}).items() if key_of(name)[0] in keys
        }
        grouped = bool(texts) or _alike(pictures)
        found.grouped |= grouped
        by_key: dict[str, Member] = {}
        for one in pictures:
            key, suffix = key_of(one.name)
            key = key if grouped else one.name.rpartition(".")[0]
            if key in by_key and key_of(by_key[key].name)[1] != suffix and grouped:
                several = sorted({key_of(by_key[key].name)[1], suffix})
                raise DataError(
                    f"{where} has several pictures a sample, {' and '.join(several)}. Pick one: "
                    f"--set data.images={several[0]}"
                )
            by_key[key] = one  # of one name twice, the later one is what unpacking would leave
        beside: dict[str, dict[str, str]] = {key: {} for key in by_key}
        for name, text in texts.items():
            key, suffix = key_of(name)
            if key in beside:
                beside[key][suffix] = text
        found.keys += by_key
        found.pictures += by_key.values()
        found.names += [one.name for one in by_key.values()]
        found.archives += [number] * len(by_key)
        fields += beside.values()
    if not found.pictures:
        raise DataError(_nothing(archives, chosen, where))
    found.columns = _columns(fields)
    return found


def _alike(pictures: list[Member]) -> bool:
    """Whether every key has the same several pictures: then they are one sample."""
    sets: dict[str, set[str]] = {}
    for one in pictures:
        key, suffix = key_of(one.name)
        sets.setdefault(key, set()).add(suffix)
    first = next(iter(sets.values()), set())
    return len(sets) > 1 and len(first) > 1 and all(one == first for one in sets.values())


def _nothing(archives: Sequence[Contents], chosen: str | None, where: str) -> str:
    """Why there are no samples."""
    endings: Counter[str] = Counter()
    for one in archives:
        endings.update(member.name.lower().rpartition(".")[2] for member in one.members)
    links = sum(one.links for one in archives)
    held = ", ".join(f"{count:,} .{ending}" for ending, count in endings.most_common(3))
    asked = f" that end in {chosen}" if chosen else ""
    return (
        f"{where} holds no pictures{asked}; it has {held or 'no files'}"
        + (f" and {links:,} links, which are not followed" if links else "")
        + ". JPEG, PNG, TIFF and .npy are read in place; unpack what is of another format, and "
        "give the folder."
    )


def _columns(fields: list[dict[str, str]]) -> dict[str, NDArray[Any]]:
    """Texts beside the pictures -> columns; a value that a sample lacks is blank."""
    columns: dict[str, list[str]] = {}
    for row, beside in enumerate(fields):
        for suffix, text in beside.items():
            told = _flat(text) if suffix == "json" else {suffix: text.strip()}
            for name, value in told.items():
                column = columns.setdefault(name, [])
                column += [""] * (row - len(column))
                column[row:] = [value]
    return {
        name: typed((*column, *[""] * (len(fields) - len(column))))
        for name, column in columns.items()
    }


def _flat(text: str) -> dict[str, str]:
    """The fields of a JSON object as texts; those of an object inside it as `outer.inner`."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return dict(_fields(told, "", _DEPTH)) if isinstance(told, dict) else {}


def _fields(told: Mapping[str, Any], prefix: str, depth: int) -> Iterable[tuple[str, str]]:
    for name, value in told.items():
        if isinstance(value, dict) and depth:
            yield from _fields(value, f"{prefix}{name}.", depth - 1)
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{name}", str(value)
