"""What a metric is: a number, or one a class, for each of R resampled test sets.

A metric takes weights (n, R), how often each of R resampled test sets holds each of n samples, and
gives R scores: one pass costs little more than one score. Weights of one give the score itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domainjepa.evaluation.metrics.thresholds import Ranked

Array = NDArray[np.float64]
Scale = Literal["share", "size", "plain"]
"""Between 0 and 1, and shown in percent; an error of 0 or more; any number."""


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


@dataclass(frozen=True)
class Metric:
    """One metric of one kind of target; one of the first three says how it is computed.

    Attributes:
        whole: (n, ...) truth, answer, (n, R) weights -> (R,).
        each: truth, answer, weights -> (K, R), one a class or label, NaN where there is none; the
            metric is their mean.
        ranked: a class or label by its ranked probabilities -> (R,); the metric is their mean.
        of_one: what it is called of one class or label.
        scale: what kind of number it is, for its interval and its looks.
        lower: lower is better.
        digits: as `format` takes them, where it is no share.
    """

    whole: Callable[[NDArray[Any], Answer, Array], Array] | None = None
    each: Callable[[NDArray[Any], Answer, Array], Array] | None = None
    ranked: Callable[[Ranked], Array] | None = None
    of_one: str = ""
    scale: Scale = "share"
    lower: bool = False
    digits: str = ".3g"


def share(part: Array, whole: Array) -> Array:
    """part / whole, NaN where there is nothing to share."""
    found: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return found


def mean(rows: Array) -> Array:
    """Mean over the first axis of what is a number; NaN where nothing is."""
    known = np.isfinite(rows)
    return share(np.where(known, rows, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))
