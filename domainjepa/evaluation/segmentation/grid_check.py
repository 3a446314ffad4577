"""Whether positions of patch features are too far apart for the structures of training masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.encoder import grid_loss
from domainjepa.evaluation.segmentation.seen import Seen
from domainjepa.evaluation.splits import Rows


def left_of(seen: Seen, rows: Rows, pitch: Sequence[float]) -> NDArray[np.float64]:
    """(K,) Dice that a grid leaves of each class that is scored, see `grid_loss.grid_dice`.

    Args:
        seen: masks.
        rows: of the training images.
        pitch: pixels from position to position along each axis.
    """
    masks = grid_loss.looked_at(rows, seen.mask).values()
    every = grid_loss.grid_dice([(mask, pitch) for mask in masks], range(len(seen.classes)))
    return every[list(seen.classes.scored)]


def keeps(seen: Seen, rows: Rows) -> Callable[[float], bool]:
    """Whether a grid of so many pixels from position to position keeps every structure of the
    masks of these rows."""
    axes = len(seen.source.shape) - 1
    known: dict[float, bool] = {}

    def kept(pitch: float) -> bool:
        if pitch not in known:
            known[pitch] = grid_loss.keeps(left_of(seen, rows, (pitch,) * axes))
        return known[pitch]

    return kept


def too_coarse(encoder: str, pitch: Sequence[float], seen: Seen, rows: Rows) -> str | None:
    """A warning where the grid of an encoder loses structures whatever its features say."""
    left = left_of(seen, rows, pitch)
    if grid_loss.keeps(left):
        return None
    return (
        f"{encoder}: its patch features are {max(pitch):.3g} pixels apart, too far for these "
        "structures. The masks themselves, brought to that grid and back, keep a Dice of "
        f"{grid_loss.shown(seen.classes.scored_names, left)}. Read finer layers ([patches] layers "
        "of the protocol), enlarge the images (scale = 2), or pretrain with a smaller stride "
        "(--set backbone.stem_reduction=4)"
    )
