"""Many samples of a unit, one answer: their features pooled, or their scores.

A unit of one sample keeps that sample's own features and answer, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.targets import Kind
from domainjepa.data.source import Source
from domainjepa.evaluation.cohorts.units import Rows
from domainjepa.evaluation.encoders.features import Features
from domainjepa.evaluation.results.scores import Answer

Pool = Literal["mean", "max", "mean+max", "scores-mean", "scores-max", "attention"]
OF_SCORES: tuple[Pool, ...] = ("scores-mean", "scores-max")


@dataclass(frozen=True)
class Bags:
    """The samples of some units, and what an encoder makes of them.

    Attributes:
        source: where their images are.
        rows: (n,) of the source, unit after unit.
        starts: (U,) where each unit begins in `rows`.
        features: (n, D).
    """

    source: Source
    rows: Rows
    starts: Rows
    features: Features

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def sizes(self) -> Rows:
        """(U,) samples of each unit."""
        return np.diff(self.starts, append=len(self.rows))

    @property
    def unit(self) -> Rows:
        """(n,) the unit of each sample."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def take(self, chosen: Rows) -> Bags:
        """Some of the units, in the order given."""
        sizes = self.sizes[chosen]
        starts = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(self.starts[chosen] - starts, sizes)
        return Bags(self.source, self.rows[places], starts, self.features[places])


def pooled_features(bags: Bags, pool: Pool) -> Features:
    """(U, D) the mean or the largest of each feature over a unit's samples; mean+max (U, 2 D)."""
    if len(bags) == len(bags.rows):
        return np.tile(bags.features, (1, 2)) if pool == "mean+max" else bags.features
    parts = []
    if "mean" in pool:
        # Sums of float32 over a thousand slices lose digits.
        sums = np.add.reduceat(bags.features, bags.starts, dtype=np.float64)
        parts.append((sums / bags.sizes[:, None]).astype(np.float32))
    if "max" in pool:
        parts.append(np.maximum.reduceat(bags.features, bags.starts))
    return np.concatenate(parts, axis=1)


def pooled_answer(kind: Kind, answer: Answer, bags: Bags, pool: Pool) -> Answer:
    """One answer a unit from those for its samples.

    `scores-mean`: the mean probability or number. `scores-max`: the largest number; of each class
    or label the largest probability, those of classes brought to a sum of 1 again.
    """
    if len(bags) == len(bags.rows):
        return answer
    scores: NDArray[np.float64] = (
        answer.guess if answer.probability is None else answer.probability
    ).astype(np.float64)
    if pool == "scores-max":
        scores = np.maximum.reduceat(scores, bags.starts)
    else:
        scores = np.add.reduceat(scores, bags.starts)
        scores = scores / bags.sizes.reshape(-1, *[1] * (scores.ndim - 1))
    if answer.probability is None:
        return Answer(scores)
    if kind == "multi-label":
        return Answer((scores > 0.5).astype(np.int64), scores)
    scores = scores / scores.sum(axis=1, keepdims=True)
    return Answer(scores.argmax(axis=1), scores)
