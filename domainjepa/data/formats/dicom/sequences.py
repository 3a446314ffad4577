"""Series of one study as the channels of one sample: `P1/T1/*.dcm` and `P1/FLAIR/*.dcm`.

What tells the series apart is a part of their folders, as it is a part of the names of files in
other formats. Slices go together by their place in the patient, so series have to lie on one grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from domainjepa.data.channels.grouping import FEW, named, objects
from domainjepa.data.channels.joined import APART
from domainjepa.data.files.damage import to_skip
from domainjepa.data.formats.dicom.assembly import Found
from domainjepa.data.formats.dicom.header import Header
from domainjepa.data.formats.dicom.series import Stack
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError

Studies = list[tuple[Stack, ...]]


def folder_of(found: Found, stack: Stack) -> str:
    """Where the first file of a stack lies, with a / at its end."""
    return found.files[stack.slices[0].file].rpartition("/")[0] + "/"


def sequences(
    found: Found, every: Sequence[Stack], options: OpenOptions, *, volumes: bool
) -> tuple[Studies, list[str]] | None:
    """The studies that have a series of each of `data.bands`, and what their folders say besides.

    Decisions and warnings are added to `found`.

    Returns:
        Of each study its stacks in the order of the bands, and its folder without the band's and
        without one of its own; None where no folder is named like a band.

    Raises:
        DataError: folders do not tell the series apart, or more studies have series that do not
            fit each other than may.
    """
    bands, headers = options.bands, found.filled()
    folders = [folder_of(found, stack) for stack in every]
    if not named(folders, bands, ()):
        return None
    together = objects(folders, bands, (), options.skip_unreadable)
    found.decisions.append(f"bands: {', '.join(bands)}, a series each, by their folders")
    found.decisions += together.decisions[1:]
    found.warnings += together.warnings
    studies = [tuple(every[place] for place in study) for study in together.places]
    reasons = [_why_not(study, bands, headers, volumes=volumes) for study in studies]
    left = [reason for reason in reasons if reason is not None]
    fit = [number for number, reason in enumerate(reasons) if reason is None]
    if len(left) > max(FEW, options.skip_unreadable) * len(studies):
        skip = to_skip(len(left), len(studies)) if fit else ""
        raise DataError(
            f"data.bands: of {len(left):,} of {len(studies):,} studies the series do not fit: "
            f"{left[0]}. Bring them to one grid{f', or leave such studies out{skip}' * bool(skip)}."
        )
    if left:
        found.warnings.append(
            f"left out: {len(left):,} of {len(studies):,} studies, whose series do not fit; the "
            f"first: {left[0]}"
        )
    return [studies[number] for number in fit], [together.folders[number] for number in fit]


def alone(found: Found, stacks: Sequence[Stack]) -> Found:
    """The same files with the headers of these stacks only, and lines of its own."""
    used = {one.file for stack in stacks for one in stack.slices}
    headers = [one if file in used else None for file, one in enumerate(found.headers)]
    return replace(found, headers=headers, decisions=[*found.decisions], warnings=[*found.warnings])


def _why_not(
    study: Sequence[Stack], bands: Sequence[str], headers: Sequence[Header], *, volumes: bool
) -> str | None:
    """Why these series are not the channels of one sample, or None."""
    first = study[0]
    for stack, band in zip(study, bands, strict=True):
        if volumes and (why := stack.why_no_volume()):
            return f"{band}: {why}"
        deep = (len(first.slices), len(stack.slices))
        if deep[0] != deep[1]:
            return f"{bands[0]} has {deep[0]} slices and {band} {deep[1]}"
        if first.plane and stack.plane:
            gap = first.positions(headers) - stack.positions(headers)
            apart = float(np.linalg.norm(gap, axis=1).max())
            if apart > APART * min(first.header.kind.spacing or [1.0]):
                return f"slices of {bands[0]} and {band} lie up to {apart:.3g} mm apart"
    return None
