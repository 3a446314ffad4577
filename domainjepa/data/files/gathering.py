"""What a folder of files comes to before any is opened: which are samples, which are channels of
one sample, which are masks, and which are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.channels.grouping import Objects, named, objects
from domainjepa.data.channels.hint import hint
from domainjepa.data.channels.joined import joined
from domainjepa.data.files.listing import Listing, ends_in, list_files
from domainjepa.data.masks.files import file_masks
from domainjepa.data.masks.layouts import Apart, tell_apart
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.registry import LOADERS

DOCUMENTS = re.compile(
    r"\.(txt|md|rst|json|ya?ml|toml|xml|ini|cfg|csv|tsv|xlsx?|ods|pdf|docx?|html?|css|js|log|sh|py|"
    r"ipynb|m|r|bib|cff|sha256|md5|bval|bvec|db)"
)
"""Endings of what lies beside data and is none."""
_SHOWN = 6  # endings, at most, in a warning


@dataclass
class Gathered:
    """The files of a folder, told apart.

    Attributes:
        loader: of their format.
        listing: what lies in the folder.
        apart: samples and masks.
        channels: for each band the files of the samples; one list where a sample is one file.
        bands: what the channels are called.
        objects: samples of several files.
        names: of each sample, below folders that may be a class or a part of the split.
    """

    loader: Loader
    listing: Listing
    apart: Apart
    options: OpenOptions
    channels: list[list[str]]
    bands: tuple[str, ...] = ()
    objects: Objects = field(default_factory=Objects)
    names: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.listing.root

    @property
    def files(self) -> list[str]:
        """Of each sample the first."""
        return self.channels[0]

    def named(self, folder: str, name: str) -> str:
        """A name below what of a folder may be a class or a part of the split."""
        return f"{self.apart.telling(folder)}/{name}".lstrip("/")

    def open(self, read: Callable[[list[str], OpenOptions], Source]) -> Source:
        """The source of these files.

        Args:
            read: opens files in their order, each a sample or several.
        """
        options = replace(self.options, bands=())
        parts = [read(files, options) for files in self.channels]
        source = joined(parts, self.bands) if self.bands else parts[0]
        self.complete(source, getattr(parts[0], "file_of", None))
        if self.objects.ids and not source.medical and source.ids is None:
            source.ids = np.array(self.objects.ids)
        return source

    def complete(self, source: Source, file_of: NDArray[np.int64] | None = None) -> None:
        """Gives a source its masks, and says what was found in the folder.

        Args:
            file_of: (N,) the file of each sample, where that is not its own number.
        """
        files = [tuple(one) for one in zip(*self.channels, strict=True)]
        rows = range(len(files)) if file_of is None else file_of.tolist()
        if len(rows) != len(source):
            rows = []  # files of many samples, of which a mask says nothing
        masks = [
            tuple(dict.fromkeys(chain(*(self.apart.masks.get(file, ()) for file in files[row]))))
            for row in rows
        ]
        options = replace(self.options, bands=(), images=None, tile=None, axis=None)
        if masks:
            source.masks = file_masks(source, self.root, masks, self.loader, options)
        source.decisions += self.objects.decisions
        source.warnings += [*self.apart.warnings, *self.objects.warnings]
        looks = None if self.bands else hint(self.files, self.loader.suffixes)
        source.warnings += [looks] if looks else []
        warn_of_rest(source, self.listing, self.loader)


def gather(
    folder: Path, loader: Loader, options: OpenOptions, suffixes: tuple[str, ...] | None = None
) -> Gathered:
    """The files of a format below a folder, told apart by their names.

    Args:
        suffixes: of the files that are listed, where they are not all of the loader's.

    Raises:
        DataError: there is none; or the names do not tell the bands apart.
    """
    suffixes = suffixes or loader.suffixes
    listing = list_files(folder, suffixes, options)
    apart = tell_apart(listing.every, suffixes, options.masks)
    wanted = set(listing.files)
    files = [file for file in apart.images if file in wanted]
    if not files:  # the user's pattern asks for the masks
        apart, files = Apart(listing.files), listing.files
    bands = options.bands or apart.channels
    if not named(files, bands, suffixes):
        gathered = Gathered(loader, listing, apart, options, [files])
        folders = [file.rpartition("/")[0] for file in files]
    else:
        found = objects(files, bands, suffixes, options.skip_unreadable)
        channels = [[files[at] for at in places] for places in zip(*found.places, strict=True)]
        gathered = Gathered(loader, listing, apart, options, channels, bands, found)
        folders = found.folders
    gathered.names = [
        gathered.named(folder, file.rpartition("/")[2])
        for folder, file in zip(folders, gathered.files, strict=True)
    ]
    return gathered


def warn_of_rest(source: Source, listing: Listing, loader: Loader) -> None:
    """Says what lies in the folder and is not read: files of other formats, and links."""
    if any(listing.links):
        source.warnings.append(str(listing.links))
    rest = Counter(
        {
            end: count
            for end, count in listing.others.items()
            if not DOCUMENTS.fullmatch(end) and not ends_in(f"x{end}", loader.suffixes)
        }
    )
    if not rest:
        return
    most = sorted(rest.items(), key=lambda one: (-one[1], one[0]))[:_SHOWN]
    listed = ", ".join(f"{count:,} {end or 'without an ending'}" for end, count in most)
    readers = sorted(
        {
            f"--loader {name}"
            for name, other in LOADERS.load_all().items()
            if name != loader.name and any(ends_in(f"x{end}", other.suffixes) for end in rest)
        }
    )
    how = f"; {' or '.join(readers)} reads them" if readers else ""
    source.warnings.append(f"left out: {rest.total():,} files of other formats ({listed}){how}")
