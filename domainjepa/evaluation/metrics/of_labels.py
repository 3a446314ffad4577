"""Metrics of several labels by what is guessed, each label on the samples of which it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.evaluation.metrics.metric import Answer, Array, share


def _counts(truth: NDArray[Any], guess: NDArray[Any], weights: Array) -> tuple[Array, Array, Array]:
    """Weights of what is positive and guessed so, guessed positive, positive: (L, R) each."""
    known = truth >= 0
    positive, named = (truth == 1), (guess == 1) & known
    found, guessed, there = (
        one.T.astype(np.float64) @ weights for one in (positive & named, named, positive)
    )
    return found, guessed, there


def f1(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """F1 of each label."""
    found, guessed, there = _counts(truth, answer.guess, weights)
    return share(2 * found, guessed + there)


def precision(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Share of the samples named with a label that have it; 0 where none is named."""
    found, guessed, there = _counts(truth, answer.guess, weights)
    return np.where((guessed == 0) & (there > 0), 0.0, share(found, guessed))


def recall(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Share of the samples with a label that are named with it."""
    found, _, there = _counts(truth, answer.guess, weights)
    return share(found, there)


def accuracy(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Share of the samples on which a label is known that are right."""
    known = (truth >= 0).T.astype(np.float64) @ weights
    right = ((truth == answer.guess) & (truth >= 0)).T.astype(np.float64) @ weights
    return share(right, known)
