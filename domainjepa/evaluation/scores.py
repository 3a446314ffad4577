"""Scores of answers, on the test set and on resampled ones.

A metric takes weights (n, R), how often each of R resampled test sets holds each of n samples, and
gives R scores: one pass costs little more than one score. Weights of one give the score itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from domainjepa.evaluation.targets import Kind

Array = NDArray[np.float64]

BINS = 15
"""Of equal width, of the confidence, in the calibration error: as Guo et al. (2017)."""
BLOCK = 200
"""Resampled test sets at a time: memory stays within (n, 200) numbers."""


@dataclass(frozen=True)
class Answer:
    """What a probe says of the test samples.

    Attributes:
        guess: (n,) classes; (n,) numbers; (n, L) zeros and ones for multi-label targets.
        probability: (n, K) of the classes, or (n, L) of the labels; None for numbers.
    """

    guess: NDArray[Any]
    probability: NDArray[Any] | None = None

    def of(self, chosen: NDArray[np.int64]) -> Answer:
        """The answers for some of the samples."""
        chance = self.probability
        return Answer(self.guess[chosen], None if chance is None else chance[chosen])

    @property
    def chance(self) -> NDArray[Any]:
        """The probabilities, of a target that has them."""
        if self.probability is None:
            raise ValueError("numbers have no probability")
        return self.probability


Metric = Callable[[NDArray[Any], Answer, Array], Array]


def confusion(truth: NDArray[Any], guess: NDArray[Any], classes: int) -> Array:
    """(classes, classes) samples of each true class (row) and guessed class."""
    counts = np.bincount(truth * classes + guess, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.float64)


def _share(part: Array, whole: Array) -> Array:
    """part / whole, NaN where there is nothing to share."""
    share: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return share


def _mean(rows: Array) -> Array:
    """Mean over the first axis of what is a number; NaN where nothing is."""
    known = np.isfinite(rows)
    return _share(np.where(known, rows, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _sums(labels: NDArray[Any], weights: Array, where: NDArray[Any] | None = None) -> Array:
    """Weights of each class: (n,) classes, (n, R) -> (K, R)."""
    values = np.ones(len(labels)) if where is None else where.astype(np.float64)
    shape = (int(labels.max()) + 1, len(labels))
    return np.asarray(csr_array((values, (labels, np.arange(len(labels)))), shape=shape) @ weights)


def accuracy(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Share of samples that are right."""
    right = (answer.guess == truth).astype(np.float64)
    return np.asarray(right @ weights / weights.sum(axis=0))


def balanced_accuracy(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Mean over the classes that occur of the share found."""
    found = _sums(truth, weights, answer.guess == truth)
    return _mean(_share(found, _sums(truth, weights)))


def macro_f1(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Mean F1 over the classes that occur or are guessed."""
    both = np.concatenate([truth, answer.guess])
    right = np.concatenate([answer.guess == truth, np.zeros(len(truth), bool)])
    twice = np.concatenate([weights, weights])
    return _mean(_share(2 * _sums(both, twice, right), _sums(both, twice)))


def _area_under_roc(positive: NDArray[Any], score: NDArray[Any], weights: Array) -> Array:
    """Share of pairs (positive, negative) in the right order, ties half: (n,), (n,), (n, R)."""
    yes, no = _by_threshold(positive, score, weights)
    below = np.cumsum(no, axis=0) - no / 2
    return _share((yes * below).sum(axis=0), yes.sum(axis=0) * no.sum(axis=0))


def _precision(positive: NDArray[Any], score: NDArray[Any], weights: Array) -> Array:
    """Average precision: the mean over recall of the precision, as scikit-learn defines it."""
    yes, no = _by_threshold(positive, -score, weights)
    found = np.cumsum(yes, axis=0)
    precision = _share(found, found + np.cumsum(no, axis=0))
    return _share(np.nansum(precision * yes, axis=0), yes.sum(axis=0))


def _by_threshold(
    positive: NDArray[Any], score: NDArray[Any], weights: Array
) -> tuple[Array, Array]:
    """Weights of positives and negatives at each different score, ascending: (T, R) each."""
    order = np.argsort(score, kind="stable")
    sorted_score = score[order]
    starts = np.flatnonzero(np.r_[True, sorted_score[1:] != sorted_score[:-1]])
    every = weights[order]
    yes = every * positive[order, None]
    if len(starts) < len(order):
        every, yes = (np.add.reduceat(of, starts, axis=0) for of in (every, yes))
    return yes, every - yes


def roc_auc(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Area under the ROC curve; of more than two classes the mean of each against the rest."""
    chance = answer.chance
    if chance.shape[1] == 2:
        return _area_under_roc(truth == 1, chance[:, 1], weights)
    found = [_area_under_roc(truth == c, chance[:, c], weights) for c in np.unique(truth)]
    return _mean(np.stack(found))


def calibration_error(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Expected calibration error: |confidence - accuracy| over 15 equal bins of the confidence.

    Guo et al. (2017), arXiv:1706.04599, eq. 3; lower is better.
    """
    confidence = answer.chance.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = _sums(bins, weights, confidence - (answer.guess == truth))
    return np.asarray(np.abs(gaps).sum(axis=0) / weights.sum(axis=0))


def _over_labels(
    metric: Callable[[NDArray[Any], NDArray[Any], Array], Array], guessed: bool
) -> Metric:
    """The mean of a metric over the labels of a multi-label target that it is defined for."""

    def macro(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
        of = answer.guess if guessed else answer.chance
        each = [metric(truth[:, one], of[:, one], weights) for one in range(truth.shape[1])]
        return _mean(np.stack(each))

    macro.__doc__ = metric.__doc__
    return macro


def _f1(positive: NDArray[Any], guess: NDArray[Any], weights: Array) -> Array:
    """F1 of one label."""
    right, named = (positive * guess) @ weights, (positive + guess) @ weights
    return _share(np.asarray(2 * right, np.float64), np.asarray(named, np.float64))


def r2(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Coefficient of determination: 1 - squared errors / squared deviations from the mean."""
    centred = truth - truth.mean()
    deviations = np.square(centred) @ weights - np.square(centred @ weights) / weights.sum(axis=0)
    return 1 - _share(np.square(truth - answer.guess) @ weights, deviations)


def mae(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Mean absolute error, in the target's unit; lower is better."""
    return np.asarray(np.abs(truth - answer.guess) @ weights / weights.sum(axis=0))


METRICS: dict[Kind, dict[str, Metric]] = {
    "classes": {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "macro_f1": macro_f1,
        "roc_auc": roc_auc,
        "calibration_error": calibration_error,
    },
    "numbers": {"r2": r2, "mae": mae},
    "multi-label": {
        "average_precision": _over_labels(_precision, guessed=False),
        "roc_auc": _over_labels(_area_under_roc, guessed=False),
        "macro_f1": _over_labels(_f1, guessed=True),
    },
}
"""Kind of target -> the metrics it has, the first one shown first."""

LOWER_IS_BETTER = {"calibration_error", "mae"}
IN_PERCENT = {name for of in METRICS.values() for name in of} - {"r2", "mae"}


def score(
    kind: Kind,
    names: Sequence[str],
    truth: NDArray[Any],
    answer: Answer,
    weights: Array | None = None,
) -> dict[str, Array]:
    """Metric -> (R,) scores on resampled test sets; on the test set alone without weights."""
    if weights is None:
        weights = np.ones((len(truth), 1))
    return {name: METRICS[kind][name](truth, answer, weights) for name in names}


def resamples(
    samples: int, number: int, *, seed: int, groups: NDArray[Any] | None = None
) -> Iterator[Array]:
    """How often each sample is in test sets drawn with replacement, in blocks (samples, <= 200).

    Whole groups are drawn where there are groups. One seed gives one list of test sets, whatever is
    answered, so that two encoders can be compared pair by pair.
    """
    _, unit = np.unique(np.arange(samples) if groups is None else groups, return_inverse=True)
    units = int(unit.max()) + 1
    random = np.random.default_rng(seed)
    for first in range(0, number, BLOCK):
        drawn = [
            np.bincount(random.integers(units, size=units), minlength=units)
            for _ in range(min(BLOCK, number - first))
        ]
        yield np.stack(drawn, axis=1).astype(np.float64)[unit]
