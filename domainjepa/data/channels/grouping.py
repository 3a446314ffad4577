"""Files whose names differ in the channel alone are one object: `a_g.fits` and `a_r.fits`,
`T1/a.nii` and `T2/a.nii`, `A01_s1_w1.tif` and `A01_s1_w2.tif`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from domainjepa.data.files.damage import to_skip
from domainjepa.data.files.listing import without_suffix
from domainjepa.errors import DataError, did_you_mean

FEW = 0.01
"""Share of the objects that may lack a channel; they are left out with a warning."""
_UID = r"(?:[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?"
"""What MetaXpress writes behind a channel: A01_s1_w1CE70AD49-290D-4312-82E6-CDC717F32637.tif."""


@dataclass
class Objects:
    """Files put together.

    Attributes:
        places: of each object, the places of its files, one a channel in the order of the channels.
        ids: what each is called: its files' names without the channel.
        folders: of each, what of its folders is not the channel's.
        decisions, warnings: what was found.
    """

    places: list[tuple[int, ...]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def objects(
    files: Sequence[str],
    bands: tuple[str, ...],
    suffixes: tuple[str, ...],
    allowed: float = 0.0,
) -> Objects:
    """The objects that have all of these channels.

    A channel is a whole part of a name or of a folder, between other characters than letters and
    digits, so T1 is not in T1ce; where no name has such parts, also between a digit and a letter,
    as C01 in Z001C01. The last such part of a name counts, or all where only that makes objects
    whole, as in T1/a_T1.nii.

    Args:
        files: names below a folder.
        bands: what the channels are called; case does not count unless they differ in it alone.
        suffixes: of the format.
        allowed: share of the objects that may lack a channel, where it is more than `FEW`.

    Raises:
        DataError: no name has a channel, two files are of one channel of an object, or more
            objects lack a channel than may.
    """
    names = [without_suffix(file, suffixes) for file in files]
    problem: DataError | None = None
    for pattern in _patterns(bands):
        hits = [list(pattern.finditer(name)) for name in names]
        if not any(hits):
            continue
        for every in (False, True):
            try:
                return _put_together(files, names, hits, bands, every, max(FEW, allowed))
            except DataError as error:
                problem = problem or error
        break
    raise problem or DataError(
        f"data.bands: no part of a file name is {' or '.join(map(repr, bands))}."
        f"{did_you_mean(bands[0], re.findall('[A-Za-z0-9]+', names[0]))}"
    )


def named(files: Sequence[str], bands: tuple[str, ...], suffixes: tuple[str, ...]) -> bool:
    """Whether parts of these names are channels' names; else they are meant inside of the files."""
    patterns = list(_patterns(bands)) if bands else []
    names = (without_suffix(file, suffixes) for file in files)
    return any(pattern.search(name) for name in names for pattern in patterns)


def _patterns(bands: tuple[str, ...]) -> Iterator[re.Pattern[str]]:
    folded = len({band.lower() for band in bands}) == len(bands)
    either = "|".join(map(re.escape, sorted(bands, key=len, reverse=True)))
    for before, after in (
        ("(?<![A-Za-z0-9])", f"{_UID}(?![A-Za-z0-9])"),
        ("(?<![A-Za-z])", "(?![0-9])"),
    ):
        yield re.compile(f"{before}({either}){after}", re.IGNORECASE if folded else 0)


def _put_together(
    files: Sequence[str],
    names: Sequence[str],
    hits: Sequence[list[re.Match[str]]],
    bands: tuple[str, ...],
    every: bool,
    allowed: float,
) -> Objects:
    """Groups by what is left of the names; see `objects`."""
    spelt = {band.lower(): band for band in bands}
    spelt |= {band: band for band in bands}
    groups: dict[str, dict[str, int]] = {}
    for place, (name, found) in enumerate(zip(names, hits, strict=True)):
        if not found:
            continue
        band = _band(found[-1], spelt)
        cut = [hit for hit in found if every and _band(hit, spelt) == band] or [found[-1]]
        for hit in reversed(cut):
            name = f"{name[: hit.start()]}\0{name[hit.end() :]}"
        group = groups.setdefault(name, {})
        if band in group:
            raise DataError(
                f"{files[place]} and {files[group[band]]} are both of the band {band!r}"
            )
        group[band] = place
    lacking = [name for name, group in groups.items() if len(group) < len(bands)]
    if len(lacking) > allowed * len(groups):
        raise _missing(groups, lacking, bands)
    whole = {name: group for name, group in groups.items() if len(group) == len(bands)}
    made = Objects(
        places=[tuple(group[band] for band in bands) for group in whole.values()],
        ids=_ids(list(whole)),
        folders=_folders(list(whole)),
    )
    made.decisions.append(f"bands: {', '.join(bands)}, one file each")
    if outside := sum(not found for found in hits):
        made.decisions.append(f"{outside:,} files whose names have no band are not read")
    if lacking:
        made.warnings.append(
            f"{len(lacking):,} of {len(groups):,} objects lack a band and are left out"
        )
    return made


def _band(hit: re.Match[str], spelt: dict[str, str]) -> str:
    return spelt.get(hit[1]) or spelt[hit[1].lower()]


def _missing(
    groups: dict[str, dict[str, int]], lacking: list[str], bands: tuple[str, ...]
) -> DataError:
    first = next(band for band in bands if band not in groups[lacking[0]])
    if not any(first in group for group in groups.values()):
        return DataError(
            f"no file name has the band {first!r}, and {len(groups):,} objects have "
            f"{', '.join(next(iter(groups.values())))}. Look at its spelling in data.bands"
        )
    skip = to_skip(len(lacking), len(groups))
    return DataError(
        f"{_ids(lacking)[0]!r} has no file of the band {first!r}; bands are missing of "
        f"{len(lacking):,} of {len(groups):,} objects. Add the files, name the bands that all "
        f"have in data.bands{f', or leave such objects out{skip}' if skip else ''}"
    )


def _ids(left: list[str]) -> list[str]:
    """What objects are called: the last part of a name without the channel; where that tells them
    not apart, with the folders."""
    paths = [[_bare(part) for part in name.split("/")] for name in left]
    paths = [[part for part in path if part] for path in paths]
    ids = [path[-1] if path else "" for path in paths]
    return ids if len(set(ids)) == len(ids) else ["/".join(path) for path in paths]


def _folders(left: list[str]) -> list[str]:
    """Folders without that of the channel, and without those of single objects."""
    folders = [[bare for part in name.split("/")[:-1] if (bare := _bare(part))] for name in left]
    if len({tuple(one) for one in folders}) == len(left) > 1:
        folders = [one[:-1] for one in folders]
    return ["/".join(one) for one in folders]


def _bare(part: str) -> str:
    """A part of a path without the channel and the separator before it."""
    return re.sub(r"[^A-Za-z0-9]?\0", "", part).strip("_-. ")
