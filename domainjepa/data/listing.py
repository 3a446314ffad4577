"""Which files there are below a folder."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from domainjepa.errors import DataError

if TYPE_CHECKING:
    from domainjepa.data.source import OpenOptions


@dataclass(frozen=True)
class Listing:
    """Files below a folder.

    Attributes:
        root: the folder, resolved.
        files: their names below it with `/`, in the order of the names.
        links: symbolic links that are not followed.
    """

    root: Path
    files: list[str]
    links: int


def list_files(folder: Path, suffixes: tuple[str, ...], options: OpenOptions) -> Listing:
    """Every file below a folder that ends in one of the suffixes, hidden ones left out.

    `options.images` is a pattern of names here, such as `*_g.fits`. Links are not followed, unless
    asked for, and never out of the folder.

    Args:
        suffixes: lower case; an empty string among them stands for names without any.

    Raises:
        DataError: there is none.
    """
    root = folder.resolve()
    files: list[str] = []
    links = 0
    for name in walk(root):
        if not ends_in(name, suffixes):
            continue
        if options.images and not fnmatch.fnmatch(name.rpartition("/")[2], options.images):
            continue
        file = root / name
        if file.is_symlink() and not (
            options.follow_links and file.resolve().is_relative_to(root) and file.is_file()
        ):
            links += 1
        else:
            files.append(name)
    if not files:
        what = f"matches data.images = {options.images!r}" if options.images else "fits"
        raise DataError(
            f"{root.name} holds nothing to read: no file {what}, of those that end in "
            f"{', '.join(filter(None, suffixes))}"
            + (f"; {links:,} symbolic links are not followed." if links else ".")
        )
    return Listing(root, sorted(files), links)


def walk(root: Path) -> Iterator[str]:
    """Names below a folder with `/`; no hidden file or folder, no link to a folder."""
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        for name in names:
            if not name.startswith("."):
                yield prefix + name


def ends_in(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name has one of the suffixes; "" among them fits names without a dot."""
    lower = name.rpartition("/")[2].lower()
    return any(lower.endswith(suffix) if suffix else "." not in lower for suffix in suffixes)
