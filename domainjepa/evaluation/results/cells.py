"""One encoder at one number of shots: its scores, how far to trust them, those of each class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.targets import Target
from domainjepa.evaluation.metrics import Answer, Metric, metric_of, shown
from domainjepa.evaluation.metrics.metric import Array, Scale
from domainjepa.evaluation.results.intervals import (
    DRAWN,
    RESAMPLED,
    RESAMPLES,
    RESAMPLES_OF_DRAWS,
    independent,
    over_draws,
    over_resamples,
    over_test_sets,
)
from domainjepa.evaluation.results.scores import resamples, score_each


@dataclass(frozen=True)
class Cell:
    """One encoder at one number of shots.

    Attributes:
        values: metric -> (D,) scores, one a draw of the labels; one alone with all labels.
        resampled: metric -> (D, R) the same on resampled test sets.
        units: metric -> independent test samples behind it; differences have none.
        each: class or label -> the same of it alone.
        total: independent test samples in all.
        means: whether scores are means over test samples, as those of masks are: then so is a
            difference, and it keeps its units and has Student's t.
        gap: whether this is a difference.
    """

    values: Mapping[str, Array]
    resampled: Mapping[str, Array]
    units: Mapping[str, float] = field(default_factory=dict)
    each: Mapping[str, Cell] = field(default_factory=dict)
    total: float = math.inf
    means: bool = False
    gap: bool = False

    @property
    def draws(self) -> int:
        return len(next(iter(self.values.values())))

    def mean(self, metric: str) -> float:
        """Over the draws in which it could be measured; NaN without one."""
        known = self.values[metric][np.isfinite(self.values[metric])]
        return float(known.mean()) if len(known) else math.nan

    def interval(self, metric: str) -> tuple[float, float, str]:
        """Low, high, and what they cover."""
        values, resampled = self.values[metric], self.resampled[metric]
        scale: Scale = "plain" if self.gap else shown(metric).scale
        if self.draws == 1:
            if not self.units:
                return *over_resamples(resampled[0]), RESAMPLED
            behind = (self.units[metric], scale, self.total)
            return *over_test_sets(float(values[0]), resampled[0], *behind), RESAMPLED
        if not self.units:
            return *over_draws(values, resampled), DRAWN
        behind = (self.units[metric], scale, self.total)
        return *over_draws(values, resampled, *behind), DRAWN

    def parts(self) -> Iterator[tuple[str | None, Cell]]:
        """Itself, then each class or label by its name."""
        yield None, self
        yield from self.each.items()

    def __sub__(self, other: Cell) -> Cell:
        """Paired: draw by draw, test set by test set."""
        return Cell(
            {name: one - other.values[name] for name, one in self.values.items()},
            {name: one - other.resampled[name] for name, one in self.resampled.items()},
            self.units if self.means else {},
            each={name: one - other.each[name] for name, one in self.each.items()},
            total=self.total if self.means else math.inf,
            means=self.means,
            gap=True,
        )


def cell_of_answers(
    target: Target,
    metrics: Sequence[str],
    truth: NDArray[Any],
    groups: NDArray[np.int64] | None,
    answers: Sequence[Answer],
    seed: int,
    of_each: Sequence[str] = (),
) -> Cell:
    """Scores of answers, on the test set and on resampled ones.

    Args:
        target: what is told.
        metrics: canonical names.
        truth: (n, ...) of the test samples.
        groups: (n,) equal for what is drawn together, or None.
        answers: one a draw of the training labels.
        seed: keys the resampled test sets: the same for every encoder.
        of_each: metrics of every class or label alone.
    """
    every = {m: metric_of(target.kind, m) for m in dict.fromkeys([*metrics, *of_each])}
    wanted = {name: metric for name, metric in every.items() if metric is not None}
    once = [score_each(target.kind, list(wanted), truth, answer) for answer in answers]
    blocks: list[list[tuple[dict[str, Array], dict[str, Array]]]] = [[] for _ in answers]
    number = RESAMPLES if len(answers) == 1 else RESAMPLES_OF_DRAWS
    for weights in resamples(len(truth), number, seed=seed, groups=groups):
        for answer, found in zip(answers, blocks, strict=True):
            found.append(score_each(target.kind, list(wanted), truth, answer, weights))
    whole, parts = _support(target, truth, groups)
    values = {m: np.concatenate([of[m] for of, _ in once]) for m in metrics}
    drawn = {
        m: np.stack([np.concatenate([of[m] for of, _ in one]) for one in blocks]) for m in metrics
    }
    each = {}
    for place, label in enumerate(target.classes):
        named = {m: wanted[m].of_one for m in of_each if wanted[m].of_one}
        if not named or not np.isfinite(parts[place]):
            continue
        each[label] = Cell(
            {to: np.array([of[m][place, 0] for _, of in once]) for m, to in named.items()},
            {
                to: np.stack([np.concatenate([of[m][place] for _, of in one]) for one in blocks])
                for m, to in named.items()
            },
            dict.fromkeys(named.values(), float(parts[place])),
            total=whole,
        )
    behind = {m: _behind(wanted[m], target, whole, parts) for m in metrics}
    return Cell(values, drawn, behind, each, whole)


def _support(
    target: Target, truth: NDArray[Any], groups: NDArray[np.int64] | None
) -> tuple[float, Array]:
    """Independent samples behind all, and behind each class or label; NaN where it cannot be
    scored.

    A label is known as well as the rarer of yes and no.
    """
    whole = independent(groups, np.ones(len(truth), bool))
    parts = np.full(len(target.classes), np.nan)
    for place in range(len(parts)):
        if target.kind == "classes":
            sides = [truth == place] * 2
        else:
            sides = [truth[:, place] == 1, truth[:, place] == 0]
        if all(side.any() for side in sides):
            parts[place] = min(independent(groups, side) for side in sides)
    return whole, parts


def _behind(metric: Metric, target: Target, whole: float, parts: Array) -> float:
    """Independent samples behind a mean over classes or labels: k^2 / sum(1 / n) of n each, as the
    variance of such a mean has it, but never more than all."""
    known = parts[np.isfinite(parts)]
    if metric.whole or not len(known):
        return whole
    if metric.ranked and target.kind == "classes" and len(parts) == 2:
        return float(known.min())
    return min(whole, float(len(known) ** 2 / (1 / known).sum()))
