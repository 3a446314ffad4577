"""How a protocol fits an encoder: a probe on frozen features, or the whole network.

What is returned takes positions in the training rows and gives answers on the test rows: it is
never handed a label of the test set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from domainjepa.data.source import Source
from domainjepa.evaluation.features import Encoder, Features
from domainjepa.evaluation.finetune import fine_tune, trainable
from domainjepa.evaluation.probes import PROBES, answers
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.scores import Answer
from domainjepa.evaluation.splits import Rows, Split, tuning_folds
from domainjepa.evaluation.targets import Target

SMALL = 10_000_000
"""Numbers in a feature matrix below which BLAS threads wait for each other longer than they work:
on a machine with other work, ten times longer."""

Fit = Callable[[Rows], tuple[Answer, bool]]
"""Positions in the training rows -> answers on the test rows, and whether the solver converged."""


def groups_of(source: Source, rows: Rows) -> Rows | None:
    """The groups of some rows, or None."""
    return None if source.groups is None else source.groups[rows]


def fit_probe(
    protocol: Protocol,
    target: Target,
    features: Features,
    labels: NDArray[Any],
    groups: Rows | None = None,
) -> tuple[Pipeline, bool]:
    """A probe fitted on training features alone, and whether its solver converged."""
    whole = target.kind == "classes"
    folds = tuning_folds(target.strata(labels), seed=protocol.seed, groups=groups, whole=whole)
    threads = 1 if features.size < SMALL else None
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads):
        warnings.simplefilter("always")
        probe = PROBES[protocol.probe][target.kind](features, labels, folds)
    stopped = [one for one in caught if issubclass(one.category, ConvergenceWarning)]
    for one in caught:
        if one not in stopped and "present in all training examples" not in str(one.message):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return probe, not stopped


def fitting(
    encoder: Encoder,
    protocol: Protocol,
    source: Source,
    target: Target,
    split: Split,
    train: Features,
    test: Features,
) -> Fit | None:
    """The fit of an encoder under a protocol; None where it has no network to train."""
    labels, groups = target.values[split.train], groups_of(source, split.train)

    def probe(chosen: Rows) -> tuple[Answer, bool]:
        of_chosen = None if groups is None else groups[chosen]
        fitted, converged = fit_probe(protocol, target, train[chosen], labels[chosen], of_chosen)
        return answers(fitted, target.kind, test, len(target.classes)), converged

    if protocol.probe != "finetune":
        return probe
    if (network := trainable(encoder)) is None:
        return None

    def network_and_head(chosen: Rows) -> tuple[Answer, bool]:
        of_chosen = None if groups is None else groups[chosen]
        answer = fine_tune(
            *network,
            source,
            target,
            split.train[chosen],
            split.test,
            protocol.finetune,
            seed=protocol.seed,
            groups=of_chosen,
        )
        return answer, True

    return network_and_head
