"""One FITS file a band: the names of the files tell which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from domainjepa.data.channels.grouping import objects
from domainjepa.data.formats.fits.bands import Stack
from domainjepa.data.formats.fits.folder import (
    Objects,
    Opened,
    as_object,
    described,
    first_error,
    stacks_of,
)
from domainjepa.data.formats.fits.headers import SUFFIXES
from domainjepa.data.formats.fits.source import Part
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError


def one_a_band(
    root: Path,
    files: Sequence[str],
    opened: Sequence[Opened],
    hdu: str | None,
    options: OpenOptions,
) -> Objects:
    """Files whose names differ in the band alone make one sample: `a_g.fits`, `a_r.fits`.

    Raises:
        DataError: as `objects`; or a file of one band holds more than a plane.
    """
    bands, alone = options.bands, replace(options, bands=())
    grouped = objects(files, bands, SUFFIXES, options.skip_unreadable)
    stacks = stacks_of(files, opened, hdu, alone)
    inside = [stacks[at] for places in grouped.places for at in places]
    first = next((stack for stack in inside if isinstance(stack, Stack)), None)
    if first is None:
        raise first_error(inside)
    if first.axes not in ("HW", "DHW"):
        raise DataError(f"a file of one band holds {described(first)}, not one plane")
    found = Objects(
        first,
        [],
        [places[0] for places in grouped.places],
        grouped.ids,
        folders=grouped.folders,
        decisions=grouped.decisions,
        warnings=grouped.warnings,
    )
    for places in grouped.places:
        parts: list[Part] = []
        grids: list[str] = []
        for at in places:
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
    return found
