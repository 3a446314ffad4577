"""Which parts of a sample have nothing on them: air, sky outside the mosaic, glass, padding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST_SHARE = 0.01
"""Of the pixels of a part that must differ from the background."""
TOLERANCE = 0.1
"""Of the range of a sample's values: how far background reaches from its level, and how near an end
of the range that level has to be."""
RULE = (
    f"fewer than {SMALLEST_SHARE:.0%} of their pixels differ from the background (NaN, one value "
    f"throughout, or values within {TOLERANCE:.0%} of the sample's most frequent one where that is "
    "its darkest or brightest)"
)
_BINS = 50


def background(pixels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values that are background, from low to high, by channel; NaN where there is none.

    The most frequent of 50 levels between the 1st and the 99th percentile, if it lies within a
    tenth of one end: all values beyond it on that side, and those within a tenth on the other.

    Args:
        pixels: (n, C).

    Returns:
        Two arrays (C,).
    """
    low, high = np.full((2, pixels.shape[1]), np.nan)
    for channel, values in enumerate(pixels.T.astype(np.float64)):
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        first, last = np.percentile(values, (1, 99))
        reach = TOLERANCE * (last - first)
        if reach == 0:
            low[channel] = high[channel] = first
            continue
        counts, edges = np.histogram(values, bins=_BINS, range=(first, last))
        level = edges[counts.argmax() : counts.argmax() + 2].mean()
        if level - first <= reach:
            low[channel], high[channel] = -np.inf, level + reach
        elif last - level <= reach:
            low[channel], high[channel] = level - reach, np.inf
    return low, high


def something(
    pixels: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(…, C) -> (…): the pixels that are not background in every channel."""
    nothing: NDArray[np.bool_] = np.asarray((pixels >= low) & (pixels <= high))
    if pixels.dtype.kind == "f":
        nothing = nothing | np.isnan(pixels)
    found: NDArray[np.bool_] = np.asarray(~nothing.all(axis=-1))
    return found


def holds_something(
    part: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64]
) -> bool:
    """Whether a part (…, C) is more than background and more than one value."""
    pixels = part.reshape(-1, part.shape[-1])
    if something(pixels, low, high).mean() < SMALLEST_SHARE:
        return False
    return bool((np.fmin.reduce(pixels) < np.fmax.reduce(pixels)).any())
