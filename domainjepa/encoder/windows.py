"""A whole volume through an encoder of regions: windows that cover it, their features averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from domainjepa.views.resampling import Cube, Place, Volume
from domainjepa.views.volume_views import BLANK

MOST_VOXELS = 2**21
"""Voxels that go through the network at once: 8 windows of 64 voxels a side."""


def windows(extent: Place, side: float, size: int) -> list[Cube]:
    """Cubes that cover a volume, as few as can: the first and the last along an axis are flush with
    its ends and the others evenly between, so they overlap; in its middle along a thinner axis.

    Args:
        extent: (3,) mm of the volume.
        side: mm of a cube.
        size: voxels a side of a cube.
    """
    along = []
    for length in extent.tolist():
        count = max(int(np.ceil(length / side - 1e-6)), 1)
        first = side / 2 if count > 1 else length / 2
        along.append(np.linspace(first, length - first, count))
    return [Cube(np.array(centre), side, size, np.eye(3)) for centre in product(*along)]


def window_batches(volume: Volume, cubes: Sequence[Cube]) -> Iterator[Tensor]:
    """The windows that show something, (B, C, S, S, S) float32 a batch; each is read by itself.

    One whose values vary less than `BLANK` shows air, and no such region was trained on; where all
    of them do, the first one stands for the volume.
    """
    shown, at_once = 0, max(MOST_VOXELS // cubes[0].size ** 3, 1)
    for first in range(0, len(cubes), at_once):
        some = cubes[first : first + at_once]
        made = [volume.block([cube]).sample(cube) for cube in some]
        made = [window for window in made if float(window.std()) > BLANK]
        shown += len(made)
        if made:
            yield torch.stack(made)
    if not shown:
        yield volume.block(cubes[:1]).sample(cubes[0])[None]
