"""Slices of volumes as images, with neighbouring slices as further channels (2.5-D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.masks.masks import Mask
from domainjepa.data.parts.parts import PartsSource, Region, bytes_of, find_parts, inherited
from domainjepa.data.parts.recent import MOST_BYTES
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.errors import DataError, did_you_mean

COARSER = 1.5
"""An axis whose spacing is so many times that of both others is the one that the scanner sliced."""

CLOSE = 3
"""Slices of which so few lie between, less one, are read together with these."""
MOST_AT_ONCE = 2**26
"""Bytes of a volume that are read together, unless one slice takes more."""

_ORDER = {**dict.fromkeys("SI", 0), **dict.fromkeys("AP", 1), **dict.fromkeys("LR", 2)}
_BACKWARD = ("I", "A", "R")
_AGAINST = ("S", "A", "R")
"""Pictures run down to inferior, else posterior, and across to posterior, else the left."""


@dataclass(kw_only=True)
class SlicesSource(PartsSource):
    """Slices of volumes along one axis.

    Attributes:
        axis: 0, 1 or 2 of D, H, W.
        neighbours: slices on either side that are further channels.
        plane: the axes of the volume that are H and W of a slice.
        flipped: axes of the slice, 0 and 1, that are turned round.
        backward: whether neighbours come from high to low.
        lengths: (volumes,) slices of each volume along the axis, empty ones too.
        keep: keep whole volumes. Most formats store planes along D, and a slice across them takes
            all of the volume to read.
    """

    axis: int
    neighbours: int
    plane: tuple[int, int]
    flipped: tuple[int, ...]
    backward: bool
    lengths: NDArray[np.int64] = field(repr=False)
    keep: bool

    def read(self, index: int) -> Image:
        return self._run([index])[0]

    def read_all(self, indices: Sequence[int]) -> list[Image]:
        runs: list[list[int]] = []
        for index in indices:
            if runs and self._near(runs[-1], index):
                runs[-1].append(index)
            else:
                runs.append([index])
        return [image for run in runs for image in self._run(run)]

    def _near(self, run: list[int], index: int) -> bool:
        """Whether a slice is of the volume of a run and so close behind that one read is less."""
        number, first, last = (int(self.start[one, self.axis]) for one in (index, run[0], run[-1]))
        sides = np.delete(self.stop[index] - self.start[index], self.axis).tolist()
        block = bytes_of(self.whole, [*sides, number - first + 1 + 2 * self.neighbours])
        same = self.of[run[0]] == self.of[index]
        return bool(same) and number - last <= CLOSE and block <= MOST_AT_ONCE

    def _run(self, run: list[int]) -> list[Image]:
        """Slices of one volume, from low to high, by one read."""
        volume = int(self.of[run[0]])
        last = int(self.lengths[volume]) - 1
        reach = np.arange(-self.neighbours, self.neighbours + 1)
        wanted = [(self.start[one, self.axis] + reach).clip(0, last) for one in run]
        start, stop = self.start[run[0]].tolist(), self.stop[run[0]].tolist()
        first = start[self.axis] = int(wanted[0][0])
        stop[self.axis] = int(wanted[-1][-1]) + 1
        block = self.cut(volume, start, stop, keep=self.keep).transpose(*self.plane, self.axis, 3)
        images = []
        for slices in wanted:
            # (H, W, slices, C) -> (H, W, slices * C)
            order = slices[::-1] if self.backward else slices
            image = block[:, :, order - first].reshape(*block.shape[:2], -1)
            images.append(np.ascontiguousarray(np.flip(image, self.flipped)))
        return images

    def within(self, index: int, mask: Mask) -> Mask:
        start, stop = self.start[index].tolist(), self.stop[index].tolist()
        block = mask[tuple(map(slice, start, stop))].transpose(*self.plane, self.axis)
        return np.flip(block[..., 0], self.flipped)

    def content_key(self) -> str:
        return f"{self.whole.content_key()} slices {self.axis} {self.neighbours}"


def slices(volumes: Source, options: OpenOptions) -> Source:
    """Every slice along `options.axis` that is not empty, an image (H, W, (2n + 1) * C).

    A volume source may tell how its axes lie in the patient: `axes`, such as ("axial", "coronal",
    "sagittal"), names D, H, W by the slices that each one counts; `directions`, such as ("S", "P",
    "L"), says where each one leads. With directions, slices are turned as a radiologist is used to:
    anterior or superior at the top, the patient's left at the right.

    Neighbours come from low to high, all channels of one slice together; with directions from
    inferior, front or right, whatever way the volume was stored. Beyond an end the last slice is
    repeated.

    Args:
        volumes: a volumetric source; its volumes may differ in size.
        options: axis and neighbours.

    Raises:
        DataError: the source has no such axis, or all slices are empty.
    """
    axes: tuple[str, ...] | None = getattr(volumes, "axes", None)
    directions: tuple[str, ...] | None = getattr(volumes, "directions", None)
    axis = axis_of(options.axis, axes, volumes)

    def divide(sides: tuple[int, ...]) -> list[Region]:
        regions = []
        for number in range(sides[axis]):
            start, stop = [0, 0, 0], list(sides)
            start[axis], stop[axis] = number, number + 1
            regions.append((tuple(start), tuple(stop)))
        return regions

    found = find_parts(volumes, f"slices {axis}", divide)
    plane = _plane(axis, directions)
    sides = found.sides[found.of[0]]
    width = 2 * options.neighbours + 1
    source = SlicesSource(
        bands=volumes.bands if width == 1 else None,
        **inherited(volumes, found, found.start[:, axis].astype(str).tolist()),
        shape=(sides[plane[0]], sides[plane[1]], width * volumes.channels),
        axis=axis,
        neighbours=options.neighbours,
        plane=plane,
        flipped=tuple(
            place for place in (0, 1) if directions and directions[plane[place]] in _AGAINST
        ),
        backward=directions is not None and directions[axis] in _BACKWARD,
        lengths=np.array([sides[axis] for sides in found.sides], dtype=np.int64),
        keep=axis > 0 and max(bytes_of(volumes, one) for one in found.sides) <= MOST_BYTES,
    )
    numbers = found.start[:, axis]
    along = np.full(len(found.of), np.nan)
    if volumes.spacings is not None:
        along = numbers * volumes.spacings[found.of, axis]
    source.stack = np.column_stack([found.of, numbers, along])
    if volumes.spacings is not None:
        source.spacings = volumes.spacings[found.of][:, plane]
        steps = np.median(source.spacings, axis=0)
        if steps.max() >= COARSER * steps.min():
            source.warnings.append(
                f"pixels are not square: {steps[0]:.3g} x {steps[1]:.3g} mm. Slices along another "
                "axis (data.axis), or volumes (data.dimensions=3), show the true shape"
            )
    named = f"{axes[axis]} slices" if axes else "slices"
    source.decisions.append(
        f"slices: {len(source):,} {named} along axis {axis} of {len(volumes):,} volumes; "
        f"{found.left_out}"
    )
    if options.neighbours:
        leading = {"axial": "inferior to superior", "coronal": "front to back"}
        order = leading.get(axes[axis], "right to left") if directions and axes else "low to high"
        source.decisions.append(f"channels: {width} slices, from {order} (data.neighbours)")
    return source


def _plane(axis: int, directions: tuple[str, ...] | None) -> tuple[int, int]:
    """The axes that are H and W of a slice: upright ones first, then those from front to back."""
    first, second = (other for other in range(3) if other != axis)
    if directions and _ORDER[directions[first]] > _ORDER[directions[second]]:
        return second, first
    return first, second


def axis_of(told: str | None, axes: tuple[str, ...] | None, volumes: Source) -> int:
    """The axis that the user names, else the one of single slices, else the one with far coarser
    steps, else the first."""
    if told is None:
        if 1 in volumes.shape[:3]:
            return volumes.shape.index(1)
        if volumes.spacings is not None:
            steps = np.median(volumes.spacings, axis=0)
            coarsest = int(np.argmax(steps))
            if steps[coarsest] >= COARSER * np.delete(steps, coarsest).max():
                return coarsest
        return 0
    names = {str(number): number for number in range(3)}
    names |= {name: number for number, name in enumerate(axes or ())}
    if told.lower() in names:
        return names[told.lower()]
    why = "" if axes else " It does not tell how its axes lie in the patient."
    raise DataError(
        f"data.axis = {told!r}: {volumes.name} has no such axis.{why}{did_you_mean(told, names)}"
    )
