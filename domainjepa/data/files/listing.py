"""Which files there are below a folder."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from domainjepa.data.remote.path import local
from domainjepa.errors import DataError
from domainjepa.reading import regular

if TYPE_CHECKING:
    from domainjepa.data.source import OpenOptions


class Links(NamedTuple):
    """Symbolic links that were left out: how many since none are followed, and how many although,
    for they lead out of the folder."""

    unfollowed: int = 0
    outside: int = 0

    def __str__(self) -> str:
        said = []
        if self.unfollowed:
            said.append(
                f"{self.unfollowed:,} symbolic links are not followed; --set "
                "data.follow_links=true follows those that stay in the folder"
            )
        if self.outside:
            said.append(
                f"{self.outside:,} symbolic links lead out of the folder, and none is followed out "
                "of it: --set data.root=FOLDER names a folder above that holds what they lead to, "
                "or copy the files (cp -RL)"
            )
        return "; ".join(said)


@dataclass(frozen=True)
class Listing:
    """Files below a folder.

    Attributes:
        root: the folder, resolved.
        files: their names below it with `/`, in the order of the names.
        links: that are left out.
        others: ending -> how many files lie beside them that are of another format.
        every: the files with those that `data.images` leaves out, among which masks may be.
    """

    root: Path
    files: list[str]
    links: Links
    others: Mapping[str, int] = field(default_factory=dict)
    every: list[str] = field(default_factory=list)


def list_files(folder: Path, suffixes: tuple[str, ...], options: OpenOptions) -> Listing:
    """Every file below a folder that ends in one of the suffixes, hidden ones left out.

    `options.images` is a pattern of names here, such as `*_g.fits` or `scans/*`. Links are not
    followed, unless asked for, and never out of the folder, or of `options.root` above it.

    Args:
        suffixes: lower case; an empty string among them stands for names without any.

    Raises:
        DataError: there is none.
    """
    root = folder.resolve()
    bound = _bound(root, options)
    files: list[str] = []
    others: Counter[str] = Counter()
    links = outside = 0
    for name, is_link in _entries(root):
        if not ends_in(name, suffixes):
            others[ending(name)] += 1
        elif is_link and not options.follow_links:
            links += 1
        elif is_link and not _leads_inside(root / name, bound):
            outside += 1
        else:
            files.append(name)
    wanted = [name for name in files if fits(name, options.images)] if options.images else files
    if not wanted:
        what = f"matches data.images = {options.images!r}" if options.images else "fits"
        raise DataError(
            f"{root.name} holds nothing to read: no file {what}, of those that end in "
            f"{', '.join(filter(None, suffixes))}"
            + (f"; {Links(links, outside)}." if links or outside else ".")
        )
    return Listing(root, sorted(wanted), Links(links, outside), others, sorted(files))


def _bound(root: Path, options: OpenOptions) -> Path:
    """The folder that no link leads out of."""
    if options.root is None:
        return root
    bound = local(options.root).expanduser().resolve()
    if not root.is_relative_to(bound):
        raise DataError(
            f"data.root={options.root}: of a folder of images it is a folder above, which holds "
            f"what links in {root.name} lead to."
        )
    return bound


def fits(name: str, pattern: str) -> bool:
    """Whether a file fits a pattern: of its name, or with a `/` of its place below the folder."""
    return fnmatch.fnmatch(name if "/" in pattern else name.rpartition("/")[2], pattern)


def walk(root: Path) -> Iterator[str]:
    """Names below a folder with `/`; no hidden file or folder, no link to a folder."""
    return (name for name, _ in _entries(root))


def _entries(root: Path) -> Iterator[tuple[str, bool]]:
    """Names as `walk` gives them, and whether each is a link: told by the folder, without a stat.

    A folder that may not be read is passed over.
    """
    below = [""]
    while below:
        prefix = below.pop()
        folders = []
        with contextlib.suppress(OSError), os.scandir(root / prefix) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{prefix}{entry.name}/")
                elif entry.is_symlink():
                    if not entry.is_dir():
                        yield prefix + entry.name, True
                elif entry.is_file():  # no fifo, no socket, no device: to read one may never end
                    yield prefix + entry.name, False
        below += sorted(folders, reverse=True)


def _leads_inside(link: Path, root: Path) -> bool:
    return link.is_file() and link.resolve().is_relative_to(root)


def first_bytes(path: Path) -> bytes:
    """At most 4096 bytes of a file; none where it cannot be read."""
    try:
        with open(path, "rb", opener=regular) as file:
            return file.read(4096)
    except OSError:
        return b""


def ends_in(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name has one of the suffixes; "" among them fits names without a dot."""
    last = name.rpartition("/")[2].lower()
    return last.endswith(tuple(filter(None, suffixes))) or ("" in suffixes and "." not in last)


def ending(name: str) -> str:
    """The suffix of a name in lower case, such as .png or .nii.gz; empty where there is none."""
    rest, last = os.path.splitext(name.rpartition("/")[2])  # noqa: PTH122  (a tenth of the time)
    if last.lower() in (".gz", ".bz2", ".xz", ".zip"):
        last = os.path.splitext(rest)[1] + last  # noqa: PTH122
    return last.lower()


def without_suffix(name: str, suffixes: tuple[str, ...]) -> str:
    """A name without the suffixes of a format, as many as there are: x.fits.gz is x."""
    known = sorted(filter(None, suffixes), key=len, reverse=True)
    while cut := next((len(one) for one in known if name.lower().endswith(one)), 0):
        name = name[:-cut]
    return name
