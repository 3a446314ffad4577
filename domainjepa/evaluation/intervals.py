"""How far to trust a mean: 95 % intervals, and what each of them covers.

Draws of the training labels are scored on one test set, so their scores share its luck: an interval
over draws alone would promise too much. With D draws, the variance of their mean is
`s^2 / D + Cov`, s^2 the variance over draws and Cov the mean covariance of two draws' scores that
comes from the test samples, estimated by the bootstrap; Student's t with
`(s^2 / D + Cov)^2 / ((s^2 / D)^2 / (D - 1))` degrees of freedom. This is the analysis of readers
and cases of Obuchowski and Rockette (1995), with the degrees of freedom of Hillis (2007), labels
drawn in place of readers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Array = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 1000
"""Test sets drawn for the percentiles of one probe."""
RESAMPLES_OF_DRAWS = 200
"""Test sets drawn for the covariance of draws: a mean over all their pairs, which needs fewer."""

DRAWN = "95 % over draws of the training labels and over test samples"
RESAMPLED = "95 % bootstrap over test samples, for these training labels"


def over_draws(values: Array, resampled: Array) -> tuple[float, float]:
    """The interval for the mean over all draws and all test sets.

    Args:
        values: (D,) scores of D >= 2 draws, or paired differences of scores.
        resampled: (D, R) the same on resampled test sets.
    """
    draws, mean = len(values), float(values.mean())
    spread = float(values.var(ddof=1)) / draws
    known = resampled[:, np.isfinite(resampled).all(axis=0)]
    shared = 0.0
    if known.shape[1] > 1:
        of_mean, of_each = known.mean(axis=0).var(ddof=1), known.var(axis=1, ddof=1).mean()
        # The mean covariance of two different draws, from the variance of the mean of all.
        shared = max(float(draws * of_mean - of_each) / (draws - 1), 0.0)
    variance = spread + shared
    if not variance > 0:
        return (mean, mean) if variance == 0 else (math.nan, math.nan)
    freedom = variance**2 / (spread**2 / (draws - 1)) if spread > 0 else math.inf
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(variance)
    return mean - half, mean + half


def over_resamples(values: Array) -> tuple[float, float]:
    """Percentile interval over (R,) resampled test sets (Efron 1979)."""
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
