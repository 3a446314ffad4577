"""What a grid of positions loses of masks, whatever the features at its positions say.

Of every position the share of each class in its pixels is taken, brought back to the pixels as
scores of a probe are, and the largest one wins: what a perfect probe of a patch's own content would
answer. Whoever warns of a stride, or chooses one, asks for the Dice of that answer.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.encoder.upsampling import Numbers, upsampled
from domainjepa.errors import DataError

ENOUGH = 0.9
"""Dice that a grid should leave of every structure."""
LOOKED_AT = 32
"""Masks that are looked at, at most."""
PIXELS = 2**25
"""Of all of them together, about, and one mask at least."""


def looked_at(
    rows: NDArray[np.int64], read: Callable[[int], NDArray[np.integer]]
) -> dict[int, NDArray[np.integer]]:
    """The masks of some of these rows, evenly spaced; those that cannot be read are left out, which
    is told where masks are read for their own sake."""
    found: dict[int, NDArray[np.integer]] = {}
    places = np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(np.int64)
    for row in rows[places].tolist():
        with contextlib.suppress(DataError):
            found[row] = read(row)
        if sum(mask.size for mask in found.values()) >= PIXELS:
            break
    return found


def grid_dice(
    masks: Iterable[tuple[NDArray[np.integer], Sequence[float]]], values: Sequence[int]
) -> NDArray[np.float64]:
    """Dice (1945) that is left of each class when masks are brought to a grid and back.

    Args:
        masks: (H, W) or (D, H, W), and the pixels from position to position along each axis.
        values: of the classes in the masks; pixels of others are ignored.

    Returns:
        (K,), 0 to 1, pixels of all masks counted together; NaN where no mask has the class.
    """
    counts = np.zeros((3, len(values)))
    for mask, pitch in masks:
        best = np.full(mask.shape, -1, np.float32)
        said = np.zeros(mask.shape, np.int16)
        for place, value in enumerate(values):  # one by one: scores of all would not fit
            score = upsampled(shares(mask == value, pitch)[..., None], pitch, mask.shape)[..., 0]
            said[score > best] = place
            np.maximum(best, score, out=best)
        known = np.isin(mask, values)
        for place, value in enumerate(values):
            marks, answer = mask == value, (said == place) & known
            counts[:, place] += (marks & answer).sum(), marks.sum(), answer.sum()
    both, truth, answers = counts
    dice = np.full(len(values), np.nan)
    np.divide(2 * both, truth + answers, out=dice, where=truth > 0)
    return dice


def shares(marks: NDArray[np.bool_], pitch: Sequence[float]) -> Numbers:
    """The share of a class in what each position stands for: (H, W) -> (h, w) float32.

    Position i is what lies from i * pitch to (i + 1) * pitch, parts of pixels counted as such.
    """
    found = marks.astype(np.float64)
    for axis, step in enumerate(pitch):
        side = found.shape[axis]
        edges = np.minimum(np.arange(math.ceil(side / step - 1e-6) + 1) * step, side)
        whole = np.minimum(edges.astype(np.int64), side - 1)
        along = (-1, *[1] * (found.ndim - 1 - axis))
        before = np.cumsum(found, axis).take(whole, axis) - found.take(whole, axis)
        areas = before + (edges - whole).reshape(along) * found.take(whole, axis)
        found = np.diff(areas, axis=axis) / np.diff(edges).reshape(along)
    return found.astype(np.float32)


def keeps(left: NDArray[np.float64]) -> bool:
    """Whether a grid leaves `ENOUGH` of every structure, as far as any mask has it."""
    known = left[np.isfinite(left)]
    return bool((known >= ENOUGH).all())


def shown(names: Sequence[str], left: NDArray[np.float64]) -> str:
    """The structures that a grid loses, and what it leaves of each, in words; the first five."""
    lost = [(name, dice) for name, dice in zip(names, left, strict=True) if dice < ENOUGH]
    return ", ".join(f"{name} {100 * dice:.0f} %" for name, dice in lost[:5])
