"""How odd samples are, in the space of an encoder.

Three measures, each higher for what is odder:

- `knn`: one minus the cosine to the k-th nearest other (Ramaswamy et al. 2000, SIGMOD): odd is what
  has no company.
- `density`: the local outlier factor (Breunig et al. 2000, SIGMOD): odd is what lies in thinner
  space than its neighbours do; 1 is inconspicuous.
- `forest`: scikit-learn's isolation forest (Liu, Ting & Zhou 2008, ICDM), minus its score.

Of samples that are odd together, such as 20 of one rare kind, k has to be larger than their number,
or they are each other's company. `benchmarks/discovery.py` measures all three on planted ones.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.sampling import key
from domainjepa.discovery.neighbours import Near, neighbours_of_all
from domainjepa.discovery.space import Space
from domainjepa.embed.blocks import Blocks
from domainjepa.waiting import stage

Measure = Literal["knn", "density", "forest"]
TREES = 500
_FORESTS_ROWS = 2**27
"""Numbers that the isolation forest is given at once: half a gigabyte."""

Scores = NDArray[np.float64]


def outlyingness(
    features: Blocks,
    space: Space,
    measure: Measure,
    k: int,
    *,
    seed: int = 0,
    console: Console | None = None,
) -> Scores:
    """(N,) how odd each sample is: see above.

    Args:
        features: (N, D).
        space: in which distances are taken.
        measure: which of the three.
        k: neighbours; the forest has none.
        seed: of the forest.
        console: where to show progress.
    """
    if measure == "forest":
        stage(console or Console(quiet=True), f"growing {TREES} trees")
        return isolation(features, space, seed)
    near = neighbours_of_all(features, space, k, console)
    return distance_to_kth(near) if measure == "knn" else local_outlier_factor(near)


def distance_to_kth(near: Near) -> Scores:
    """(N,) one minus the cosine to the furthest of the neighbours."""
    return 1 - _known(near)[:, -1]


def density(near: Near) -> Scores:
    """(N,) neighbours over the volume that they take, on a log scale: minus the log of the mean
    distance to them."""
    distances = np.sqrt(np.maximum(2 - 2 * _known(near), 0))
    return np.asarray(-np.log(distances.mean(axis=1) + 1e-6))


def local_outlier_factor(near: Near) -> Scores:
    """(N,) Breunig et al. 2000, definitions 5 to 7, by Euclidean distances of unit vectors.

    As scikit-learn's `LocalOutlierFactor`, from neighbours that are known already.
    """
    where = near[0]
    distances = np.sqrt(np.maximum(2 - 2 * _known(near), 0))
    furthest = distances[:, -1]
    reach = np.maximum(distances, furthest[where])
    local = 1 / (reach.mean(axis=1) + 1e-10)
    return np.asarray(local[where].mean(axis=1) / local)


def isolation(features: Blocks, space: Space, seed: int = 0) -> Scores:
    """(N,) minus the score of scikit-learn's `IsolationForest`, 0.5 to 1 of what is odd."""
    from sklearn.ensemble import IsolationForest

    draw = np.random.default_rng(key(seed, "isolation", len(features)))
    most = max(_FORESTS_ROWS // features.width, 1)
    rows = np.sort(draw.permutation(len(features))[:most])
    forest = IsolationForest(n_estimators=TREES, random_state=key(seed, "forest") % 2**32)
    forest.fit(space(features.all() if len(rows) == len(features) else features.take(rows)))
    return -np.concatenate([forest.score_samples(space(block)) for _, block in features.blocks()])


def _known(near: Near) -> Scores:
    """Cosines as float64; where an index found fewer neighbours, the last that it found."""
    cosines = near[1].astype(np.float64)
    lost = ~np.isfinite(cosines)
    if lost.any():
        lowest = np.where(lost, np.inf, cosines).min(axis=1, keepdims=True)
        lowest[~np.isfinite(lowest)] = -1.0  # nothing was found: it is alone
        cosines = np.where(lost, lowest, cosines)
    return cosines
