"""Masks in DICOM segmentation objects beside the series that they are of (PS3.3 A.51, C.8.20).

A frame of such an object is one segment in one plane, or in a label map all of them; it tells by
its SOP instance, and its frame, which image it was drawn on. Where a plane is told, too, it must be
the image's own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.dicom.assembly import Found
from domainjepa.data.formats.dicom.file import BoundedFile, begins_like_dicom, parse
from domainjepa.data.formats.dicom.header import Header
from domainjepa.data.formats.dicom.pixels import read_frames
from domainjepa.data.formats.dicom.sources import DicomSource, DicomVolumes
from domainjepa.data.masks.masks import Mask, Masks
from domainjepa.data.metadata.pseudonym import pseudonym
from domainjepa.errors import DataError

TAGS: list[str | int] = [
    "SegmentationType", "SegmentSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
PUBLIC = ("SCT", "SRT", "SNM3", "99SDM", "FMA", "DCM", "UMLS")
"""Vocabularies whose words name no patient; what a person typed may (SegmentLabel)."""
_ELSEWHERE = "no frame names one of these images in the image's own plane; open them by themselves"
SAME_DIRECTION, SAME_PLACE = 1e-3, 0.1
"""Direction cosines, millimetres."""


class Part(NamedTuple):
    """One frame of a segmentation.

    Attributes:
        file: which of the segmentations.
        frame: of it.
        value: of the mask where the frame is not 0; 0 where its values are the segments.
    """

    file: int
    frame: int
    value: int


@dataclass(kw_only=True)
class SliceMasks(Masks):
    """Masks of slices, 0 where no segment is; where several are, the greatest value counts.

    Attributes:
        samples: the slices.
        files: the segmentations, below the root of the slices.
        parts: slice -> frames.
        values: of each file, (segments + 1,) segment -> value.
    """

    samples: DicomSource = field(repr=False)
    files: list[str] = field(repr=False)
    parts: dict[int, list[Part]] = field(repr=False)
    values: list[NDArray[np.uint16]] = field(repr=False)

    def read(self, index: int) -> Mask:
        mask = np.zeros(self.samples.sides(index), np.uint16)
        for part in self.parts.get(index, ()):
            mask = np.maximum(mask, self._drawn(index, part, mask.shape))
        return mask

    def _drawn(self, index: int, part: Part, sides: tuple[int, ...]) -> Mask:
        path, values = self.samples.root / self.files[part.file], self.values[part.file]
        try:
            most = self.samples.max_sample_bytes
            stored = next(read_frames(path, [part.frame], [(1.0, 0.0)], most))[..., 0]
        except (DataError, OSError) as error:
            raise DataError(f"the mask of sample {index} cannot be read: {error}") from error
        if stored.shape != sides:
            raise DataError(
                f"the mask of sample {index} is {stored.shape[0]}x{stored.shape[1]}, and the image "
                f"is {sides[0]}x{sides[1]}: export the segmentation on the image's own grid."
            )
        if part.value:
            return np.where(stored > 0, np.uint16(part.value), np.uint16(0))
        if stored.min() < 0 or stored.max() >= len(values):
            raise DataError(f"the mask of sample {index} holds segments that its file has not.")
        return values[stored]


@dataclass(kw_only=True)
class VolumeMasks(Masks):
    """Masks of the slices of each volume.

    Attributes:
        slices: masks of all of them.
        edges: (N, 2) first slice of each volume, and the one behind its last.
    """

    slices: SliceMasks = field(repr=False)
    edges: NDArray[np.int64] = field(repr=False)

    def read(self, index: int) -> Mask:
        return np.stack([self.slices.read(row) for row in range(*self.edges[index].tolist())])


class Segmentation(NamedTuple):
    """What a segmentation tells.

    Attributes:
        names: segment -> what it shows.
        frames: for each the images, (hash of the instance, frame) each, and the segment, 0 for all.
    """

    names: dict[int, str]
    frames: list[tuple[list[tuple[str, int]], int]]


def offer_segments(
    source: DicomSource | DicomVolumes, found: Found, drawn: Sequence[tuple[str, Header]]
) -> None:
    """Gives slices or volumes the masks in segmentations, and says so.

    Args:
        source: made of what was found.
        drawn: name and header of each segmentation.
    """
    slices = source.slices if isinstance(source, DicomVolumes) else source
    headers = found.filled()
    kept = {one.instance: at for at, one in enumerate(found.headers) if one is not None}
    row_of = {(file, frame): row for row, (file, frame) in enumerate(slices.where.tolist())}
    every: list[Segmentation] = []
    files: list[str] = []
    parts: defaultdict[int, list[Part]] = defaultdict(list)
    lost: Counter[str] = Counter()
    for name, header in drawn:
        try:
            told = _read(found.root / name)
        except DataError as error:
            lost[str(error)] += 1
            continue
        pairs = [
            (row_of[place], frame, segment)
            for frame, (images, segment) in enumerate(told.frames)
            for instance, number in images
            if instance in kept
            and (place := (kept[instance], number)) in row_of
            and _one_plane(header, frame, headers[place[0]], number)
        ]
        if not pairs:
            lost[_ELSEWHERE] += 1
            continue
        for row, frame, segment in pairs:
            parts[row].append(Part(len(files), frame, segment))
        files.append(name)
        every.append(told)
    source.warnings += [
        f"masks: {count:,} SEG files are left out: {why}" for why, count in lost.items()
    ]
    if not files:
        return
    classes, values = _numbered(every)
    for row, frames in parts.items():
        parts[row] = [
            one._replace(value=int(values[one.file][one.value])) if one.value else one
            for one in frames
        ]
    series = [headers[file].series for file in slices.where[:, 0].tolist()]
    seen = {series[row] for row in parts}
    known = np.array([one in seen for one in series])  # empty planes are left out of the object
    masks = SliceMasks(
        known=known, classes=classes, samples=slices, files=files, parts=dict(parts), values=values
    )
    source.masks = masks
    if isinstance(source, DicomVolumes):
        whole = known[source.edges[:, 0]]
        source.masks = VolumeMasks(known=whole, classes=classes, slices=masks, edges=source.edges)
    source.warnings.append(
        f"masks: {len(files):,} SEG files of {len(classes) - 1:,} segments are taken for masks of "
        f"{int(source.masks.known.sum()):,} of {len(source):,} samples and are no samples; "
        "--set data.masks=none leaves them out"
    )


def _read(path: Path) -> Segmentation:
    """Raises DataError where it is damaged, or its values are no segments."""
    with BoundedFile(path) as file:
        found = parse(file, TAGS, begins_like_dicom(file.peek(132)))
    try:
        kind = str(found.get("SegmentationType", "") or "").strip()
        if kind not in ("BINARY", "LABELMAP"):
            raise DataError(f"its values are no segments (SegmentationType {kind or 'is missing'})")
        names = {int(one.SegmentNumber): _shown(one) for one in found.get("SegmentSequence") or []}
        frames = []
        for group in found.get("PerFrameFunctionalGroupsSequence") or []:
            segment = 0
            if kind == "BINARY":
                segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
                if segment not in names:
                    raise DataError("a frame is of a segment that it does not describe")
            frames.append((_images_of(group), segment))
    except DataError:
        raise
    except Exception as error:  # pydicom raises whatever comes to hand, with values in it
        raise DataError(f"its header is damaged ({type(error).__name__})") from error
    if any(not 0 <= one < 2**16 for one in names):
        raise DataError("its segments are no numbers from 1 to 65,535")
    return Segmentation(names, frames)


def _images_of(group: Any) -> list[tuple[str, int]]:
    """The images that a frame was drawn on: hash of the instance, and the frame from 0."""
    images = []
    for derived in group.get("DerivationImageSequence") or []:
        for one in derived.get("SourceImageSequence") or []:
            told = one.get("ReferencedFrameNumber") or 1
            numbers = [told] if isinstance(told, int | str) else list(told)
            instance = pseudonym("instance", str(one.ReferencedSOPInstanceUID).strip())
            images += [(instance, int(number) - 1) for number in numbers]
    return images


def _shown(segment: Any) -> str:
    """What a segment shows, by its code in a public vocabulary, else its number."""
    for code in segment.get("SegmentedPropertyTypeCodeSequence") or []:
        if str(code.get("CodingSchemeDesignator", "")).strip() in PUBLIC and code.get(
            "CodeMeaning"
        ):
            return str(code.CodeMeaning).strip()[:64]
    return f"segment {int(segment.SegmentNumber)}"


def _one_plane(drawn: Header, frame: int, image: Header, number: int) -> bool:
    """Whether a frame lies in the plane of an image, where both tell."""
    mine, its = drawn.position(frame), image.position(number)
    if not mine or not its:
        return True
    turned = np.allclose(drawn.plane(frame), image.plane(number), atol=SAME_DIRECTION)
    return turned and np.allclose(mine, its, atol=SAME_PLACE)


def _numbered(every: Sequence[Segmentation]) -> tuple[dict[int, str], list[NDArray[np.uint16]]]:
    """Value -> name, and of each segmentation segment -> value: the segments' own numbers where all
    agree on what they show, else the places of the names in their order."""
    told: defaultdict[int, set[str]] = defaultdict(set)
    for one in every:
        for segment, name in one.names.items():
            told[segment].add(name)
    agreed = all(len(names) == 1 for names in told.values())
    names = sorted({name for one in told.values() for name in one})
    place = {name: number for number, name in enumerate(names, 1)}
    values = []
    for one in every:
        table = np.zeros(max(one.names, default=0) + 1, np.uint16)
        for segment, name in one.names.items():
            table[segment] = segment if agreed else place[name]
        values.append(table)
    if not agreed:
        return {0: "background", **{number: name for name, number in place.items()}}, values
    return {0: "background", **{one: min(told[one]) for one in sorted(told) if one}}, values
