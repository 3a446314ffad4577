"""Which samples to label next, and which labels are suspected of being wrong.

With few labels the typical samples teach most: one from the dense middle of each cluster that has
no label yet (TypiClust: Hacohen, Dekel & Weinshall 2022, arXiv:2202.02794). Once a probe can be
fitted, those between two classes do: the smallest margin between its two likeliest answers
(Scheffer, Decomain & Wrobel 2001, IDA). Labels are suspected where probes that never saw them say
another class (confident learning: Northcutt, Jiang & Chuang 2021, JAIR 70, 1373).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from domainjepa.data.sampling import key
from domainjepa.embed.blocks import Features
from domainjepa.errors import UserError
from domainjepa.evaluation.probes.probes import linear_pipeline, logistic, logistic_regression
from domainjepa.evaluation.splits import tuning_folds

MOST_CLUSTERS = 500
"""As in TypiClust: of more, hardly any would be more than a few samples."""
MOST_IN_CLUSTER = 5_000
"""Samples of a cluster that are compared with each other; of more, some are drawn."""
TYPICAL_NEIGHBOURS = 20
FEW = 10
"""Labels a class, in the mean, below which typical samples are proposed."""
FOLDS = 5

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """Labels of some of N samples.

    Attributes:
        labels: (N,) class indices, -1 where none is known.
        classes: their names.
        groups: (N,) equal for samples that folds must not part; or None.
    """

    labels: Positions
    classes: tuple[str, ...]
    groups: Positions | None = None

    @property
    def positions(self) -> Positions:
        """Of the samples that have a label, ascending."""
        return np.flatnonzero(self.labels >= 0)

    @property
    def few(self) -> bool:
        """Whether there are too few labels to ask what a probe is unsure of."""
        present = len(np.unique(self.labels[self.positions]))
        return present < 2 or len(self.positions) < FEW * present


def typical(unit: Features, labelled: Positions, count: int, seed: int = 0) -> Positions:
    """Positions of `count` samples to label, the most telling first.

    K-means makes as many clusters as there will be labels. Those without a label give, the largest
    first, the sample with the least mean distance to its 20 nearest in the cluster.

    Args:
        unit: (N, D) of unit length.
        labelled: positions that have a label.
        count: how many more.
        seed: of the clusters.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    clusters = min(len(labelled) + count, MOST_CLUSTERS, len(unit))
    number = key(seed, "label", "clusters", clusters) % 2**32
    kind: Any = KMeans if len(unit) * clusters <= 2_000_000 else MiniBatchKMeans
    cluster = kind(clusters, n_init=1, random_state=number).fit(unit).labels_
    free = np.ones(len(unit), np.bool_)
    free[labelled] = False
    covered = np.bincount(cluster[labelled], minlength=clusters)
    members = [np.flatnonzero(cluster == one) for one in range(clusters)]
    ranked = {one: _by_typicality(unit, members[one], seed) for one in range(clusters)}
    queues = {one: order[free[order]].tolist() for one, order in ranked.items()}
    found: list[int] = []
    while len(found) < count and any(queues.values()):
        # Fewest labels first, then the largest: with more wanted than clusters it goes round.
        open_ = [one for one in range(clusters) if queues[one]]
        best = min(open_, key=lambda one: (covered[one], -len(members[one]), one))
        found.append(queues[best].pop(0))
        covered[best] += 1
    return np.array(found, np.int64)


def _by_typicality(unit: Features, members: Positions, seed: int) -> Positions:
    """The samples of a cluster, the most typical first."""
    from sklearn.neighbors import NearestNeighbors

    if len(members) > MOST_IN_CLUSTER:
        draw = np.random.default_rng(key(seed, "label", "members", len(members)))
        members = np.sort(draw.permutation(members)[:MOST_IN_CLUSTER])
    near = min(TYPICAL_NEIGHBOURS, len(members) - 1)
    if near < 1:
        return members
    model = NearestNeighbors(n_neighbors=near, algorithm="brute").fit(unit[members])
    distances = model.kneighbors()[0].mean(axis=1)
    return members[np.argsort(distances, kind="stable")]


def fitted(features: Features, known: Known, seed: int = 0) -> Pipeline:
    """The linear probe of `evaluate`, on all labels that are known.

    Raises:
        UserError: fewer than two classes are known.
    """
    at = known.positions
    if len(np.unique(known.labels[at])) < 2:
        raise UserError("a probe needs labels of two classes at least; these are of fewer.")
    groups = None if known.groups is None else known.groups[at]
    folds = tuning_folds(known.labels[at], seed=seed, groups=groups)
    with threadpool_limits(1):
        return logistic(features[at], known.labels[at], folds)


def unsure(probe: Pipeline, features: Features, candidates: Positions, count: int) -> Positions:
    """Of the candidates those with the smallest margin between the two likeliest classes."""
    chance = np.sort(probe.predict_proba(features[candidates]), axis=1)
    margin = chance[:, -1] - chance[:, -2]
    return candidates[np.argsort(margin, kind="stable")[:count]]


def cross_validated(features: Features, known: Known, seed: int = 0) -> NDArray[np.float64] | None:
    """(n, C) chances of the classes for each known label, by probes that did not see it.

    Five folds, stratified, groups whole; the penalty is chosen once. None where a class has fewer
    than two labels, or groups are too few.
    """
    at = known.positions
    labels = known.labels[at]
    counts = np.bincount(labels)
    groups = None if known.groups is None else known.groups[at]
    parts = int(min(FOLDS, counts[counts > 0].min()))
    if groups is not None:
        parts = min(parts, len(np.unique(groups)))
    if parts < 2 or (counts > 0).sum() < 2:
        return None
    penalty = fitted(features, known, seed).named_steps["predict"].C
    chance = np.zeros((len(at), len(known.classes)))
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = splitter(parts, shuffle=True, random_state=key(seed, "label", "folds") % 2**32)
    with threadpool_limits(1):
        for fit, rest in folds.split(np.zeros((len(at), 1)), labels, groups):
            probe = linear_pipeline(logistic_regression(penalty)).fit(
                features[at[fit]], labels[fit]
            )
            chance[np.ix_(rest, probe.classes_)] = probe.predict_proba(features[at[rest]])
    return chance


@dataclass(frozen=True)
class Suspects:
    """Labels in doubt, the most doubtful first.

    Attributes:
        order: (n,) places among the known labels, all of them.
        doubt: (n,) of each in that order: the chance of the likeliest other class minus that of its
            own, -1 to 1.
        other: (n,) that other class.
        suspected: how many of the first are told to be wrong by confident learning.
    """

    order: Positions
    doubt: NDArray[np.float64]
    other: Positions
    suspected: int


def suspects(chance: NDArray[np.float64], labels: Positions) -> Suspects:
    """Which labels are in doubt.

    A label is suspected where another class is as likely as that class is, in the mean, of samples
    that bear its name, and likelier than the label's own.

    Args:
        chance: (n, C) by probes that did not see the labels.
        labels: (n,) as they are given.
    """
    own = chance[np.arange(len(labels)), labels]
    rest = chance.copy()
    rest[np.arange(len(labels)), labels] = -1
    other = rest.argmax(axis=1)
    doubt = rest.max(axis=1) - own
    typically = np.array(
        [chance[labels == one, one].mean() if (labels == one).any() else 2.0
         for one in range(chance.shape[1])]
    )  # fmt: skip
    wrong = (doubt > 0) & (rest.max(axis=1) >= typically[other])
    # Those that are told to be wrong go first.
    order = np.lexsort((-doubt, ~wrong))
    return Suspects(order, doubt[order], other[order], int(wrong.sum()))
