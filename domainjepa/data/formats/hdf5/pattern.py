"""Files in which the samples lie in data sets of their own: a group a sample, a scan a data set.

A pattern names them all, with * for the part of the names that differs: `*/Img`, `scan_*`. It is
found by itself where there is only one; else the user gives it as `data.images`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import NamedTuple

from domainjepa.data.masks.words import word_in
from domainjepa.data.metadata.columns import SPLITS, USUAL_NAMES
from domainjepa.data.storage.layout import MOST_CHANNELS, Array, is_usual, layout_of, leaf
from domainjepa.data.storage.layout import USUAL_NAMES as IMAGE_NAMES
from domainjepa.errors import DataError

_NUMBER = re.compile(r"\d+")


class Pattern(NamedTuple):
    """Data sets that hold the samples.

    Attributes:
        text: such as `*/Img`.
        names: of the data sets; numbers in them are in their own order, 2 before 10.
        stacked: whether axis 0 of each counts samples; else each is one sample.
    """

    text: str
    names: list[str]
    stacked: bool


def is_pattern(chosen: str | None) -> bool:
    """Whether `data.images` names several data sets."""
    return chosen is not None and "*" in chosen


def matching(arrays: Mapping[str, Array], chosen: str, dimensions: int, where: str) -> Pattern:
    """The data sets that a user's pattern names; * stands for a part of a name between two `/`.

    Raises:
        DataError: none, or none that could be an image.
    """
    wanted = chosen.strip("/").split("/")
    names = [
        name
        for name in arrays
        if len(parts := name.split("/")) == len(wanted)
        and all(map(fnmatch.fnmatchcase, parts, wanted))
    ]
    if not names:
        patterns = sorted({pattern_of(name) for name in arrays})[:10]
        raise DataError(
            f"data.images={chosen}: {where} has no such data sets. Its names are like "
            f"{', '.join(patterns)}."
        )
    images = [name for name in names if _whole(arrays[name], dimensions)]
    if not images:
        raise DataError(
            f"data.images={chosen}: none of the {len(names):,} data sets of {where} that it names "
            f"could be an image; the first is {names[0]} ({arrays[names[0]]})."
        )
    images.sort(key=_natural)
    return Pattern(chosen.strip("/"), images, is_stack(arrays, images, dimensions))


def found_in(arrays: Mapping[str, Array], dimensions: int) -> Pattern | list[str] | None:
    """The one pattern of a file; the texts of several that it could be; None where there is none.

    Data sets of one name in groups of their own are samples, and so are those of one name but for
    a number in one group. A name that is usual for images goes before others.
    """
    families: dict[str, list[str]] = {}
    for name, array in arrays.items():
        if _whole(array, dimensions):
            families.setdefault(pattern_of(name), []).append(name)
    single = sum(len(names) for names in families.values())
    families = {text: names for text, names in families.items() if len(names) > 1}
    usual = [text for text in families if is_usual(text, IMAGE_NAMES)]
    chosen = usual if len(usual) == 1 else list(families)
    if len(chosen) != 1:
        return chosen or (["*"] if single > 1 else None)
    names = sorted(families[chosen[0]], key=_natural)
    return Pattern(chosen[0], names, is_stack(arrays, names, dimensions))


def one_volume(arrays: Mapping[str, Array], chosen: str | None) -> Pattern | None:
    """The one data set (D, H, W) that is a volume by itself; None where several could be, where
    there are stacks of volumes, or where a column has a value for each of its planes: samples.

    Args:
        arrays: name -> array.
        chosen: the user's `data.images`, or None.
    """
    wanted = chosen.strip("/") if chosen else None
    named = [name for name in arrays if wanted in (None, name, name.rpartition("/")[2])]
    if any(layout_of(arrays[name], dimensions=3) for name in named):
        return None
    columns = {one.shape[0] for one in arrays.values() if len(one.shape) == 1}
    alone = [
        name
        for name in named
        if _whole(arrays[name], 3)
        and arrays[name].shape[0] not in columns
        and (wanted or word_in(leaf(name), "mask") is None)
    ]
    return Pattern(alone[0], alone, stacked=False) if len(alone) == 1 else None


def pattern_of(name: str) -> str:
    """The pattern of a name: its groups are *, or without a group the numbers in it are."""
    groups, _, last = name.rpartition("/")
    if groups and not _NUMBER.search(last):
        return "/".join("*" for _ in groups.split("/")) + f"/{last}"
    numbered = _NUMBER.sub("*", last)
    return f"{groups}/{numbered}" if groups else numbered


def beside(name: str) -> str:
    """The group of a data set, with `/` at its end; empty at the root."""
    return name[: name.rfind("/") + 1]


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _whole(array: Array, dimensions: int) -> bool:
    """Whether an array could be one image, or one volume."""
    one = Array((1, *array.shape), array.dtype, turned=array.turned)
    return any(layout_of(one, MOST_CHANNELS, axes) for axes in (dimensions, 3))


def is_stack(arrays: Mapping[str, Array], names: list[str], dimensions: int) -> bool:
    """Whether axis 0 counts samples: parts of a split, or values beside it that are as many."""
    first = arrays[names[0]]
    if not layout_of(first, MOST_CHANNELS, dimensions):
        return False
    groups = [beside(name).rstrip("/") for name in names]
    if all(leaf(group) in SPLITS for group in groups):
        return True
    usual = [one for known in USUAL_NAMES.values() for one in known]
    return any(
        array.shape[:1] == first.shape[:1] and len(array.shape) == 1 and is_usual(name, usual)
        for name, array in arrays.items()
        if beside(name) == beside(names[0])
    )
