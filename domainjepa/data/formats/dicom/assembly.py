"""Headers of DICOM files -> a source, with what was decided in counts and numbers alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.dicom.frames import GREY
from domainjepa.data.formats.dicom.header import Header
from domainjepa.data.formats.dicom.series import AXES, SAME_PLACE, SHIFTED, Stack, places
from domainjepa.data.formats.dicom.sources import DicomSource, DicomVolumes
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError


@dataclass
class Found:
    """What there is, before it becomes a source.

    Attributes:
        root: the folder.
        files: below it.
        headers: one a file; None where it is left out.
        damaged: file -> why it cannot be read.
        decisions, warnings: of the source to come.
    """

    root: Path
    files: list[str]
    headers: list[Header | None]
    damaged: dict[int, str] = field(default_factory=dict)
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def kept(self) -> list[Header]:
        return [header for header in self.headers if header is not None]

    def filled(self) -> list[Header]:
        """One for every file; what is left out, and so is of no use, gets another one's."""
        any_one = self.kept()[0]
        return [header or any_one for header in self.headers]


def leaf(name: str) -> str:
    """The file's name without its folders."""
    return name.rpartition("/")[2]


def make_slices(found: Found, where: NDArray[np.int32], options: OpenOptions) -> DicomSource:
    """The slices in this order.

    Args:
        where: (N, 2) which file, and which of its frames.

    Raises:
        DataError: one takes more memory than allowed.
    """
    kept = found.kept()
    dtype = np.dtype(_common({header.kind.dtype for header in kept}))
    for name, header in zip(found.files, found.headers, strict=True):
        size = header.kind.size * dtype.itemsize if header else 0
        if size > options.max_sample_bytes:
            raise DataError(
                f"{leaf(name)} claims images of {size:,} bytes, more than "
                f"{options.max_sample_bytes:,}; if that is meant: --set "
                f"data.max_sample_bytes={size}"
            )
    files, frames = where.T
    headers = found.filled()

    def each(value: Callable[[Header], Any]) -> NDArray[Any]:
        """Something of the file of every slice."""
        gathered: NDArray[Any] = np.array([value(header) for header in headers])[files]
        return gathered

    patients: dict[str, int] = {}
    ids = each(lambda header: header.instance)
    several = each(lambda header: header.kind.frames) > 1
    if several.any():
        numbered = np.char.add(np.char.add(ids, "-"), frames.astype(str))
        ids = np.where(several, numbered, ids)
    pairs = zip(files.tolist(), frames.tolist(), strict=True)
    scales = [headers[file].scale(frame) or (np.nan, np.nan) for file, frame in pairs]
    first = headers[files[0]].kind
    modalities = Counter(header.kind.modality or "unknown" for header in kept)
    source = DicomSource(
        name="DICOM",  # a file or a folder may be named like a patient
        loader="dicom",
        shape=(first.rows, first.columns, first.channels),
        dtype=dtype,
        groups=each(lambda header: patients.setdefault(header.patient, len(patients))),
        ids=ids,
        modality=first.modality or None if len(modalities) == 1 else None,
        root=found.root,
        files=found.files,
        where=where,
        scales=np.array(scales),
        sizes=each(lambda header: (header.kind.rows, header.kind.columns)),
        max_sample_bytes=options.max_sample_bytes,
        damaged=found.damaged,
        decisions=found.decisions,
        warnings=found.warnings,
    )
    if all(header.kind.spacing for header in kept):
        source.spacings = each(lambda header: header.kind.spacing)
    _tell(source, kept)
    return source


def _tell(source: DicomSource, kept: Sequence[Header]) -> None:
    """Adds what is in the slices of these files to the decisions, and what to doubt of it."""
    modalities = Counter(header.kind.modality or "unknown" for header in kept)
    source.decisions += [
        f"images: {len(source):,} in {_many(len(kept), 'file')}, "
        f"{len({header.series for header in kept}):,} series of "
        f"{_many(len({header.patient for header in kept}), 'patient')}, {_told(modalities)}",
        f"values: {source.dtype}, {_rescaled(kept)}",
        f"photometric interpretation: {_told(Counter(header.kind.photometric for header in kept))}",
        f"pixels: {_steps(source.spacings, ('between rows', 'between columns'))}",
        "groups: patients, numbered; ids: hashes of the SOP instance UIDs",
    ]
    sizes = {(header.kind.rows, header.kind.columns) for header in kept}
    if len(sizes) > 1:
        source.decisions.append(f"sizes differ: {len(sizes):,} of them; the shape is the first's")
    if len(modalities) > 1:
        source.warnings.append(
            f"modalities are mixed ({_told(modalities)}), whose values have no common scale; open "
            "them apart, by folders or by data.images, a pattern of file names"
        )


def tell_of_order(source: DicomSource, every: Sequence[Stack], headers: Sequence[Header]) -> None:
    """Adds how slices follow each other: how far apart, how evenly, and how far aside."""
    deep = [stack for stack in every if stack.plane and len(stack.slices) > 1]
    if not any(stack.plane for stack in every):
        source.decisions.append("order: by series, in each by instance number; no positions told")
        return
    order = "order: by series, in each by position along the normal of its slices"
    if deep:
        steps = np.array([[step] for stack in deep if (step := stack.step()) > SAME_PLACE])
        if len(steps):
            order += f"; {_steps(steps, ('between slices, measured from their positions',))}"
        same = len(deep) - len(steps)
        order += (
            f"; several slices at each place in {same:,} of {_many(len(deep), 'series')}"
            * bool(same)
        )
        uneven = sum(stack.why_no_volume() is not None for stack in deep)
        order += f"; unevenly spaced in {uneven:,} of {_many(len(deep), 'series')}" * bool(uneven)
    source.decisions.append(order)
    tilted = [stack.tilt(headers) for stack in deep if stack.shear(headers) > SHIFTED]
    if tilted:
        source.decisions.append(
            f"tilt: the gantry was tilted in {len(tilted):,} of {_many(len(deep), 'series')}, by "
            f"{max(tilted):.1f} degrees at most; a slice itself is not changed by it"
        )


def make_volumes(found: Found, every: Sequence[Stack], options: OpenOptions) -> DicomVolumes:
    """The stacks that are volumes; the others are left out, with the first reason why.

    Raises:
        DataError: none is a volume, or one takes more memory than allowed.
    """
    reasons = [stack.why_no_volume() for stack in every]
    kept = [stack for stack, reason in zip(every, reasons, strict=True) if reason is None]
    refused = _refused(every, reasons)
    if not kept:
        which = f"none of {len(every):,} series is a volume: " * (len(every) > 1)
        why = refused if which else reasons[0]
        raise DataError(f"{which}{why}. As slices: --set data.dimensions=2")
    used = {one.file for stack in kept for one in stack.slices}
    headers = [one if file in used else None for file, one in enumerate(found.headers)]
    found = replace(found, headers=headers)
    slices = make_slices(found, places(kept), options)
    depths = np.array([len(stack.slices) for stack in kept])
    stops = np.cumsum(depths)
    starts = stops - depths
    known = found.filled()
    source = DicomVolumes(
        name=slices.name,
        loader=slices.loader,
        shape=(int(depths[0]), *slices.shape),
        dtype=slices.dtype,
        groups=slices.groups[starts] if slices.groups is not None else None,
        ids=slices.ids[starts] if slices.ids is not None else None,
        modality=slices.modality,
        slices=slices,
        edges=np.stack([starts, stops], axis=1),
        affines=np.array([stack.affine(known) for stack in kept]),
        decisions=slices.decisions,
        warnings=slices.warnings,
    )
    steps = np.array([stack.step() for stack in kept])
    if slices.spacings is not None:
        source.spacings = np.column_stack([steps, slices.spacings[starts]])
    for index in range(len(kept)) if options.dimensions == 3 else ():
        size = int(np.prod(source.sides(index))) * source.channels * source.dtype.itemsize
        if size > options.max_sample_bytes:
            raise DataError(
                f"a volume of {' x '.join(map(str, source.sides(index)))} takes {size:,} bytes, "
                f"more than {options.max_sample_bytes:,}; if that is meant: --set "
                f"data.max_sample_bytes={size}"
            )
    _tell_of_volumes(source, kept, steps, refused)
    shear = max(stack.shear(known) for stack in kept)
    if shear > SHIFTED:
        source.warnings.append(
            f"slices shift sideways by up to {shear:.3g} mm from one to the next (a tilted "
            "gantry): voxels of such a volume do not lie on a rectangular grid"
        )
    return source


def _refused(every: Sequence[Stack], reasons: Sequence[str | None]) -> str:
    """Why stacks are no volumes: each kind of reason with the words of its deepest stack, whose
    loss is the greatest."""
    kinds: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for stack, reason in zip(every, reasons, strict=True):
        if reason:
            kinds[re.sub(r"\d[\d.,e+-]*", "", reason)].append((len(stack.slices), reason))
    deepest = sorted((max(found), len(found)) for found in kinds.values())[::-1]
    return "; ".join(
        f"{count:,} of {f'up to {depth:,} slices' if depth > 1 else '1 slice'}: {reason}"
        for (depth, reason), count in deepest
    )


def _tell_of_volumes(
    source: DicomVolumes, kept: Sequence[Stack], steps: NDArray[np.float64], refused: str
) -> None:
    depths = source.edges[:, 1] - source.edges[:, 0]
    deep = f"{depths.min()}" + f" to {depths.max()}" * bool(depths.max() > depths.min())
    source.decisions.append(
        f"volumes: {len(kept):,} of {deep} slices, ordered by position along the normal; "
        f"{_steps(steps[:, None], ('between slices, measured from their positions',))}"
    )
    directions = {stack.directions() for stack in kept}
    if len(directions) == 1:
        one = source.directions = directions.pop()
        source.axes = (AXES[one[0]], AXES[one[1]], AXES[one[2]])
        source.decisions.append(
            f"axes: D, H, W lead to {', '.join(one)} of the patient, or near it; slices along D "
            f"are {source.axes[0]}"
        )
    else:
        source.decisions.append("axes: volumes lie in several orientations")
    if refused:
        source.warnings.append(f"left out: stacks of slices that are no volumes: {refused}")


def _common(dtypes: set[str]) -> str:
    """One type for all values: integers where all are, else float32."""
    if len(dtypes) == 1:
        return dtypes.pop()
    return "float32" if "float32" in dtypes else np.result_type(*dtypes).name


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1 and what != 'series')}"


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _rescaled(headers: Iterable[Header]) -> str:
    """What was done to the stored values."""
    grey = [header for header in headers if header.kind.photometric in GREY]
    if not grey:
        return "colours as they are, as RGB"
    tables = sum(not header.kind.scales for header in grey)
    scaled = sum(header.kind.scales not in ([], [[1.0, 0.0]]) for header in grey)
    inverted = sum(header.kind.photometric == "MONOCHROME1" for header in grey)
    units = {"CT": "to Hounsfield units", "RTDOSE": "to gray"}
    modalities = {header.kind.modality for header in grey}
    how = units.get(modalities.pop(), "") if len(modalities) == 1 else ""
    parts = [f"rescaled {how or 'by slope and intercept'} in {scaled:,} files" if scaled else ""]
    parts += [f"by a modality table in {tables:,} files" if tables else ""]
    parts += ["as stored: no rescale that changes them" if not scaled + tables else ""]
    parts += [f"MONOCHROME1 inverted in {inverted:,} files" if inverted else ""]
    padded = sum(bool(header.kind.padding) for header in grey)
    parts += [f"padding is missing (NaN) in {padded:,} files" if padded else ""]
    parts += ["display windows (VOI) not applied"]
    return "; ".join(filter(None, parts))


def _steps(spacings: NDArray[np.float64] | None, names: tuple[str, ...]) -> str:
    """Millimetres, from the smallest to the largest."""
    if spacings is None:
        return "their size is not told by all files"
    parts = []
    for low, high, name in zip(spacings.min(0), spacings.max(0), names, strict=True):
        parts.append(f"{low:.4g}{f' to {high:.4g}' * bool(high > 1.001 * low)} mm {name}")
    return ", ".join(parts)
