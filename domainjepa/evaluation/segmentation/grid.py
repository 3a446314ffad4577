"""What a grid of positions can know of a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.encoder.upsampling import Numbers


def shares(classes: NDArray[np.int16], pitch: Sequence[float], number: int) -> Numbers:
    """The share of each class in the pixels of each position: (H, W) -> (h, w, K).

    What a perfect probe could know of a patch; pixels that are ignored count for none.
    """
    found: Numbers = (classes[..., None] == np.arange(number)).astype(np.float32)
    for axis, step in enumerate(pitch):
        side = found.shape[axis]
        starts = np.unique(np.floor(np.arange(0, side, step)).astype(np.int64))
        sums = np.add.reduceat(found, starts, axis=axis)
        sizes = np.diff(starts, append=side).reshape(-1, *[1] * (found.ndim - 1 - axis))
        found = (sums / sizes).astype(np.float32)
    return found
