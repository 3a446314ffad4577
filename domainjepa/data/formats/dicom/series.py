"""Which slices belong together, in which order, and whether they make a volume.

A stack is what one series holds of parallel planes of one size. Slices follow each other by their
positions along the normal, never by InstanceNumber, which scanners and archives count as they like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.dicom.frames import across
from domainjepa.data.formats.dicom.header import Header

PARALLEL = 1e-3
"""Direction cosines that differ by less are of one orientation: scanners round them."""
UNEVEN = 0.05
"""Share of the usual step by which a step may differ, or 0.02 mm where that is more."""
ROUNDING = 0.02
SHIFTED = 0.05
"""Millimetres to the side in a step from which on a stack counts as sheared (a tilted gantry)."""
SAME_PLACE = 1e-3
ROUNDED = 1e-3
"""Share by which spacings of one stack may differ."""


AXES = {
    "S": "axial",
    "I": "axial",
    "A": "coronal",
    "P": "coronal",
    "L": "sagittal",
    "R": "sagittal",
}
"""Direction in the patient -> the slices that follow each other in it."""


class Slice(NamedTuple):
    """One slice, ordered by where it lies; by InstanceNumber where no position is told.

    Attributes:
        along: mm along the normal, 0 without a position.
        number: InstanceNumber.
        file: which file, in the order of the names.
        frame: of the file.
    """

    along: float
    number: int
    file: int
    frame: int


@dataclass(eq=False)
class Stack:
    """Parallel slices of one series, of one size and spacing.

    Attributes:
        header: of its first file.
        plane: directions of rows and columns; empty where they are not told.
        slices: in their order along the normal.
        normal: of the slices, or ().
    """

    header: Header
    plane: Sequence[float]
    slices: list[Slice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.normal = across(self.plane) if self.plane else ()

    def positions(self, headers: Sequence[Header]) -> NDArray[np.float64]:
        """(D, 3) of the first pixel of every slice, mm in the patient (x to the left, y to the
        back, z to the head)."""
        return np.array([headers[one.file].position(one.frame) for one in self.slices])

    def step(self) -> float:
        """Usual distance of slices in mm."""
        return float(np.median(np.diff([one.along for one in self.slices])))

    def why_no_volume(self) -> str | None:
        """What is wrong with it as a volume, or None."""
        if not self.plane:
            return "its slices do not tell where they lie (ImagePositionPatient)"
        if len(self.slices) < 2:
            return "it is a single slice"
        steps = np.diff([one.along for one in self.slices])
        same = int((steps < SAME_PLACE).sum())
        if same:
            return (
                f"{same:,} of its {len(self.slices):,} slices lie where another one lies: times, "
                "echoes, or copies in one series"
            )
        usual = self.step()
        wrong = np.flatnonzero(np.abs(steps - usual) > max(UNEVEN * usual, ROUNDING))
        if len(wrong):
            first = int(wrong[0])
            return (
                f"its slices are unevenly spaced: {usual:.4g} mm as a rule, {steps[first]:.4g} mm "
                f"between slices {first} and {first + 1}: one may be missing"
            )
        return None

    def shear(self, headers: Sequence[Header]) -> float:
        """Millimetres that slices shift to the side from one to the next: a tilted gantry."""
        normal = np.array(self.normal)
        steps = np.diff(self.positions(headers), axis=0)
        sideways = steps - np.outer(steps @ normal, normal)
        return float(np.abs(np.median(sideways, axis=0)).max())

    def tilt(self, headers: Sequence[Header]) -> float:
        """Degrees between the way from the first slice to the last and the normal of the slices:
        the tilt of the gantry, however the steps differ."""
        places = self.positions(headers)
        way = places[-1] - places[0]
        along = float(way @ np.array(self.normal))
        aside = float(np.linalg.norm(way - along * np.array(self.normal)))
        return float(np.degrees(np.arctan2(aside, abs(along))))

    def affine(self, headers: Sequence[Header]) -> NDArray[np.float64]:
        """(4, 4): (slice, row, column, 1) -> millimetres in the patient (PS3.3 equation C.7.6.2-1,
        with the step from the first to the last slice)."""
        between_rows, between_columns = self.header.kind.spacing or [1.0, 1.0]
        places = self.positions(headers)
        matrix = np.eye(4)
        matrix[:3, 0] = (places[-1] - places[0]) / max(1, len(places) - 1)
        matrix[:3, 1] = np.array(self.plane[3:]) * between_rows  # down a column
        matrix[:3, 2] = np.array(self.plane[:3]) * between_columns  # along a row
        matrix[:3, 3] = places[0]
        return matrix

    def directions(self) -> tuple[str, str, str]:
        """Where D, H and W lead, each by the patient's axis nearest to it: L or R, P or A, S or I
        (PS3.3 C.7.6.1.1.1, with S and I for head and foot)."""
        letters = []
        for direction in (self.normal, self.plane[3:], self.plane[:3]):
            axis = int(np.argmax(np.abs(direction)))
            letters.append(("LR", "PA", "SI")[axis][int(direction[axis] < 0)])
        return letters[0], letters[1], letters[2]


def stacks(headers: Sequence[Header | None]) -> list[Stack]:
    """The stacks in these files, in the order in which the files name them; None is passed over."""
    found: dict[tuple[object, ...], list[Stack]] = {}
    stack: Stack | None = None  # files of one stack usually follow each other
    for file, header in enumerate(headers):
        if header is None:
            continue
        kind = header.kind
        # Of a mosaic each file is a volume: the files of a series are times.
        own = file if kind.mosaic else None
        alike = (header.series, own, kind.rows, kind.columns, kind.channels)
        of_series = found.setdefault(alike, [])
        for frame in range(kind.frames):
            plane = header.plane(frame)
            same = stack is not None and stack in of_series and stack.plane == plane
            if not same or not _near(stack, kind.spacing):
                stack = next(
                    (
                        one
                        for one in of_series
                        if _parallel(one.plane, plane) and _near(one, kind.spacing)
                    ),
                    None,
                )
            if stack is None:
                stack = Stack(header, plane)
                of_series.append(stack)
            along = _dot(stack.normal, header.position(frame)) if plane else 0.0
            stack.slices.append(Slice(along, header.number, file, frame))
    every = [stack for of_series in found.values() for stack in of_series]
    every.sort(key=lambda stack: stack.slices[0].file)
    for stack in every:
        stack.slices.sort()
    return every


def places(found: Sequence[Stack]) -> NDArray[np.int32]:
    """(N, 2) file and frame of all slices, stack after stack."""
    return np.array([one[2:] for stack in found for one in stack.slices], dtype=np.int32)


def positions(found: Sequence[Stack]) -> NDArray[np.float64]:
    """(N, 3) the `stack` of a source of all slices, stack after stack."""
    return np.array(
        [
            (stack, number, one.along if of.plane else np.nan)
            for stack, of in enumerate(found)
            for number, one in enumerate(of.slices)
        ]
    )


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _near(stack: Stack | None, spacing: Sequence[float]) -> bool:
    """Whether the pixels of a stack are this far apart, but for rounding: 0.683594 and 0.68359375
    are written in one series."""
    own = stack.header.kind.spacing if stack else ()
    return len(own) == len(spacing) and all(
        abs(a - b) <= ROUNDED * a for a, b in zip(own, spacing, strict=True)
    )


def _parallel(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(
        abs(a - b) < PARALLEL for a, b in zip(one, other, strict=True)
    )
