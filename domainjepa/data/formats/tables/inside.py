"""Names of files that a table gives, held to the root: nothing outside of it is ever opened.

All is done on whole columns: a million names cost no loop and no stat each. Folders are listed once
each; that all names were found in them is kept in the cache, by hashes, and holds until a folder
changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.tables.kept import Kept, Rule
from domainjepa.data.formats.tables.listed import Folders, Grouped, below_root, leads_inside
from domainjepa.data.formats.tables.nearby import (
    Index,
    common_ending,
    foreign_folders,
    found_one_by_one,
)
from domainjepa.data.formats.tables.tabular import may_hold
from domainjepa.errors import DataError

if TYPE_CHECKING:
    import pyarrow

_ODD = r"^/|^[A-Za-z]:|//|(^|/)\.\.?(/|$)|\x00|^$"
"""Anything but plain names with `/` between them."""
_OUTSIDE = (
    "lead out of the folder of the images, are empty or no paths; they are relative to the table's "
    "folder, or to the one that --set data.root=FOLDER names"
)
_MISSING = (
    "lead to no file, or to none alone; they are relative to the folder of the images (data.root, "
    "else the table's own)"
)
_LINKS = {
    True: "are links that lead out of the folder of the images; --set data.root=FOLDER names a "
    "folder that holds them and what they lead to",
    False: "are links; --set data.follow_links=true follows those that stay in the folder",
}
"""By whether links are followed."""
_SHOWN = 5
Rows = NDArray[np.int64]


class Found(NamedTuple):
    """Names below the root with `/`, each of a file that is there.

    Attributes:
        files: of each row.
        distinct: how many different ones.
    """

    files: list[str]
    distinct: int


def files_inside(
    root: Path,
    named: Sequence[str] | pyarrow.Array,
    follow_links: bool,
    what: str,
    endings: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Found:
    """The files that names mean, none of them outside of the root.

    Absolute paths are taken where they lie below the root, and `\\` for `/`. What is not there is
    looked for without the folders of another machine that all names begin with, with an ending, in
    another case or normal form of Unicode; it is taken where one file alone fits.

    Args:
        root: a resolved folder.
        named: what the table says, relative to the root.
        follow_links: links may lead to other places below the root.
        what: the column and the table, for messages.
        endings: of files that may be meant by a name without one, lower case.
        tell: takes readable lines on names that were found otherwise.

    Raises:
        DataError: names that are empty, lead out of the root, are links, or of no file; says how
            many there are and in which rows, and which files have such names.
    """
    import pyarrow as pa

    told = named if isinstance(named, pa.Array) else pa.array(list(named), pa.string())
    kept = Kept(root, told, follow_links, endings)
    if kept.rule is not None:
        names, outside = _straight(root, kept.rule.applied(told))
        if not len(outside) and Folders(root, Grouped(names).folders).stamp() == kept.stamp:
            kept.rule.say(tell, told)
            return Found(names.to_pylist(), kept.distinct)
    rule, files, place, missing = _by_rule(root, told, endings, what)
    rule.say(tell, told)
    stamp = None if len(missing) else place.stamp
    if len(missing):
        _set_nearby(root, files, missing, place, what, endings)
        tell(f"paths: {len(missing):,} are found by another case, ending, accent or folder")
    if place.links:
        stamp = None
        linked = set(place.links).intersection(files)
        out = {name for name in linked if not (follow_links and leads_inside(root, name))}
        rows = [row for row, name in enumerate(files) if name in out] if out else []
        _refuse(what, np.array(rows, dtype=np.int64), told, _LINKS[follow_links])
    distinct = len(set(files))
    if stamp:
        kept.save(rule, stamp, distinct)
    return Found(files, distinct)


def _by_rule(
    root: Path, told: pyarrow.Array, endings: Sequence[str], what: str
) -> tuple[Rule, list[str], _Place, Rows]:
    """The rule by which most names lead to files, those names, where they lie, and which do not.

    Raises:
        DataError: names lead out of the root.
    """
    rule, (names, outside) = Rule(), _straight(root, told)
    if len(outside):
        rule = Rule(foreign_folders(root, told, endings))
        names, still = _straight(root, rule.applied(told)) if rule.dropped else (names, outside)
        _refuse(what, outside if len(still) else still, told, _OUTSIDE)
    place = _Place(root, names)
    if len(place.missing) and not rule.dropped:
        rule = Rule(foreign_folders(root, told, endings))
        if rule.dropped:
            names, still = _straight(root, rule.applied(told))
            _refuse(what, still, told, _OUTSIDE)
            place = _Place(root, names)
    files: list[str] = names.to_pylist()
    if len(place.missing):
        ending = common_ending(files[place.missing[0]], place.present, endings)
        longer = [name + ending for name in files] if ending else []
        if ending and place.present.issuperset(longer):
            return Rule(rule.dropped, ending), longer, place, place.missing[:0]
    return rule, files, place, place.missing


class _Place:
    """The folders in which some names lie, and when they were as they are.

    Attributes:
        missing: rows whose files are not there, ascending.
        links: files below the root that are links or lie behind one.
    """

    def __init__(self, root: Path, names: pyarrow.Array) -> None:
        grouped = Grouped(names)
        self._folders = Folders(root, grouped.folders)
        self.stamp = self._folders.stamp()
        self.links: list[str] = []
        lost: list[int] = []
        absent = dict.fromkeys(range(len(grouped.folders)))
        for number, plain, links in self._folders.listed():
            del absent[number]
            present = {*plain, *links}
            if not present.issuperset(wanted := grouped.wanted(number)):
                rows = grouped.rows(number)
                lost += [rows[at] for at, name in enumerate(wanted) if name not in present]
            if links:
                self.links += below_root(grouped.folders[number], links)
        lost += [row for number in absent for row in grouped.rows(number)]
        self.missing: Rows = np.sort(np.array(lost, dtype=np.int64))

    @cached_property
    def present(self) -> set[str]:
        """All files in the folders, below the root."""
        folders = list(self._folders.asked)
        return {
            name
            for number, plain, links in self._folders.listed()
            for name in below_root(folders[number], plain + links)
        }


def _straight(root: Path, told: pyarrow.Array) -> tuple[pyarrow.Array, Rows]:
    """Names below the root without detours, and the rows of those that lead out of it."""
    import pyarrow as pa
    import pyarrow.compute as compute

    names = told
    if may_hold(names, b"\\"):
        names = compute.replace_substring(names, "\\", "/")
    start = f"{root}/"
    below = compute.starts_with(names, start)
    if compute.any(below).as_py():
        names = compute.if_else(below, compute.utf8_slice_codeunits(names, len(start)), names)
    odd = _odd(names)
    if not len(odd):
        return names, odd
    plain = [_plain(root, name) for name in names.take(odd).to_pylist()]
    mask = np.zeros(len(names), bool)
    mask[odd] = True
    straight = pa.array([name or "" for name in plain], pa.string())
    outside = odd[[name is None for name in plain]]
    return compute.replace_with_mask(names, pa.array(mask), straight), outside


def _odd(names: pyarrow.Array) -> Rows:
    """Rows of names with detours. What they have in common is looked for first, which is fast."""
    import pyarrow.compute as compute

    doubtful = compute.or_(compute.equal(names, ""), compute.starts_with(names, "."))
    doubtful = compute.or_(doubtful, compute.starts_with(names, "/"))
    if may_hold(names, b":", b"\0") or _may_follow_slash(names, b"/."):
        doubtful = compute.or_(doubtful, compute.match_substring_regex(names, r"/[./]|:|\x00"))
    rows = np.flatnonzero(np.asarray(doubtful))
    odd: Rows = rows[np.asarray(compute.match_substring_regex(names.take(rows), _ODD))]
    return odd


def _may_follow_slash(names: pyarrow.Array, signs: bytes) -> bool:
    """Whether one of these signs may follow a `/`: as `may_hold`, in a quarter of its time."""
    held = names.buffers()[2]
    letters = np.frombuffer(held if held is not None else b"", np.uint8)
    following = letters[np.flatnonzero(letters[:-1] == ord("/")) + 1]
    return any((following == sign).any() for sign in signs)


def _plain(root: Path, name: str) -> str | None:
    """A name below the root without detours, or None where there is none such."""
    if not name or "\0" in name:
        return None
    path = os.path.normpath(os.path.join(root, name))  # noqa: PTH118
    for place in (path, os.path.realpath(path)):  # the root itself may have been named by a link
        if place.startswith(f"{root}{os.sep}"):
            return place[len(str(root)) + 1 :]
    return None


def _set_nearby(
    root: Path, files: list[str], missing: Rows, place: _Place, what: str, endings: Sequence[str]
) -> None:
    """Puts the only files that they can mean into the places of missing names.

    Raises:
        DataError: a name means none, or several.
    """
    present = sorted(place.present)
    wanted = [files[row] for row in missing.tolist()]
    found = found_one_by_one(root, wanted, present, endings)
    lost = [at for at, hits in enumerate(found) if len(hits) != 1]
    if lost:
        index = Index(present, endings)
        near = [found[at] or index.like(wanted[at]) for at in lost[:_SHOWN]]
        _refuse(what, missing[lost], files, _MISSING, near)
    for row, hits in zip(missing.tolist(), found, strict=True):
        files[row] = hits[0]
    # What lies elsewhere may be a link, too: a walk does not tell.
    folders = list({file.rpartition("/")[0]: None for (file,) in found})
    for number, _, links in Folders(root, folders).listed():
        place.links += below_root(folders[number], links)


def _refuse(
    what: str,
    rows: Rows,
    told: pyarrow.Array | Sequence[str],
    why: str,
    near: Sequence[Sequence[str]] = (),
) -> None:
    """Raises DataError where there are such rows."""
    if not len(rows):
        return
    shown = []
    for at, row in enumerate(rows[:_SHOWN].tolist()):
        files = near[at][:3] if at < len(near) else []
        hint = f" (there is {' or '.join(map(repr, files))})" if files else ""
        shown.append(f"row {row} {str(told[row])!r}{hint}")
    more = ", …" if len(rows) > _SHOWN else ""
    raise DataError(
        f"{what}: {len(rows):,} of {len(told):,} paths {why}: {', '.join(shown)}{more}."
    )
