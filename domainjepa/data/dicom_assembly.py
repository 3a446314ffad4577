"""Headers of DICOM files -> a source, with what was decided in counts and numbers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.dicom_header import GREY, Header
from domainjepa.data.dicom_series import AXES, SHIFTED, Stack
from domainjepa.data.dicom_sources import DicomSource, DicomVolumes
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError


@dataclass
class Found:
    """What there is, before it becomes a source.

    Attributes:
        root: the folder.
        files: below it.
        headers: one a file; None where it is left out.
        decisions, warnings: of the source to come.
    """

    root: Path
    files: list[str]
    headers: list[Header | None]
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def kept(self) -> list[Header]:
        return [header for header in self.headers if header is not None]


def leaf(name: str) -> str:
    """The file's name without its folders."""
    return name.rpartition("/")[2]


def make_slices(
    found: Found, order: Sequence[tuple[int, int]], options: OpenOptions
) -> DicomSource:
    """The slices in this order of (file, frame).

    Raises:
        DataError: one takes more memory than allowed.
    """
    headers = found.headers
    kept = found.kept()
    dtype = np.dtype(_common({header.dtype for header in kept}))
    for name, header in zip(found.files, headers, strict=True):
        size = header.rows * header.columns * header.channels * dtype.itemsize if header else 0
        if size > options.max_sample_bytes:
            raise DataError(
                f"{leaf(name)} claims images of {size:,} bytes, more than "
                f"{options.max_sample_bytes:,}; if that is meant: --set "
                f"data.max_sample_bytes={size}"
            )
    rows = [(headers[file], frame) for file, frame in order]
    of = [(header, frame) for header, frame in rows if header is not None]
    patients: dict[str, int] = {}
    first = of[0][0]
    modalities = Counter(header.modality or "unknown" for header, _ in of)
    source = DicomSource(
        # A folder may bear a patient's name.
        name="DICOM",
        loader="dicom",
        shape=(first.rows, first.columns, first.channels),
        dtype=dtype,
        groups=np.array([patients.setdefault(one.patient, len(patients)) for one, _ in of]),
        ids=np.array([f"{one.instance}{f'-{at}' * (one.frames > 1)}" for one, at in of]),
        modality=first.modality or None if len(modalities) == 1 else None,
        root=found.root,
        files=found.files,
        where=np.array(order, dtype=np.int32),
        scales=np.array([one.scale(at) or (np.nan, np.nan) for one, at in of]),
        sizes=np.array([(one.rows, one.columns) for one, _ in of], dtype=np.int32),
        max_sample_bytes=options.max_sample_bytes,
        decisions=found.decisions,
        warnings=found.warnings,
    )
    if all(header.spacing for header in kept):
        source.spacings = np.array([one.spacing for one, _ in of])
    source.decisions += [
        f"images: {len(of):,} slices in {len(kept):,} files, {len({h.series for h in kept}):,} "
        f"series of {len(patients):,} patients, {_told(modalities)}",
        f"values: {dtype}, {_rescaled(kept)}",
        f"photometric interpretation: {_told(Counter(header.photometric for header in kept))}",
        f"pixels: {_steps(source.spacings, ('between rows', 'between columns'))}",
        "groups: patients, numbered; ids: hashes of the SOP instance UIDs",
    ]
    sizes = {(header.rows, header.columns) for header in kept}
    if len(sizes) > 1:
        source.decisions.append(f"sizes differ: {len(sizes):,} of them; the shape is the first's")
    if len(modalities) > 1:
        source.warnings.append(
            f"modalities are mixed ({_told(modalities)}), whose values have no common scale; open "
            "them apart, by folders or by data.images, a pattern of file names"
        )
    return source


def make_volumes(found: Found, every: Sequence[Stack], options: OpenOptions) -> DicomVolumes:
    """The stacks that are volumes; the others are left out, with the first reason why.

    Raises:
        DataError: none is a volume, or one takes more memory than allowed.
    """
    reasons = [stack.why_no_volume() for stack in every]
    kept = [stack for stack, reason in zip(every, reasons, strict=True) if reason is None]
    refused = Counter(reason for reason in reasons if reason)
    if not kept:
        which = f"none of {len(every):,} series is a volume; the first: " * (len(every) > 1)
        raise DataError(f"{which}{next(iter(refused))}. As slices: --set data.dimensions=2")
    used = {one.file for stack in kept for one in stack.slices}
    headers = [one if file in used else None for file, one in enumerate(found.headers)]
    order = [(one.file, one.frame) for stack in kept for one in stack.slices]
    found = replace(found, headers=headers)
    slices = make_slices(found, order, options)
    depths = np.array([len(stack.slices) for stack in kept])
    stops = np.cumsum(depths)
    starts = stops - depths
    known = [header or kept[0].header for header in headers]  # those that are left out have no use
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


def _tell_of_volumes(
    source: DicomVolumes, kept: Sequence[Stack], steps: NDArray[np.float64], refused: Counter[str]
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
        source.warnings.append(
            f"left out: {refused.total():,} stacks of slices that are no volumes; the most usual "
            f"reason: {refused.most_common(1)[0][0]}"
        )


def _common(dtypes: set[str]) -> str:
    """One type for all values: integers where all are, else float32."""
    if len(dtypes) == 1:
        return dtypes.pop()
    return "float32" if "float32" in dtypes else np.result_type(*dtypes).name


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _rescaled(headers: Iterable[Header]) -> str:
    """What was done to the stored values."""
    grey = [header for header in headers if header.photometric in GREY]
    if not grey:
        return "colours as they are, as RGB"
    tables = sum(not header.scales for header in grey)
    scaled = sum(header.scales not in ([], [[1.0, 0.0]]) for header in grey)
    inverted = sum(header.photometric == "MONOCHROME1" for header in grey)
    units = "Hounsfield units" if {header.modality for header in grey} == {"CT"} else "slope"
    parts = [f"rescaled to {units} in {scaled:,} files" if scaled else ""]
    parts += [f"by a modality table in {tables:,} files" if tables else ""]
    parts += ["as stored, no rescale is told" if not scaled + tables else ""]
    parts += [f"MONOCHROME1 inverted in {inverted:,} files" if inverted else ""]
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
