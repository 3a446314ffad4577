"""Scores of answers, on the test set and on resampled ones.

The metrics are in `metrics/`; here they are applied, with the holes of each label left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.targets import Kind
from domainjepa.evaluation.metrics.metric import Answer, Array, mean
from domainjepa.evaluation.metrics.names import metric_of
from domainjepa.evaluation.metrics.of_classes import confusion
from domainjepa.evaluation.metrics.thresholds import Ranked

__all__ = ["Answer", "confusion", "ranked", "resamples", "score", "score_each"]

BLOCK = 200
"""Resampled test sets at a time, at most."""
BLOCK_NUMBERS = 2**16
"""Numbers at a time: larger arrays are fresh memory each time, and half of the time goes into its
page faults."""


def score(
    kind: Kind,
    names: Sequence[str],
    truth: NDArray[Any],
    answer: Answer,
    weights: Array | None = None,
) -> dict[str, Array]:
    """Metric -> (R,) scores on resampled test sets; on the test set alone without weights."""
    return score_each(kind, names, truth, answer, weights)[0]


def score_each(
    kind: Kind,
    names: Sequence[str],
    truth: NDArray[Any],
    answer: Answer,
    weights: Array | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Scores, and those of every class or label that the metrics have.

    Args:
        kind: of the target.
        names: of metrics, as `metrics.canonical` gives them.
        truth: (n, ...) of the test samples.
        answer: of a probe.
        weights: (n, R) how often each resampled test set holds a sample; by default once.

    Returns:
        metric -> (R,); metric -> (K, R), NaN where a class or label cannot be scored.
    """
    if weights is None:
        weights = np.ones((len(truth), 1))
    metrics = {name: metric for name in names if (metric := metric_of(kind, name))}
    whole: dict[str, Array] = {}
    each: dict[str, Array] = {}
    for name, metric in metrics.items():
        if metric.whole:
            whole[name] = metric.whole(truth, answer, weights)
        elif metric.each:
            each[name] = metric.each(truth, answer, weights)
    by_threshold = {name: metric.ranked for name, metric in metrics.items() if metric.ranked}
    if by_threshold:
        rows = answer.chance.shape[1]
        for name in by_threshold:
            each[name] = np.full((rows, weights.shape[1]), np.nan)
        often = np.ascontiguousarray(weights.T, np.int64)
        # Ranking is what takes long: once for each class, whatever the number of metrics.
        for one in range(rows):
            found = ranked(kind, truth, answer, one, often)
            for name, metric_by_threshold in by_threshold.items():
                if found is not None:
                    each[name][one] = metric_by_threshold(found)
    if kind == "multi-label":
        scored = (truth == 1).any(axis=0) & (truth == 0).any(axis=0)
        each = {name: np.where(scored[:, None], rows, np.nan) for name, rows in each.items()}
    whole |= {name: mean(rows) for name, rows in each.items()}
    return {name: whole[name] for name in metrics}, each


def ranked(
    kind: Kind,
    truth: NDArray[Any],
    answer: Answer,
    one: int,
    often: NDArray[np.int64] | None = None,
) -> Ranked | None:
    """A class or label by its probability, where it is known; None where nothing is positive.

    Of two classes the second one is the positive one, and the first has none. `often` are (R, n)
    times that each test set holds a sample, by default one.
    """
    if often is None:
        often = np.ones((1, len(truth)), np.int64)
    chance = answer.chance
    if kind == "classes":
        if (chance.shape[1] == 2 and one == 0) or not (truth == one).any():
            return None
        return Ranked.of(truth == one, chance[:, one], often)
    known = np.flatnonzero(truth[:, one] >= 0)
    if not (truth[known, one] == 1).any():
        return None
    return Ranked.of(truth[known, one] == 1, chance[known, one], often[:, known])


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
    block = max(8, min(BLOCK, BLOCK_NUMBERS // samples))
    for first in range(0, number, block):
        drawn = [
            np.bincount(random.integers(units, size=units), minlength=units)
            for _ in range(min(block, number - first))
        ]
        yield np.stack(drawn, axis=1).astype(np.float64)[unit]
