"""What a header says of every frame: its rescale, its padding, where it lies, how far its pixels
are apart.

In classic files these are elements of the file; in enhanced ones each frame has groups of them, or
shares them with all (PS3.3 C.7.6.16); a dose grid counts its frames by offsets (C.8.8.3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from domainjepa.errors import DataError

GREY = ("MONOCHROME1", "MONOCHROME2")


def scales_of(found: Any, frames: int) -> list[list[float]]:
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
    return scales


PADDING = [
    f"{kind}PixelPadding{what}"
    for kind in ("", "Float", "DoubleFloat")
    for what in ("Value", "RangeLimit")
]


def padding_of(found: Any) -> list[float]:
    """The lowest and the highest stored value that stand for no measurement (PS3.3 C.7.5.1.1.2):
    PixelPaddingValue, up to PixelPaddingRangeLimit where there is one; [] where none does."""
    if found.get("PhotometricInterpretation") not in GREY:
        return []
    for value, limit in zip(PADDING[::2], PADDING[1::2], strict=True):
        told = [found[name].value for name in (value, limit) if found.get(name) not in (None, "")]
        if found.get(value) not in (None, ""):
            ends = sorted(_as_stored(found, one) for one in told)
            return [ends[0], ends[-1]]
    return []


def _as_stored(found: Any, told: Any) -> float:
    """A value as the pixels hold it: archives write it signed or not, and with more bits than are
    stored."""
    if found.get("BitsStored") is None:  # floating pixel data
        return float(told)
    if isinstance(told, bytes):  # of an implicit VR, which is US or SS
        told = int.from_bytes(told, "little")
    bits = int(found.BitsStored)
    value = int(told) % 2**bits
    signed = int(found.get("PixelRepresentation") or 0)
    return float(value - 2**bits if signed and value >= 2 ** (bits - 1) else value)


def _functional(found: Any, sequence: str, frames: int) -> list[Any]:
    """The item of a functional group for every frame, its own or the shared one."""
    shared = (found.get("SharedFunctionalGroupsSequence") or [{}])[0].get(sequence) or [None]
    groups = found.get("PerFrameFunctionalGroupsSequence") or []
    if len(groups) != frames:
        return shared[:1] * frames if not groups else [None]
    return [(group.get(sequence) or shared)[0] for group in groups]


def planes_of(found: Any, frames: int) -> list[list[float]]:
    """Position (3) and orientation (6) of every frame; [] where one of them does not tell."""
    if found.get("ImageOrientationPatient") and found.get("ImagePositionPatient"):
        turned = [float(number) for number in found.ImageOrientationPatient]
        first = [float(number) for number in found.ImagePositionPatient]
        normal = across(turned)
        offsets = [float(number) for number in found.get("GridFrameOffsetVector") or [0.0]]
        if frames > 1 and offsets[0] != 0:  # or positions themselves, of axial doses
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


def spacing_of(found: Any, frames: int) -> list[float]:
    """PixelSpacing: first between rows, then between columns (PS3.3 10.7.1.3)."""
    item = found
    if not found.get("PixelSpacing"):
        item = _functional(found, "PixelMeasuresSequence", frames)[0]
    told = [float(number) for number in (item.get("PixelSpacing") if item else None) or []]
    return told if len(told) == 2 and all(0 < step < math.inf for step in told) else []
