"""One encoder under one protocol: every draw of images fitted, and scored on the test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.evaluation.cohorts.units import Units
from domainjepa.evaluation.metrics.of_masks import Outline, hausdorff_95, overlaps
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.progress import counting
from domainjepa.evaluation.scoring import worth_running
from domainjepa.evaluation.segmentation.cases import Numbering
from domainjepa.evaluation.segmentation.cells import Scores, mean_over_cases
from domainjepa.evaluation.segmentation.classes import IGNORED, Classes
from domainjepa.evaluation.segmentation.seen import Seen
from domainjepa.evaluation.splits import Rows, Shots, Split, draw_shots

Answer = Callable[[int], Classes]
"""A row of the source -> the classes of its pixels."""
Fit = Callable[[Rows], tuple[Answer, bool]]
"""Training units -> what answers for a row, and whether its solver converged."""


@dataclass(frozen=True)
class MaskCohort:
    """What is scored.

    Attributes:
        seen: masks.
        units: what shots count and intervals are over.
        split: which of them train.
        cases: (N,) equal for rows of one image or volume.
    """

    seen: Seen
    units: Units
    split: Split
    cases: Rows

    def numbering(self, units: Rows) -> Numbering:
        """The rows of some units, their units and cases."""
        return Numbering.of(self.units, units, self.cases)

    def groups(self, units: Rows) -> Rows | None:
        """The groups of some units, or None."""
        return None if self.units.groups is None else self.units.groups[units]

    def draws(self, protocol: Protocol) -> dict[Shots, list[Rows]]:
        """Shots -> the training units of every draw: the same for every encoder."""
        train = self.split.train
        strata, groups = np.zeros(len(train), np.int64), self.groups(train)
        return {
            shots: [
                train[draw_shots(strata, shots, seed=protocol.seed, draw=one, groups=groups)]
                for one in range(protocol.draws_of(shots))
            ]
            for shots in worth_running(protocol, strata)
        }


def measured(
    cohort: MaskCohort, answers: Sequence[Answer], metrics: Sequence[str]
) -> dict[str, Scores]:
    """Metric -> (D, U, K) of the test units by every answer.

    Counts of pixels are of the whole case, whatever it was cut into; distances of each part by
    itself, and their mean.
    """
    test = cohort.numbering(cohort.split.test)
    scored = cohort.seen.classes.scored
    shape = (len(answers), len(test.unit_of_case), len(scored))
    counts = np.zeros((3, *shape))
    far = next((one for one in metrics if one.startswith("hausdorff")), None)
    sums, parts = np.zeros(shape), np.zeros(shape)
    for row, case in zip(test.rows.tolist(), test.case.tolist(), strict=True):
        truth = cohort.seen.mask(row)
        lines = _Outlines(truth, scored, cohort.seen.spacing(row)) if far else None
        for draw, answer in enumerate(answers):
            guess = np.where(truth == IGNORED, np.int16(IGNORED), answer(row))
            counts[:, draw, case] += _counted(truth, guess, scored)
            if lines:
                distance = lines.to(guess)
                known = np.isfinite(distance)
                sums[draw, case] += np.where(known, distance, 0)
                parts[draw, case] += known
    dice, iou = overlaps(*counts)
    found = {"dice": dice, "iou": iou}
    if far:
        found[far] = np.divide(sums, parts, out=np.full(shape, np.nan), where=parts > 0)
    units = len(cohort.split.test)
    return {name: mean_over_cases(found[name], test.unit_of_case, units) for name in metrics}


def _counted(truth: Classes, guess: Classes, scored: Sequence[int]) -> NDArray[np.float64]:
    """(3, K) pixels of truth and answer both, of the truth, of the answer."""
    size = max(scored) + 2  # the first place is of what is ignored
    both = np.bincount((guess[truth == guess] + 1).ravel(), minlength=size)
    of_each = [np.bincount((one + 1).ravel(), minlength=size) for one in (truth, guess)]
    places = np.asarray(scored) + 1
    return np.stack([one[places] for one in (both, *of_each)]).astype(np.float64)


class _Outlines:
    """The outlines of the structures of one mask."""

    def __init__(self, truth: Classes, scored: Sequence[int], spacing: Sequence[float]) -> None:
        self.scored, self.spacing = scored, spacing
        self.truth = [Outline(truth == one, spacing) for one in scored]

    def to(self, guess: Classes) -> NDArray[np.float64]:
        """(K,) distances to those of an answer."""
        return np.array([
            hausdorff_95(truth, Outline(guess == one, self.spacing))
            for one, truth in zip(self.scored, self.truth, strict=True)
        ])  # fmt: skip


@dataclass(frozen=True)
class Told:
    """One encoder under one protocol.

    Attributes:
        scores: shots -> metric -> (D, U, K).
        last: answers by the first draw of the most images.
        fits: how many probes there were.
        unconverged: of how many the solver stopped before it converged.
    """

    scores: Mapping[Shots, Mapping[str, Scores]]
    last: Answer
    fits: int
    unconverged: int


def score(
    fit: Fit,
    cohort: MaskCohort,
    protocol: Protocol,
    metrics: Sequence[str],
    progress: tuple[Console | None, str] = (None, ""),
) -> Told:
    """Every draw of a protocol fitted once, and measured on the test units.

    Args:
        fit: of the encoder; it is handed nothing of the test units.
        metrics: those of `metrics.of_masks`, by name.
        progress: where to show how far it is, and of what.
    """
    draws = cohort.draws(protocol)
    every: dict[Shots, Mapping[str, Scores]] = {}
    unconverged, last = 0, None
    with counting(*progress, sum(map(len, draws.values()))) as counter:
        for shots, chosen in draws.items():
            answers = []
            for units in chosen:
                answer, converged = fit(units)
                answers.append(answer)
                unconverged += not converged
                counter.advance()
            every[shots] = measured(cohort, answers, metrics)
            last = answers[0]
    assert last is not None
    return Told(every, last, sum(map(len, draws.values())), unconverged)
