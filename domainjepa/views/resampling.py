"""Cubes of a volume in millimetres, resampled in one interpolation to an isotropic grid.

The voxels of a scan are rarely cubes: slices of 5 mm with pixels of 0.7 mm are common. A network
with cubic kernels wants cubic voxels, and a rotation only makes sense in millimetres.

A place is three millimetres along D, H, W from the outer corner of the first voxel: voxel i has its
centre at (i + 0.5) * spacing, and the volume ends at shape * spacing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from domainjepa.data.parts.regions import spread_depths, spread_slices
from domainjepa.data.source import Source
from domainjepa.data.storage.large import Large
from domainjepa.domains.intensity import Intensity

Place = NDArray[np.float64]
Image = NDArray[Any]
OWN_SLICES = 32
"""Slices that a volume's own scale is measured on, where the intensity has one."""


@dataclass(frozen=True)
class Cube:
    """Where a view looks, and how finely.

    Attributes:
        centre: (3,) mm.
        side: mm.
        size: voxels a side of what comes out.
        axes: (3, 3), orthonormal: its columns are the directions of the view's D, H, W.
    """

    centre: Place
    side: float
    size: int
    axes: NDArray[np.float64]

    @property
    def step(self) -> float:
        """Millimetres from voxel to voxel."""
        return self.side / self.size

    def bounds(self) -> tuple[Place, Place]:
        """The corners of the box along the volume's axes that holds the cube, mm."""
        half = self.side / 2 * np.abs(self.axes).sum(axis=1)
        return self.centre - half, self.centre + half


@dataclass(frozen=True)
class Volume:
    """A scan that is read in parts.

    Attributes:
        sides: (D, H, W) voxels.
        spacing: (3,) mm.
        read: (start, stop) in voxels -> (d, h, w, C) float32 on the 0..1 scale, after the
            intensity.
        large: what is known of one that is too large to be read whole; else None.
    """

    sides: tuple[int, int, int]
    spacing: Place
    read: Callable[[Sequence[int], Sequence[int]], NDArray[np.float32]]
    large: Large | None = None

    @property
    def extent(self) -> Place:
        """(3,) mm."""
        return np.asarray(self.sides) * self.spacing

    @classmethod
    def of_row(cls, source: Source, row: int, intensity: Callable[[Image], Image]) -> Volume:
        """A volume of a source, read whole where its format cannot be read in parts.

        For the intensity see `own_scale`.
        """
        spacing = spacing_of(source, row)
        if not source.reads_parts:
            return cls.of_array(source[row], spacing, intensity)
        depth, height, width = source.sides(row)

        def read(start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
            return unit_scale(intensity(source.region(row, start, stop)))

        return cls((depth, height, width), spacing, read, source.large(row))

    @classmethod
    def of_array(
        cls, array: Image, spacing: ArrayLike, intensity: Callable[[Image], Image]
    ) -> Volume:
        """A volume in memory, (D, H, W, C)."""

        def read(start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
            part = tuple(slice(first, last) for first, last in zip(start, stop, strict=True))
            return unit_scale(intensity(array[part]))

        depth, height, width = array.shape[:3]
        return cls((depth, height, width), np.asarray(spacing, np.float64), read)

    def block(self, cubes: Sequence[Cube]) -> Block:
        """The part of the volume that these cubes need, read once."""
        start, stop = self.needed(cubes)
        values = torch.from_numpy(self.read(start.tolist(), stop.tolist()))
        return Block(values.permute(3, 0, 1, 2)[None], start * self.spacing, self.spacing)

    def to_fewest_chunks(self, cubes: Sequence[Cube]) -> Place:
        """(3,) mm: how far to shift cubes so that few chunks are read for them."""
        if self.large is None or self.large.grid is None:
            return np.zeros(3)
        shift: Place = self.large.grid.to_fewest(*self.needed(cubes), self.sides) * self.spacing
        return shift

    def needed(self, cubes: Sequence[Cube]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and stop, in voxels, of the part of the volume that these cubes need."""
        bounds = [cube.bounds() for cube in cubes]
        low = np.min([one for one, _ in bounds], axis=0)
        high = np.max([one for _, one in bounds], axis=0)
        margin = np.max([_bins(cube.step, self.spacing) for cube in cubes], axis=0)
        return _voxels(low, high, self.spacing, margin, np.asarray(self.sides))


@dataclass(frozen=True)
class Block:
    """A part of a volume in memory.

    Attributes:
        values: (1, C, d, h, w) float32.
        corner: (3,) mm, where it begins.
        spacing: (3,) mm.
    """

    values: Tensor
    corner: Place
    spacing: Place

    def sample(self, cube: Cube) -> Tensor:
        """(C, size, size, size) float32: trilinear, averaged first where the cube is coarser than
        the voxels; 0 outside of the volume, which is the level of air."""
        bins, sides = _bins(cube.step, self.spacing), np.array(self.values.shape[2:])
        low, high = cube.bounds()
        start, stop = _voxels(low - self.corner, high - self.corner, self.spacing, bins, sides)
        (d0, h0, w0), (d1, h1, w1) = start.tolist(), stop.tolist()
        part = self.values[:, :, d0:d1, h0:h1, w0:w1]
        bins = np.minimum(bins, stop - start)
        if bins.max() > 1:
            # Trilinear interpolation sees two voxels an axis: a coarser grid would skip some. What
            # is left over at the volume's end is averaged, too.
            part = functional.avg_pool3d(part, tuple(bins.tolist()), ceil_mode=True)
        # From the cube's own coordinates, -1 to 1, to those of the part (torch: grid_sample).
        scale = 2 / (np.array(part.shape[2:]) * bins * self.spacing)
        matrix = cube.side / 2 * cube.axes * scale[:, None]
        offset = (cube.centre - self.corner - start * self.spacing) * scale - 1
        ends = (stop - start) * self.spacing * scale - 1  # 1, but for what was left over
        along = torch.linspace(1 / cube.size - 1, 1 - 1 / cube.size, cube.size)
        d, h, w = along[:, None, None], along[None, :, None], along[None, None, :]
        grid = torch.stack(
            [
                d * matrix[axis, 0] + h * matrix[axis, 1] + w * matrix[axis, 2] + offset[axis]
                for axis in (2, 1, 0)  # x, y, z
            ],
            dim=-1,
        )
        sampled = functional.grid_sample(
            part, grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )[0]
        reach = np.abs(matrix).sum(axis=1)
        if (offset - reach < -1).any() or (offset + reach > ends).any():
            last = torch.tensor(ends[::-1].copy(), dtype=grid.dtype)
            sampled[:, ((grid < -1) | (grid > last)).any(-1)] = 0.0
        return sampled


def own_scale(source: Source, row: int, intensity: Intensity) -> Intensity:
    """The intensity of one volume: where it has a scale of its own, that of its slices.

    A part must not be scaled by what is in the part alone.
    """
    return intensity.of(lambda: spread_slices(source, row, OWN_SLICES))


def own_scale_of_array(volume: Image, intensity: Intensity) -> Intensity:
    """`own_scale` of a volume (D, H, W, C) that comes as an array: measured on the same slices."""
    return intensity.of(lambda: volume[spread_depths(len(volume), OWN_SLICES)])


def spacing_of(source: Source, row: int) -> Place:
    """(3,) mm; 1 along an axis where the format does not tell."""
    if source.spacings is None:
        return np.ones(3)
    spacing = np.asarray(source.spacings[row], np.float64)
    return np.where(np.isfinite(spacing) & (spacing > 0), spacing, 1.0)


def unit_scale(values: Image) -> NDArray[np.float32]:
    """Values after an intensity as float32 on the 0..1 scale: uint8 is divided by 255."""
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(values, dtype=np.float32)


def _bins(step: float, spacing: Place) -> NDArray[np.int64]:
    """(3,) voxels to average along each axis for a grid of this step."""
    return np.maximum(np.floor(step / spacing + 1e-6), 1).astype(np.int64)


def _voxels(
    low: Place, high: Place, spacing: Place, margin: NDArray[np.int64], sides: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First voxel and the one after the last of a box in mm, with a margin, inside the volume."""
    start = np.clip(np.floor(low / spacing).astype(np.int64) - margin, 0, sides - 1)
    stop = np.clip(np.ceil(high / spacing).astype(np.int64) + margin, start + 1, sides)
    return start, stop
