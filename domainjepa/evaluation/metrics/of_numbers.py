"""Metrics of numbers; of redshifts by the convention of photometric redshifts, dz / (1 + z)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.evaluation.metrics.metric import Answer, Array, share

OUTLIER = 0.15
"""|dz| / (1 + z) beyond which a redshift is an outlier (Ilbert et al. 2006; Hildebrandt et al.
2010)."""


def r2(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Coefficient of determination: 1 - squared errors / squared deviations from the mean."""
    centred = truth - truth.mean()
    deviations = np.square(centred) @ weights - np.square(centred @ weights) / weights.sum(axis=0)
    return 1 - share(np.square(truth - answer.guess) @ weights, deviations)


def mae(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Mean absolute error, in the target's unit; lower is better."""
    return np.asarray(np.abs(truth - answer.guess) @ weights / weights.sum(axis=0))


def rmse(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Root of the mean squared error, in the target's unit; lower is better."""
    return np.asarray(np.sqrt(np.square(truth - answer.guess) @ weights / weights.sum(axis=0)))


def scatter(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """1.48 times the median absolute deviation of dz / (1 + z) from its median (sigma_NMAD)."""
    dz = _relative(truth, answer)
    return np.array([
        1.48 * np.median(np.abs(drawn - np.median(drawn)))
        for drawn in (np.repeat(dz, often) for often in weights.astype(np.int64).T)
    ])  # fmt: skip


def outliers(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Share of samples with |dz| / (1 + z) above 0.15."""
    far = (np.abs(_relative(truth, answer)) > OUTLIER).astype(np.float64)
    return np.asarray(far @ weights / weights.sum(axis=0))


def bias(truth: NDArray[Any], answer: Answer, weights: Array) -> Array:
    """Median of dz / (1 + z); zero is best."""
    dz = _relative(truth, answer)
    return np.array([np.median(np.repeat(dz, often)) for often in weights.astype(np.int64).T])


def _relative(truth: NDArray[Any], answer: Answer) -> Array:
    return np.asarray((answer.guess - truth) / (1 + truth), np.float64)
