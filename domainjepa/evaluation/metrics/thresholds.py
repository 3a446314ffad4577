"""What is read off a threshold that moves: areas under curves, sensitivity, and the curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Ranked:
    """One class or label by its probability, in R test sets.

    Attributes:
        yes, no: (R, T) integers, positives and negatives at each different score, descending.
        found, false: (R, T) their sums down to that score.
        scores: (T,).
    """

    yes: Counts
    no: Counts
    found: Counts
    false: Counts
    scores: Array

    @classmethod
    def of(cls, positive: NDArray[Any], score: NDArray[Any], often: Counts) -> Ranked:
        """(n,) truth, (n,) score, (R, n) how often each test set holds a sample."""
        order = np.argsort(-score, kind="stable")
        descending = score[order]
        starts = np.flatnonzero(np.r_[True, descending[1:] != descending[:-1]])
        every = often.take(order, axis=1)
        yes = every * positive[order]
        if len(starts) < len(order):
            every, yes = (np.add.reduceat(one, starts, axis=1) for one in (every, yes))
        no = every - yes
        return cls(yes, no, yes.cumsum(axis=1), no.cumsum(axis=1), descending[starts])

    @property
    def positives(self) -> Array:
        """(R,) how many there are."""
        return self.found[:, -1].astype(np.float64)

    @property
    def negatives(self) -> Array:
        """(R,) how many there are."""
        return self.false[:, -1].astype(np.float64)


def _ratio(part: Array, whole: Array) -> Array:
    found: Array = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return found


def area_under_roc(ranked: Ranked) -> Array:
    """Share of pairs (positive, negative) in the right order, ties half."""
    # Twice the negatives that a positive loses to.
    lost = np.einsum("rt,rt->r", ranked.yes, 2 * ranked.false - ranked.no).astype(np.float64) / 2
    return 1 - _ratio(lost, ranked.positives * ranked.negatives)


def average_precision(ranked: Ranked) -> Array:
    """The area under precision and recall: the mean over recall of the precision, as scikit-learn
    defines it."""
    precision = ranked.found / np.maximum(ranked.found + ranked.false, 1)
    return _ratio(np.einsum("rt,rt->r", precision, ranked.yes), ranked.positives)


def sensitivity_at(specificity: float, ranked: Ranked) -> Array:
    """The largest share of positives found where at least this share of negatives is left alone.

    NaN without positives or negatives.
    """
    # A hair more: 0.9 of 50 negatives is 45, whatever floats make of it.
    allowed = (1 - specificity) * ranked.negatives[:, None] * (1 + 1e-9) + 1e-9
    found = np.where(ranked.false <= allowed, ranked.found, 0).max(axis=1).astype(np.float64)
    return np.where(ranked.negatives > 0, _ratio(found, ranked.positives), np.nan)


def roc_curve(ranked: Ranked) -> tuple[Array, Array]:
    """False and true positive rates of the first test set, (T + 1,) each, from (0, 0) to (1, 1)."""
    false, found = ranked.false[0], ranked.found[0]
    return np.r_[0.0, false / false[-1]], np.r_[0.0, found / found[-1]]


def precision_recall_curve(ranked: Ranked) -> tuple[Array, Array]:
    """Recall and precision of the first test set, (T,) each, by falling score."""
    found = ranked.found[0]
    return found / found[-1], found / (found + ranked.false[0])
