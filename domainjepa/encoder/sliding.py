"""A network over an image or a volume of any size: windows, their overlap blended.

All is counted in positions of the network's map, so that windows meet on one lattice: position i
stands for the pixels from i * stride to (i + 1) * stride. What a window's border changes weighs
little where a neighbour sees the same place further inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from domainjepa.backbones.feature_maps import Grid, resized

Network = Callable[[Tensor], Tensor]
"""(B, C, *sides) -> (B, D, *positions)."""
Read = Callable[[Sequence[int], Sequence[int]], Tensor]
"""(first, last + 1) pixels along each axis -> (N, C, *sides) of that part; they may lie outside."""

MOST = {2: 2**20, 3: 2**20}
"""Pixels, and voxels, that go through a network at once."""
FEATURES = 2**26
"""Numbers that a network gives at once."""
WINDOW = {2: 512, 3: 96}
"""Pixels a side of a convolutional network's window, by dimensions, where they are not given."""


def patches_of(
    images: Tensor, network: Network, grid: Grid, window: int, overlap: float = 0.25
) -> Tensor:
    """A network's map of images of one size, (N, C, *sides) -> (N, D, *positions) on the CPU.

    Sides that are no multiple of the coarsest stride are filled up at their end with the values
    there.

    Args:
        images: as the network takes them.
        network: gives the map of a window.
        grid: of the network's map, see `feature_maps.grid_of`.
        window: pixels a side of what goes through the network at once; smaller images go whole,
            unless the network takes one size alone, which this is then.
        overlap: of neighbouring windows at least, as a share of their side, below 1.
    """
    sides = images.shape[2:]
    multiple = max(grid.stride, grid.coarsest)
    full = [max(-(-side // multiple) * multiple, window if grid.fixed else 0) for side in sides]
    missing = [there - side for there, side in zip(full, sides, strict=True)]
    filled = images
    if any(missing):
        ends = [end for more in reversed(missing) for end in (0, more)]
        filled = functional.pad(images, ends, mode="replicate")

    def read(start: Sequence[int], stop: Sequence[int]) -> Tensor:
        return filled[part(start, stop)]

    return slide(sides, read, network, grid, window, overlap)


def slide(
    sides: Sequence[int], read: Read, network: Network, grid: Grid, window: int, overlap: float
) -> Tensor:
    """`patches_of` of what is read in parts: (N, D, *positions) float32 on the CPU."""
    stride = grid.stride
    positions = [-(-side // stride) for side in sides]
    extent = [max(window // stride, 1)] * len(sides)
    if not grid.fixed:
        whole = max(grid.coarsest // stride, 1)  # positions that one of the coarsest map covers
        widest = max(extent[0] // whole, 1) * whole
        extent = [min(widest, -(-count // whole) * whole) for count in positions]
    starts = [_along(*axis, overlap) for axis in zip(positions, extent, strict=True)]
    places = list(product(*starts))
    count = math.prod(extent)
    at_once = min(
        MOST[len(sides)] // (count * stride ** len(sides)), FEATURES // (count * grid.width)
    )
    weight = _weight(extent, overlap)
    most = [max(count, width) for count, width in zip(positions, extent, strict=True)]
    total, weights = torch.zeros(()), torch.zeros(most)
    for first in range(0, len(places), max(at_once, 1)):
        some = places[first : first + max(at_once, 1)]
        seen = [read(*_pixels(place, extent, stride)) for place in some]
        maps = fitted(network(torch.cat(seen)), extent).float().cpu()
        for place, one in zip(some, torch.split(maps, len(seen[0])), strict=True):
            if len(places) == 1:
                return one[part([0] * len(sides), positions)]
            if not total.ndim:
                total = torch.zeros(*one.shape[:2], *most)
            where = part(place, [b + e for b, e in zip(place, extent, strict=True)])
            total[where] += weight * one
            weights[where] += weight
    return total.div_(weights)[part([0] * len(sides), positions)]


def part(start: Sequence[int], stop: Sequence[int]) -> Any:
    """The index of a box along the last axes."""
    return (..., *(slice(first, last) for first, last in zip(start, stop, strict=True)))


def fitted(maps: Tensor, positions: Sequence[int]) -> Tensor:
    """Maps with as many positions as the stride promises: borders may add one or lack some.

    Stems with an even kernel and a stride of one give one more at the end; networks that pad
    nothing give fewer, which are spread over the image.
    """
    wanted = [max(got, count) for got, count in zip(maps.shape[2:], positions, strict=True)]
    return resized(maps, wanted)[part([0] * len(positions), positions)]


def _pixels(
    place: Sequence[int], extent: Sequence[int], stride: int
) -> tuple[list[int], list[int]]:
    """First pixel and the one after the last along each axis."""
    start = [first * stride for first in place]
    return start, [b + e * stride for b, e in zip(start, extent, strict=True)]


def _along(positions: int, extent: int, overlap: float) -> list[int]:
    """Where windows begin along an axis: as few as can be, evenly, the outer ones flush."""
    if positions <= extent:
        return [0]
    step = max(extent - round(overlap * extent), 1)
    count = 1 + math.ceil((positions - extent) / step)
    return [int(one) for one in np.linspace(0, positions - extent, count).round()]


def _weight(extent: Sequence[int], overlap: float) -> Tensor:
    """(*extent): 1 inside, falling linearly over the overlap towards every side."""
    weight = torch.ones(())
    for width in extent:
        place = torch.arange(width) + 0.5
        ramp = torch.minimum(place, width - place) / max(overlap * width, 0.5)
        weight = weight[..., None] * ramp.clamp(max=1)
    return weight
