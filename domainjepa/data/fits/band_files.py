"""One FITS file a band: the names of the files tell which belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from domainjepa.data.fits.bands import Stack
from domainjepa.data.fits.folder import (
    Objects,
    Opened,
    as_object,
    described,
    first_error,
    stacks_of,
    stem,
)
from domainjepa.data.fits.source import Part
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError

FEW = 0.01
"""Share of the objects that may lack a band; they are left out with a warning."""


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
    stacks = stacks_of(files, opened, hdu, alone)
    inside = [stacks[at] for places in groups.values() for at in places.values()]
    first = next((stack for stack in inside if isinstance(stack, Stack)), None)
    if first is None:
        raise first_error(inside)
    if first.axes not in ("HW", "DHW"):
        raise DataError(f"a file of one band holds {described(first)}, not one plane")
    found = Objects(first, [], [], [])
    for key, places in groups.items():
        if key in incomplete:
            continue
        parts: list[Part] = []
        grids: list[str] = []
        for at in (places[band] for band in bands):
            stack, one = stacks[at], opened[at]
            if isinstance(stack, DataError) or isinstance(one, DataError):
                found.objects.append(first_error([stack]))
                break
            if stack.axes != first.axes:
                found.objects.append(DataError(f"{files[at]} holds {described(stack)}"))
                break
            parts.append((files[at], stack.hdus[0]))
            grids += one.grids_of(stack.hdus)
        else:
            found.objects.append(as_object(root, tuple(parts), grids, bands))
        found.places.append(places[bands[0]])
        found.ids.append(ids[key])
    found.decisions.append(f"bands: {', '.join(bands)}, one file each")
    if outside:
        found.decisions.append(f"{outside:,} files whose names have no band are not read")
    if incomplete:
        found.warnings.append(
            f"{len(incomplete):,} of {len(groups):,} objects lack a band and are left out"
        )
    return found


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
