"""Many FITS files, indexed by their headers: one sample a file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from domainjepa.data.files import index
from domainjepa.data.formats.fits.bands import Stack, check_sides, choose
from domainjepa.data.formats.fits.images import Contents, ImageHDU, contents
from domainjepa.data.formats.fits.sky import check_grids
from domainjepa.data.formats.fits.source import Object, Part
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError

ENDING = re.compile(r"(\.(fits?|fts|fz|gz|bz2))+$", re.IGNORECASE)

Opened = Contents | DataError


@dataclass
class Objects:
    """What the files come to.

    Attributes:
        stack: of the first sample.
        objects: one for each sample.
        places: which of the files comes first in each sample.
        ids: what each sample is called: its file without the ending, and without the band.
        folders: of each sample, where these are not those of its first file.
    """

    stack: Stack
    objects: list[Object]
    places: list[int]
    ids: list[str]
    folders: list[str] | None = None
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def look(
    root: Path, files: Sequence[str], keywords: Sequence[str], options: OpenOptions
) -> list[Opened]:
    """What the headers of the files tell, from the index where it has them."""

    def read(path: Path) -> Any:
        hdus, grids, cards, _ = contents(path, options.max_sample_bytes, keywords)
        return json.dumps(hdus), grids, cards

    # Files of one make have one text, and so one object in memory, however many there are.
    images = lru_cache(maxsize=None)(_images)
    kind = f"fits 1 {options.max_sample_bytes} {' '.join(keywords)}"
    return [
        fact if isinstance(fact, DataError) else Contents(images(fact[0]), *fact[1:])
        for fact in index.facts(root, files, kind, read)
    ]


def _images(text: str) -> tuple[ImageHDU, ...]:
    return tuple(
        ImageHDU(number, name, tuple(shape), *rest)
        for number, name, shape, *rest in json.loads(text)
    )


def one_a_file(
    root: Path,
    files: Sequence[str],
    opened: Sequence[Opened],
    hdu: str | None,
    options: OpenOptions,
    *,
    strict: bool,
) -> Objects:
    """One sample a file, with the HDUs and bands of the first.

    A file that cannot be read stays, and says so when it is asked for; one that holds something
    else is left out with a warning, or refused where `strict`.

    Raises:
        DataError: no file can be read; what `choose` raises for the first; or as told above.
    """
    stacks = stacks_of(files, opened, hdu, options)
    first = next((stack for stack in stacks if isinstance(stack, Stack)), None)
    if first is None:
        telling = [stacks[at] for at, one in enumerate(opened) if getattr(one, "hdus", None)]
        raise first_error(telling or stacks)
    if "N" in first.axes:
        raise DataError(
            f"{files[stacks.index(first)]} is a cube of {first.hdus[0].shape[0]:,} planes. Its "
            "planes are bands: --set data.axis=bands; or slices of a volume: --set "
            "data.dimensions=3; to take each for a sample, open one file at a time"
        )
    found = Objects(first, [], [], [])
    others = []
    for at, (file, stack, one) in enumerate(zip(files, stacks, opened, strict=True)):
        if isinstance(one, DataError):
            found.objects.append(one)
        elif isinstance(stack, Stack) and stack.make == first.make:
            parts = tuple((file, image) for image in stack.hdus)
            grids = one.grids_of(stack.hdus) if len(parts) > 1 else []
            found.objects.append(as_object(root, parts, grids, options.bands))
        else:
            others.append(at)
            continue
        found.places.append(at)
        found.ids.append(stem(file))
    if others:
        why = stacks[others[0]]
        told = str(why) if isinstance(why, DataError) else f"has {described(why)}"
        if strict:
            raise DataError(f"file {others[0]} {told}; the first has {described(first)}")
        found.warnings.append(
            f"{len(others):,} of {len(files):,} files are left out: the first file has "
            f"{described(first)}, and they do not; to choose files: --set data.images='PATTERN'"
        )
    return found


def first_error(stacks: Sequence[Stack | DataError]) -> DataError:
    """The first of the errors among these."""
    return next(one for one in stacks if isinstance(one, DataError))


def stem(file: str) -> str:
    """The last part of a name without `.fits`, `.fits.gz` and the like."""
    return ENDING.sub("", file.rpartition("/")[2])


def stacks_of(
    files: Sequence[str], opened: Sequence[Opened], hdu: str | None, options: OpenOptions
) -> list[Stack | DataError]:
    """The stack of each file; from files of one make it is chosen once."""
    known: dict[tuple[ImageHDU, ...], Stack | DataError] = {}
    stacks: list[Stack | DataError] = []
    for name, one in zip(files, opened, strict=True):
        if isinstance(one, DataError):
            stacks.append(one)
            continue
        if one.hdus not in known:
            try:
                known[one.hdus] = choose(one.hdus, hdu, options)
            except DataError as error:
                known[one.hdus] = DataError(f"{name}: {error}")
        stacks.append(known[one.hdus])
    return stacks


def described(stack: Stack) -> str:
    """What a sample is, in words."""
    channels = stack.shape[-1]
    what = "volumes of " if "D" in stack.axes else ""
    return f"{what}{channels} band{'s' if channels > 1 else ''}"


def as_object(
    root: Path, parts: tuple[Part, ...], grids: Sequence[str], bands: Sequence[str]
) -> Object:
    """These images as one sample, or why they are none."""
    if len(parts) > 1:
        files, hdus = zip(*parts, strict=True)
        try:
            check_sides(hdus, bands)
            check_grids([root / file for file in files], hdus, grids, bands)
        except DataError as error:
            return DataError(f"{files[0]}: {error}")
    return parts
