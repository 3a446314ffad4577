"""Names of files that a table gives, held to the table's folder: nothing outside is ever opened."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from domainjepa.errors import DataError

_ODD = re.compile(r"^/|^[A-Za-z]:|\\|//|(^|/)\.\.?(/|$)|\0")
"""Anything but plain names with `/` between them."""
_SHOWN = 5


def files_inside(root: Path, named: Sequence[str], follow_links: bool, what: str) -> list[str]:
    """Names below the root with `/`, each of a file that is there.

    Absolute paths are taken where they lie below the root, and `\\` for `/`. The folders of the
    files are listed once each, so a million names cost no stat each.

    Args:
        root: a resolved folder.
        named: what the table says, relative to the root.
        follow_links: links may lead to other places below the root.
        what: the column and the table, for messages.

    Raises:
        DataError: names that are empty, lead out of the root, are links, or of no file; says how
            many there are and in which rows.
    """
    files = list(named)
    outside = []
    for row in [row for row, name in enumerate(files) if not name or _ODD.search(name)]:
        inside = _plain(root, files[row])
        if inside is None:
            outside.append(row)
        else:
            files[row] = inside
    _refuse(
        what,
        outside,
        named,
        "lead out of the table's folder or are empty; they are relative to that folder, so put the "
        "table beside its files",
    )
    plain, links = _listed(root, {name.rpartition("/")[0] for name in files})
    missing = [row for row, name in enumerate(files) if name not in plain and name not in links]
    _refuse(what, missing, named, "lead to no file; they are relative to the table's folder")
    if links:
        left_out = {name for name in links if not (follow_links and _leads_inside(root, name))}
        _refuse(
            what,
            [row for row, name in enumerate(files) if name in left_out],
            named,
            "are links that lead out of the table's folder"
            if follow_links
            else "are links; --set data.follow_links=true follows those that stay in the folder",
        )
    return files


def _plain(root: Path, name: str) -> str | None:
    """A name below the root without detours, or None where there is none such."""
    if not name or "\0" in name:
        return None
    path = os.path.normpath(os.path.join(root, name.replace("\\", "/")))  # noqa: PTH118
    for place in (path, os.path.realpath(path)):  # the root itself may have been named by a link
        if place.startswith(f"{root}{os.sep}"):
            return place[len(str(root)) + 1 :]
    return None


def _listed(root: Path, folders: set[str]) -> tuple[set[str], set[str]]:
    """Files in these folders: plain ones, and links or what lies behind a link."""
    plain: set[str] = set()
    links: set[str] = set()
    for folder in folders:
        place = root / folder
        behind_link = os.path.realpath(place) != str(place)
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_symlink() or (behind_link and entry.is_file()):
                        links.add(prefix + entry.name)
                    elif entry.is_file():
                        plain.add(prefix + entry.name)
        except OSError:
            continue  # what is named in it is told as missing
    return plain, links


def _leads_inside(root: Path, name: str) -> bool:
    file = root / name
    return file.is_file() and file.resolve().is_relative_to(root)


def _refuse(what: str, rows: list[int], named: Sequence[str], why: str) -> None:
    if rows:
        shown = ", ".join(f"row {row} {named[row]!r}" for row in rows[:_SHOWN])
        more = ", …" if len(rows) > _SHOWN else ""
        raise DataError(f"{what}: {len(rows):,} of {len(named):,} paths {why}: {shown}{more}.")
