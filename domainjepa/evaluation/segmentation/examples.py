"""Which test units a report shows: the best, the median and the worst of the first encoder."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domainjepa.evaluation.results.examples import Example
from domainjepa.evaluation.segmentation.cells import Scores
from domainjepa.evaluation.segmentation.classes import IGNORED
from domainjepa.evaluation.segmentation.scoring import Answer, MaskCohort


@dataclass
class Chosen:
    """What is needed to show examples of one protocol.

    Attributes:
        quality: (U,) the first encoder's mean over classes of the first metric, of the test units.
        lower: whether less of it is better.
        answers: encoder -> its answers.
    """

    quality: NDArray[np.float64]
    lower: bool
    answers: dict[str, Answer] = field(default_factory=dict)

    @classmethod
    def by(cls, scores: Scores, lower: bool) -> Chosen:
        """From (D, U, K) scores of the first encoder, by its first draw."""
        known = np.isfinite(scores[0])
        sums = np.where(known, scores[0], 0).sum(axis=1)
        counts = known.sum(axis=1)
        return cls(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0), lower)

    def examples(self, cohort: MaskCohort) -> list[Example]:
        """The best, the median and the worst, as far as there are so many."""
        known = np.flatnonzero(np.isfinite(self.quality))
        order = known[np.argsort(self.quality[known] * (1 if self.lower else -1), kind="stable")]
        if not len(order):
            return []
        places = {0: "best", len(order) // 2: "median", len(order) - 1: "worst"}
        return [self._of(cohort, int(order[place]), name) for place, name in places.items()]

    def _of(self, cohort: MaskCohort, unit: int, name: str) -> Example:
        """The image of a unit, or the slice of it, on which its structures are largest."""
        rows = cohort.numbering(cohort.split.test[[unit]]).rows.tolist()
        seen = cohort.seen
        row = max(rows, key=lambda one: np.isin(seen.mask(one), seen.classes.scored).sum())
        image, truth = seen.source[row], seen.mask(row)
        guesses = {encoder: answer(row) for encoder, answer in self.answers.items()}
        title = f"{name}: {100 * self.quality[unit]:.0f} %"
        if self.lower:
            title = f"{name}: {self.quality[unit]:.3g}"
        if truth.ndim == 3:
            area = np.isin(truth, seen.classes.scored).sum(axis=(1, 2))
            at = int(area.argmax())
            image, truth = image[at], truth[at]
            guesses = {encoder: guess[at] for encoder, guess in guesses.items()}
        # Structures count from 1 on, whatever their values: 0 is what lies between them.
        number = np.zeros(len(seen.classes) + 1, np.int16)
        number[list(seen.classes.scored)] = np.arange(len(seen.classes.scored)) + 1
        number[IGNORED] = IGNORED
        counted = {encoder: number[guess] for encoder, guess in guesses.items()}
        return Example(title, image, number[truth], counted)
