"""From the positions of a grid to pixels: linear interpolation between their centres.

Position i along an axis stands for the pixels from i * pitch to (i + 1) * pitch and has its centre
between them. The weights of an interpolation add up to 1, so an affine map of interpolated features
is the interpolated map of features: a probe is fitted on the former and applied as the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]


def at_pixels(features: Numbers, pitch: Sequence[float], pixels: NDArray[np.int64]) -> Numbers:
    """Features at some pixels.

    Args:
        features: (h, w, D) or (d, h, w, D).
        pitch: pixels from position to position along each axis.
        pixels: (n, axes).

    Returns:
        (n, D) float32.
    """
    ends = [
        _neighbours(pixels[:, axis], pitch[axis], features.shape[axis])
        for axis in range(pixels.shape[1])
    ]
    found = np.zeros((len(pixels), features.shape[-1]), np.float32)
    for corner in product((0, 1), repeat=len(ends)):
        place = tuple(end[one] for end, one in zip(ends, corner, strict=True))
        weight = np.ones(len(pixels), np.float32)
        for (_, _, share), one in zip(ends, corner, strict=True):
            weight = weight * (share if one else 1 - share)
        if weight.any():
            found += weight[:, None] * features[place]
    return found


def _neighbours(
    pixels: NDArray[np.int64], pitch: float, positions: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Numbers]:
    """The positions before and after each pixel's centre, and the share of the later one."""
    place = np.clip((pixels + 0.5) / pitch - 0.5, 0, positions - 1)
    before = np.minimum(place.astype(np.int64), max(positions - 2, 0))
    return before, np.minimum(before + 1, positions - 1), (place - before).astype(np.float32)


def upsampled(values: Numbers, pitch: Sequence[float], sides: Sequence[int]) -> Numbers:
    """What was found for positions, such as scores, for every pixel.

    Args:
        values: (h, w, K), or (d, h, w, K).
        pitch: pixels from position to position along each axis.
        sides: of the image, in pixels.

    Returns:
        (*sides, K) float32; beyond the outermost centres the values there.
    """
    found = values.astype(np.float32, copy=False)
    for axis, side in enumerate(sides):
        first, second, share = _neighbours(np.arange(side), pitch[axis], values.shape[axis])
        along = share.reshape(-1, *[1] * (values.ndim - 1 - axis))
        if share.any() or len(first) != values.shape[axis]:
            found = (1 - along) * found.take(first, axis) + along * found.take(second, axis)
    return np.ascontiguousarray(found)
