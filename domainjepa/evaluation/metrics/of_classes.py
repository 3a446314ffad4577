"""Metrics of classes by what is guessed, and how well their probabilities are calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from domainjepa.evaluation.metrics.metric import Answer, Array, share

BINS = 15
"""Of equal width, of the confidence, in the calibration error: as Guo et al. (2017)."""


def confusion(truth: NDArray[Any], guess: NDArray[Any], classes: int) -> Array:
    """(classes, classes) samples of each true class (row) and guessed class."""
    counts = np.bincount(truth * classes + guess, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.float64)


def _sums(
    labels: NDArray[Any], weights: Array, classes: int, where: NDArray[Any] | None = None
) -> Array:
    """Weights of each class: (n,) classes, (n, R) -> (K, R)."""
    values = np.ones(len(labels)) if where is None else where.astype(np.float64)
    shape = (classes, len(labels))
    return np.asarray(csr_array((values, (labels, np.arange(len(labels)))), shape=shape) @ weights)


def _classes(truth: NDArray[Any], answer: Answer) -> int:
    if answer.probability is not None:
        return int(answer.probability.shape[1])
    return int(max(truth.max(), answer.guess.max())) + 1


def accuracy(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Share of samples that are right."""
    right = (answer.guess == truth).astype(np.float64)
    return np.asarray(right @ weights / weights.sum(axis=0))


def recall(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Share of each class that is found; the mean over the classes is the balanced accuracy."""
    classes = _classes(truth, answer)
    found = _sums(truth, weights, classes, answer.guess == truth)
    return share(found, _sums(truth, weights, classes))


def precision(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Share of what is taken for each class that is of it; 0 of one that occurs and is never
    guessed."""
    classes = _classes(truth, answer)
    found = _sums(truth, weights, classes, answer.guess == truth)
    named, there = _sums(answer.guess, weights, classes), _sums(truth, weights, classes)
    return np.where((named == 0) & (there > 0), 0.0, share(found, named))


def f1(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """F1 of each class that occurs or is guessed."""
    classes = _classes(truth, answer)
    found = _sums(truth, weights, classes, answer.guess == truth)
    both = _sums(truth, weights, classes) + _sums(answer.guess, weights, classes)
    return share(2 * found, both)


def quadratic_kappa(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Cohen's kappa with quadratic weights, of grades by their place (Cohen 1968)."""
    classes = _classes(truth, answer)
    pairs = _sums(truth * classes + answer.guess, weights, classes * classes)
    pairs = pairs.reshape(classes, classes, -1) / weights.sum(axis=0)
    apart = np.square(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(np.float64)
    seen = np.einsum("ij,ijr->r", apart, pairs)
    chance = np.einsum("ij,ir,jr->r", apart, pairs.sum(axis=1), pairs.sum(axis=0))
    return 1 - share(seen, chance)


def calibration_error(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Expected calibration error: |confidence - accuracy| over 15 equal bins of the confidence.

    Guo et al. (2017), arXiv:1706.04599, eq. 3; lower is better.
    """
    confidence = answer.chance.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = _sums(bins, weights, BINS, confidence - (answer.guess == truth))
    return np.asarray(np.abs(gaps).sum(axis=0) / weights.sum(axis=0))
