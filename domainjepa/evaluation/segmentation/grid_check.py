"""Whether positions of patch features are too far apart for the structures that masks show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from domainjepa.encoder.upsampling import upsampled
from domainjepa.evaluation.metrics.of_masks import overlaps
from domainjepa.evaluation.segmentation.grid import shares
from domainjepa.evaluation.segmentation.seen import Seen
from domainjepa.evaluation.splits import Rows

LOOKED_AT = 8
"""Training images that are looked at."""
ENOUGH = 0.9
"""Dice that a grid should leave of every structure."""


def grid_dice(pitch: tuple[float, ...], seen: Seen, rows: Rows) -> dict[str, float]:
    """Class -> Dice that is left of the masks themselves when they are brought to a grid and back.

    Of every position the share of each class is taken, upsampled as a probe's scores are, and the
    largest one wins: what a perfect probe of a patch's own content would reach.
    """
    scored = seen.classes.scored
    counts = np.zeros((3, len(scored)))
    for row in rows[np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).astype(int))].tolist():
        truth = seen.mask(row)
        guess = upsampled(shares(truth, pitch, len(seen.classes)), pitch, truth.shape).argmax(-1)
        for place, one in enumerate(scored):
            is_so, said = truth == one, (guess == one) & (truth >= 0)
            counts[:, place] += (is_so & said).sum(), is_so.sum(), said.sum()
    dice, _ = overlaps(*counts)
    return dict(zip(seen.classes.scored_names, dice.tolist(), strict=True))


def keeps(seen: Seen, rows: Rows) -> Callable[[float], bool]:
    """Whether a grid of so many pixels from position to position keeps every structure of the
    masks of these rows: what `grid_dice` leaves is `ENOUGH`."""
    axes = len(seen.source.shape) - 1
    known: dict[float, bool] = {}

    def kept(pitch: float) -> bool:
        if pitch not in known:
            known[pitch] = min(grid_dice((pitch,) * axes, seen, rows).values()) >= ENOUGH
        return known[pitch]

    return kept


def too_coarse(encoder: str, pitch: tuple[float, ...], seen: Seen, rows: Rows) -> str | None:
    """A warning where the grid of an encoder loses structures whatever its features say."""
    lost = {name: dice for name, dice in grid_dice(pitch, seen, rows).items() if dice < ENOUGH}
    if not lost:
        return None
    listed = ", ".join(f"{name} {100 * dice:.0f} %" for name, dice in list(lost.items())[:5])
    return (
        f"{encoder}: its patch features are {max(pitch):.3g} pixels apart, too far for these "
        f"structures. The masks themselves, brought to that grid and back, keep a Dice of {listed}."
        " Read finer layers ([patches] layers of the protocol), enlarge the images (scale = 2), or "
        "pretrain with a smaller stride (--set backbone.stem_reduction=4)"
    )
