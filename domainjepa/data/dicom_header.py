"""The head of a DICOM file: what the index keeps of it, read without its pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from domainjepa.data.dicom_file import (
    PIXELS,
    BoundedFile,
    bare,
    begins_like_dicom,
    hidden,
    parse,
    pixel_tag,
)
from domainjepa.errors import DataError

MODALITIES = frozenset({
    "BI", "BMD", "CR", "CT", "DG", "DX", "ES", "GM", "IO", "IVOCT", "IVUS", "LS", "MG", "MR", "NM",
    "OCT", "OP", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PT", "PX", "RF", "RG", "RTDOSE",
    "RTIMAGE", "SC", "SEG", "SM", "TG", "US", "VA", "XA", "XC",
})  # fmt: skip
"""Defined terms of images (PS3.3 C.7.3.1.1.1); another word in that place may be anything."""

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
PALETTE = "PALETTE COLOR"

TAGS = [
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality",
    "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows",
    "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "RedPaletteColorLookupTableDescriptor", "DoseGridScaling",
    "GridFrameOffsetVector", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


class Header(NamedTuple):
    """What the index keeps of a file. Identifiers are hashes.

    Attributes:
        patient, series, instance: 16 hexadecimal digits each.
        modality: a defined term, or "".
        photometric: the photometric interpretation.
        number: InstanceNumber, or 0.
        frames, rows, columns: sizes.
        channels: of the values: 1, or 3 where they are colours.
        dtype: of the values, after the rescale.
        scales: [slope, intercept] of every frame, one pair where they are all alike; empty where a
            modality table takes their place.
        spacing: [between rows, between columns] in mm, or [].
        planes: of every frame the position of its first pixel (x, y, z), and the directions of its
            rows (3) and its columns (3), patient coordinates in mm (PS3.3 C.7.6.2); [] without.
    """

    patient: str
    series: str
    instance: str
    modality: str
    photometric: str
    number: int
    frames: int
    rows: int
    columns: int
    channels: int
    dtype: str
    scales: list[list[float]]
    spacing: list[float]
    planes: list[list[float]]

    def scale(self, frame: int) -> list[float]:
        """[slope, intercept] of a frame; [] where a table takes their place."""
        return self.scales[min(frame, len(self.scales) - 1)] if self.scales else []


def read_header(path: Path) -> list[Any] | str | None:
    """The fact of one file for the index.

    Returns:
        The fields of a `Header`; "" where the file holds no image (a report, contours, a plan, a
        DICOMDIR); None where it is no DICOM.

    Raises:
        DataError: it is damaged, or must not be read.
    """
    with BoundedFile(path) as file:
        head = file.peek(132)
        preamble = begins_like_dicom(head)
        if not preamble and not (path.suffix.lower() == ".dcm" and bare(head)):
            return None
        found = parse(file, TAGS, preamble)
        has_pixels = pixel_tag(file, found) in PIXELS
        if not has_pixels and found.get("Rows") is None:
            return ""
        if not has_pixels:
            raise DataError("it ends before its pixel data")
        try:
            return list(_header(found, path, file.length))
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"its header is damaged ({type(error).__name__})") from error


def _header(found: Any, path: Path, length: int) -> Header:
    """Raises DataError, and whatever pydicom raises on values that are none."""
    rows, columns = _count(found, "Rows"), _count(found, "Columns")
    frames = _count(found, "NumberOfFrames", 1)
    allocated = _count(found, "BitsAllocated")
    photometric = str(found.get("PhotometricInterpretation", "")).strip()
    if photometric not in (*GREY, *COLOUR, PALETTE):
        raise DataError("its photometric interpretation is none that is read")
    samples = _count(found, "SamplesPerPixel", 1)
    if samples != (3 if photometric in COLOUR else 1):
        raise DataError(f"it has {samples} samples a pixel, which its photometry has not")
    _refuse_claims(found, frames, rows * columns * samples * allocated, length)
    scales = _scales(found, frames)
    own = [str(found.get(tag, "") or "").strip() for tag in TAGS[:4]]
    patient, study, series, instance = own
    instance = instance or path.name
    return Header(
        patient=hidden("patient", patient or study or series or instance),
        series=hidden("series", series or instance),
        instance=hidden("instance", instance),
        modality=_modality(found),
        photometric=photometric,
        number=int(found.get("InstanceNumber") or 0),
        frames=frames,
        rows=rows,
        columns=columns,
        channels=1 if photometric in GREY else 3,
        dtype=_values_dtype(found, allocated, photometric, scales),
        scales=scales,
        spacing=_spacing(found),
        planes=_planes(found, frames),
    )


def _count(found: Any, tag: str, usual: int | None = None) -> int:
    value = found.get(tag)
    if value in (None, ""):
        value = usual
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise DataError(f"its header is damaged: {tag} is missing or no number from 1 on")
    return number


def _refuse_claims(found: Any, frames: int, bits: int, length: int) -> None:
    """Raises DataError where a file is too small for the number of frames that it claims."""
    encapsulated = getattr(found.file_meta.get("TransferSyntaxUID"), "is_encapsulated", False)
    # A frame takes an item of 8 bytes at the very least; YBR_FULL_422 leaves out a third.
    least = 8 * frames if encapsulated else frames * bits // 8 * 2 // 3
    if frames > 1 and least > length:
        raise DataError(f"it claims {frames:,} frames, which {length:,} bytes cannot hold")


def _modality(found: Any) -> str:
    told = str(found.get("Modality", "") or "").strip()
    return told if told in MODALITIES else ""


def _scales(found: Any, frames: int) -> list[list[float]]:
    """Slope and intercept (PS3.3 C.11.1); of each frame in enhanced files; of a dose in gray."""
    if found.get("ModalityLUTSequence"):
        return []
    scales = [
        [float(item.RescaleSlope), float(item.RescaleIntercept)]
        for item in _functional(found, "PixelValueTransformationSequence", frames)
        if item is not None
    ]
    if len(scales) != frames:
        slope, intercept = found.get("RescaleSlope"), found.get("RescaleIntercept")
        whole = [slope, intercept] if None not in (slope, intercept) else [1, 0]
        if found.get("DoseGridScaling") is not None:
            whole = [found.DoseGridScaling, 0]
        scales = [[float(number) for number in whole]]
    if any(not all(map(math.isfinite, scale)) or scale[0] == 0 for scale in scales):
        raise DataError("its rescale slope or intercept is no usable number")
    return scales[:1] if all(scale == scales[0] for scale in scales) else scales


def _functional(found: Any, sequence: str, frames: int) -> list[Any]:
    """The item of a functional group for every frame, its own or the shared one (C.7.6.16)."""
    shared = (found.get("SharedFunctionalGroupsSequence") or [{}])[0].get(sequence) or [None]
    groups = found.get("PerFrameFunctionalGroupsSequence") or []
    if len(groups) != frames:
        return shared[:1] * frames if not groups else [None]
    return [(group.get(sequence) or shared)[0] for group in groups]


def _planes(found: Any, frames: int) -> list[list[float]]:
    """Position and orientation of every frame; [] where one of them does not tell."""
    if found.get("ImageOrientationPatient") and found.get("ImagePositionPatient"):
        turned = [float(number) for number in found.ImageOrientationPatient]
        first = [float(number) for number in found.ImagePositionPatient]
        normal = across(turned)
        offsets = [float(number) for number in found.get("GridFrameOffsetVector") or [0.0]]
        if frames > 1 and offsets[0] != 0:  # C.8.8.3.2: or positions themselves, of axial doses
            offsets = [offset - offsets[0] for offset in offsets]
        planes = [
            [place + offset * step for place, step in zip(first, normal, strict=True)] + turned
            for offset in offsets
        ]
    else:
        positions = _functional(found, "PlanePositionSequence", frames)
        orientations = _functional(found, "PlaneOrientationSequence", frames)
        if None in positions or None in orientations:
            return []
        planes = [
            [float(number) for number in (*one.ImagePositionPatient, *two.ImageOrientationPatient)]
            for one, two in zip(positions, orientations, strict=True)
        ]
    sound = all(
        len(plane) == 9
        and all(map(math.isfinite, plane))
        and abs(math.hypot(*across(plane[3:])) - 1) < 0.01
        for plane in planes
    )
    return planes if sound and len(planes) == frames else []


def across(turned: Sequence[float]) -> tuple[float, float, float]:
    """The normal of a plane: the direction of its rows x that of its columns."""
    a, b, c, d, e, f = turned
    return (b * f - c * e, c * d - a * f, a * e - b * d)


def _spacing(found: Any) -> list[float]:
    """PixelSpacing: first between rows, then between columns (PS3.3 10.7.1.3)."""
    item = found
    if not found.get("PixelSpacing"):
        item = _functional(found, "PixelMeasuresSequence", 1)[0]
    told = [float(number) for number in (item.get("PixelSpacing") if item else None) or []]
    return told if len(told) == 2 and all(0 < step < math.inf for step in told) else []


def _values_dtype(found: Any, allocated: int, photometric: str, scales: list[list[float]]) -> str:
    """The stored integers' own type where there is no rescale; else int16 or uint16 where either
    holds every value exactly; else float32, which rounds fractions and more than 24 bits."""
    if photometric == PALETTE:
        allocated = int(found.RedPaletteColorLookupTableDescriptor[2])
    if photometric not in GREY:
        return "uint8" if allocated <= 8 else "uint16"
    if not scales:
        deep = int(found.ModalityLUTSequence[0].LUTDescriptor[2]) > 8
        return "uint16" if deep else "uint8"
    if found.get("BitsStored") is None or allocated > 16:
        return "float32"
    signed = int(found.get("PixelRepresentation") or 0)
    if scales == [[1.0, 0.0]]:
        return "int16" if signed else "uint8" if allocated <= 8 else "uint16"
    stored = stored_range(int(found.BitsStored), signed)
    ends = [end * slope + start for end in stored for slope, start in scales]
    if all(number.is_integer() for scale in scales for number in scale):
        for dtype in ("int16", "uint16"):
            limits = np.iinfo(dtype)
            if limits.min <= min(ends) and max(ends) <= limits.max:
                return dtype
    return "float32"


def stored_range(stored: int, signed: int) -> tuple[int, int]:
    """The lowest and the highest value of so many bits (PS3.3 C.7.6.3.1)."""
    return (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
