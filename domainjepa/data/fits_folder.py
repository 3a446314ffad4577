"""Many FITS files: one sample a file, or one file a band."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from domainjepa.data import index
from domainjepa.data.fits_bands import Stack, check_sides, choose
from domainjepa.data.fits_images import Contents, ImageHDU, contents
from domainjepa.data.fits_sky import check_grids
from domainjepa.data.fits_source import Object
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError

FEW = 0.01
"""Share of the objects that may lack a band; they are left out with a warning."""

Opened = Contents | DataError


@dataclass
class Objects:
    """What the files come to.

    Attributes:
        stack: of the first sample.
        objects: one for each sample.
        places: which of the files comes first in each sample.
        ids: what each sample is called: its file without the ending, and without the band.
    """

    stack: Stack
    objects: list[Object]
    places: list[int]
    ids: list[str]
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def look(
    root: Path, files: Sequence[str], keywords: Sequence[str], options: OpenOptions
) -> list[Opened]:
    """What the headers of the files tell, from the index where it has them."""
    kind = f"fits 1 {options.max_sample_bytes} {' '.join(keywords)}"
    read = partial(contents, most=options.max_sample_bytes, keywords=keywords)
    return [
        fact if isinstance(fact, DataError) else Contents([_image(hdu) for hdu in fact[0]], fact[1])
        for fact in index.facts(root, files, kind, read)
    ]


def _image(fact: Sequence[Any]) -> ImageHDU:
    number, name, shape, *rest = fact
    return ImageHDU(number, name, tuple(shape), *rest)


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
    stacks = _stacks(files, opened, hdu, options)
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
    for at, (file, stack) in enumerate(zip(files, stacks, strict=True)):
        if isinstance(stack, Stack) and stack.make == first.make:
            found.objects.append(_checked(root, [(file, one) for one in stack.hdus], options.bands))
        elif isinstance(stack, DataError) and isinstance(opened[at], DataError):
            found.objects.append(stack)
        else:
            others.append(at)
            continue
        found.places.append(at)
        found.ids.append(stem(file))
    if others:
        why = stacks[others[0]]
        told = str(why) if isinstance(why, DataError) else f"has {_described(why)}"
        if strict:
            raise DataError(f"file {others[0]} {told}; the first has {_described(first)}")
        found.warnings.append(
            f"{len(others):,} of {len(files):,} files are left out: the first file has "
            f"{_described(first)}, and they do not; to choose files: --set data.images='PATTERN'"
        )
    return found


def one_a_band(
    root: Path,
    files: Sequence[str],
    opened: Sequence[Opened],
    hdu: str | None,
    options: OpenOptions,
) -> Objects:
    """Files whose names differ in the band alone make one sample: `a_g.fits`, `a_r.fits`.

    A band stands between other characters than letters and digits, in the name or as a folder.

    Raises:
        DataError: no names tell the bands, or bands are missing of more than a few objects.
    """
    bands, alone = options.bands, replace(options, bands=())
    groups, ids, outside = _grouped(files, bands)
    incomplete = [key for key, places in groups.items() if len(places) < len(bands)]
    if len(incomplete) > FEW * len(groups):
        key = incomplete[0]
        missing = next(band for band in bands if band not in groups[key])
        raise DataError(
            f"{ids[key]!r} has no file of the band {missing!r}; bands are missing of "
            f"{len(incomplete):,} of {len(groups):,} objects. Add the files, or name "
            "the bands that all have: data.bands"
        )
    stacks = _stacks(files, opened, hdu, alone)
    first = next((stack for stack in stacks if isinstance(stack, Stack)), None)
    if first is None or first.axes not in ("HW", "DHW"):
        raise (
            first_error(stacks)
            if first is None
            else DataError(f"a file of one band holds {_described(first)}, not one plane")
        )
    found = Objects(first, [], [], [])
    for key, places in groups.items():
        if key in incomplete:
            continue
        chosen = [stacks[places[band]] for band in bands]
        wrong = [stack for stack in chosen if isinstance(stack, DataError)]
        parts = [
            (files[places[band]], stack.hdus[0])
            for band, stack in zip(bands, chosen, strict=True)
            if isinstance(stack, Stack) and stack.axes == first.axes
        ]
        if wrong or len(parts) < len(bands):
            found.objects.append(wrong[0] if wrong else DataError("a band's file is no plane"))
        else:
            found.objects.append(_checked(root, parts, bands))
        found.places.append(places[bands[0]])
        found.ids.append(ids[key])
    found.decisions.append(f"bands: {', '.join(bands)}, one file each")
    if outside:
        found.decisions.append(f"{outside:,} files whose names have no band are not read")
    if incomplete:
        found.warnings.append(f"{len(incomplete):,} objects lack a band and are left out")
    return found


def first_error(stacks: Sequence[Stack | DataError]) -> DataError:
    """The first of the errors among these."""
    return next(one for one in stacks if isinstance(one, DataError))


def stem(file: str) -> str:
    """The last part of a name without `.fits`, `.fits.gz` and the like."""
    return re.sub(r"(\.(fits?|fts|fz|gz))+$", "", file.rpartition("/")[2], flags=re.IGNORECASE)


def _stacks(
    files: Sequence[str], opened: Sequence[Opened], hdu: str | None, options: OpenOptions
) -> list[Stack | DataError]:
    """The stack of each file; from files of one make it is chosen once."""
    known: dict[Any, tuple[Stack, list[int]] | DataError] = {}
    stacks: list[Stack | DataError] = []
    for name, one in zip(files, opened, strict=True):
        if isinstance(one, DataError):
            stacks.append(one)
            continue
        make = tuple(image[:4] for image in one.hdus)
        if make not in known:
            try:
                stack = choose(one.hdus, hdu, options)
                known[make] = stack, [one.hdus.index(image) for image in stack.hdus]
            except DataError as error:
                known[make] = DataError(f"{name}: {error}")
        chosen = known[make]
        stacks.append(
            chosen
            if isinstance(chosen, DataError)
            else replace(chosen[0], hdus=tuple(one.hdus[place] for place in chosen[1]))
        )
    return stacks


def _described(stack: Stack) -> str:
    channels = stack.shape[-1]
    what = "volumes of " if "D" in stack.axes else ""
    return f"{what}{channels} band{'s' if channels > 1 else ''}"


def _checked(root: Path, parts: list[tuple[str, ImageHDU]], bands: tuple[str, ...]) -> Object:
    if len(parts) > 1:
        try:
            check_sides([hdu for _, hdu in parts], bands)
            check_grids([(root / file, hdu) for file, hdu in parts], bands)
        except DataError as error:
            return DataError(f"{parts[0][0]}: {error}")
    return tuple(parts)


def _grouped(
    files: Sequence[str], bands: tuple[str, ...]
) -> tuple[dict[str, dict[str, int]], dict[str, str], int]:
    """Objects: key -> band -> place of its file; key -> id; and how many files have no band."""
    folded = len({band.lower() for band in bands}) == len(bands)
    names = {band.lower() if folded else band: band for band in bands}
    either = "|".join(map(re.escape, sorted(bands, key=len, reverse=True)))
    pattern = re.compile(
        rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])", re.IGNORECASE if folded else 0
    )
    groups: dict[str, dict[str, int]] = {}
    ids: dict[str, str] = {}
    outside = 0
    for place, file in enumerate(files):
        whole = file.rpartition("/")[0] + "/" + stem(file)
        hits = list(pattern.finditer(whole))
        if not hits:
            outside += 1
            continue
        hit = hits[-1]
        band = names[hit[0].lower() if folded else hit[0]]
        key = f"{whole[: hit.start()]}\0{whole[hit.end() :]}"
        ids[key] = re.sub(r"[^A-Za-z0-9]?\0", "", key.rpartition("/")[2]).strip("_-. ")
        if band in groups.setdefault(key, {}):
            raise DataError(f"{file} and {files[groups[key][band]]} are both of the band {band!r}")
        groups[key][band] = place
    if not groups:
        raise DataError(
            f"data.bands: neither HDUs of the first file nor parts of file names are {bands[0]!r}"
        )
    return groups, ids, outside
