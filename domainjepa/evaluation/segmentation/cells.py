"""Scores of masks with their intervals: means over units, of each class and over classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key
from domainjepa.evaluation.metrics.metric import share
from domainjepa.evaluation.results.cells import Cell
from domainjepa.evaluation.results.intervals import RESAMPLES, RESAMPLES_OF_DRAWS, independent
from domainjepa.evaluation.results.scores import resamples
from domainjepa.evaluation.splits import Rows

Scores = NDArray[np.float64]
"""(D, U, K): draws, test units, classes; NaN where a unit has nothing of a class to score."""


def mean_over_cases(of_cases: Scores, unit: Rows, units: int) -> Scores:
    """(..., C, K) scores of images -> (..., U, K) of units, of patients with several the mean."""
    known = np.isfinite(of_cases)
    shape = (*of_cases.shape[:-2], units, of_cases.shape[-1])
    sums, counts = np.zeros(shape), np.zeros(shape)
    for case, one in enumerate(unit.tolist()):
        sums[..., one, :] += np.where(known[..., case, :], of_cases[..., case, :], 0)
        counts[..., one, :] += known[..., case, :]
    return share(sums, counts)


def cell_of_masks(
    scores: Mapping[str, Scores], names: Sequence[str], groups: Rows | None, seed: int
) -> Cell:
    """The scores of one number of shots.

    A metric is the mean over classes of the means over units. Classes of no unit are left out.

    Args:
        scores: metric -> (D, U, K).
        names: (K,) of the classes.
        groups: (U,) equal for units that are drawn together, or None.
        seed: of the protocol: it keys the resampled test sets, the same for every encoder.
    """
    first = next(iter(scores.values()))
    draws, units, _ = first.shape
    number = RESAMPLES if draws == 1 else RESAMPLES_OF_DRAWS
    once = {metric: _means(found, np.ones((units, 1)))[..., 0] for metric, found in scores.items()}
    blocks: dict[str, list[Scores]] = {metric: [] for metric in scores}
    for weights in resamples(units, number, seed=key(seed, "resample"), groups=groups):
        for metric, found in scores.items():
            blocks[metric].append(_means(found, weights))
    drawn = {metric: np.concatenate(found, axis=-1) for metric, found in blocks.items()}
    there: NDArray[np.bool_] = np.asarray(np.isfinite(first).any(axis=0))
    whole = independent(groups, np.asarray(there.any(axis=1)))
    each = {
        name: Cell(
            {metric: once[metric][:, place] for metric in scores},
            {metric: drawn[metric][:, place] for metric in scores},
            dict.fromkeys(scores, independent(groups, there[:, place])),
            total=independent(groups, there[:, place]),
            means=True,
        )
        for place, name in enumerate(names)
        if there[:, place].any()
    }
    return Cell(
        {metric: _over_classes(found) for metric, found in once.items()},
        {metric: _over_classes(found) for metric, found in drawn.items()},
        dict.fromkeys(scores, whole),
        each,
        whole,
        means=True,
    )


def _means(found: Scores, weights: NDArray[np.float64]) -> Scores:
    """(D, U, K) and (U, R) -> (D, K, R), NaN where none of the units has the class."""
    known = np.isfinite(found)
    sums = np.einsum("duk,ur->dkr", np.where(known, found, 0), weights)
    counts = np.einsum("duk,ur->dkr", known.astype(np.float64), weights)
    return share(sums, counts.astype(np.float64))


def _over_classes(found: Scores) -> Scores:
    """(D, K, ...) -> (D, ...), the mean of those that are known."""
    known = np.isfinite(found)
    counts = known.sum(axis=1)
    sums = np.where(known, found, 0).sum(axis=1)
    return share(sums, counts.astype(np.float64))
