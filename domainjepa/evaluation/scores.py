"""Scores of a prediction, and how far to trust them.

Scores come from confusion matrices, so that a thousand resampled test sets cost what one costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Array = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 1000


def confusion(
    truth: NDArray[Any], prediction: NDArray[Any], classes: int, weight: NDArray[Any] | None = None
) -> Array:
    """(classes, classes) weight of the samples of each true class (row) and predicted class."""
    pairs = truth * classes + prediction
    counts = np.bincount(pairs, weights=weight, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.float64)


def _share(part: Array, whole: Array) -> Array:
    """part / whole, NaN where there is nothing to share."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def accuracy(matrix: Array) -> Array:
    """Share of samples that are right. (..., C, C) -> (...)."""
    right = np.trace(matrix, axis1=-2, axis2=-1)
    return np.asarray(right / matrix.sum((-2, -1)))


def balanced_accuracy(matrix: Array) -> Array:
    """Mean over the classes that occur of the share found. (..., C, C) -> (...)."""
    right = np.diagonal(matrix, axis1=-2, axis2=-1)
    return np.asarray(np.nanmean(_share(right, matrix.sum(-1)), axis=-1))


def macro_f1(matrix: Array) -> Array:
    """Mean F1 over the classes that occur or are predicted. (..., C, C) -> (...)."""
    right = np.diagonal(matrix, axis1=-2, axis2=-1)
    return np.asarray(np.nanmean(_share(2 * right, matrix.sum(-1) + matrix.sum(-2)), axis=-1))


METRICS: dict[str, Callable[[Array], Array]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


def over_draws(values: Array) -> tuple[float, float]:
    """Student-t interval for the mean over independent draws; nothing is known from one draw.

    It covers the choice of the labels. The test set is the same in every draw.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    half = student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1)
    half /= np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def over_resamples(values: Array) -> tuple[float, float]:
    """Percentile interval over resampled test sets (Efron 1979)."""
    low, high = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def resampled_confusions(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    classes: int,
    *,
    seed: int,
    groups: NDArray[Any] | None = None,
) -> Array:
    """(RESAMPLES, C, C) confusion matrices of test sets drawn with replacement.

    Whole groups are drawn where there are groups. One seed gives one list of test sets, whatever is
    predicted, so that two encoders can be compared pair by pair.
    """
    _, unit = np.unique(np.arange(len(truth)) if groups is None else groups, return_inverse=True)
    units = int(unit.max()) + 1
    random = np.random.default_rng(seed)
    drawn = (
        np.bincount(random.integers(units, size=units), minlength=units)[unit]
        for _ in range(RESAMPLES)
    )
    return np.stack([confusion(truth, prediction, classes, weight) for weight in drawn])
