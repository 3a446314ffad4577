"""How a protocol fits an encoder: a probe on frozen features, or the whole network.

A fit takes positions in the training units and gives what answers for others: it is never handed a
label of the test set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from domainjepa.data.metadata.targets import Target
from domainjepa.evaluation.cohorts.cohort import Cohort
from domainjepa.evaluation.encoders.features import Encoder, Features
from domainjepa.evaluation.encoders.scratch import trained_anew
from domainjepa.evaluation.probes.attention import fit_attention
from domainjepa.evaluation.probes.finetune import trainable, tuned
from domainjepa.evaluation.probes.pooling import OF_SCORES, Bags, pooled_answer, pooled_features
from domainjepa.evaluation.probes.probes import PROBES, answers
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.results.scores import Answer
from domainjepa.evaluation.splits import TUNING_FOLDS, Rows, tuning_folds

SMALL = 10_000_000
"""Numbers in a feature matrix below which BLAS threads wait for each other longer than they work:
on a machine with other work, ten times longer."""

Answering = Callable[[Bags], Answer]
"""Units -> an answer for each."""
Fit = Callable[[Rows], tuple[Answering, bool]]
"""Positions in the training units -> what answers, and whether the solver converged."""


def fit_probe(
    protocol: Protocol,
    target: Target,
    features: Features,
    labels: NDArray[Any],
    groups: Rows | None = None,
) -> tuple[Pipeline, bool]:
    """A probe fitted on training features alone, and whether its solver converged."""
    whole = target.kind == "classes"
    strata = target.strata(labels)
    if target.kind == "multi-label" and np.bincount(strata).max() >= TUNING_FOLDS:
        # Folds by one label would let its holes change the penalty of another.
        strata = np.zeros(len(labels), np.int64)
    folds = tuning_folds(strata, seed=protocol.seed, groups=groups, whole=whole)
    threads = 1 if features.size < SMALL else None
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads):
        warnings.simplefilter("always")
        # A label of each class is a classification all the same.
        warnings.filterwarnings("ignore", "The number of unique classes is greater")
        probe = PROBES[protocol.probe][target.kind](features, labels, folds)
    stopped = [one for one in caught if issubclass(one.category, ConvergenceWarning)]
    for one in caught:
        if one not in stopped:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return probe, not stopped


def fitting(encoder: Encoder, protocol: Protocol, cohort: Cohort, train: Bags) -> Fit | None:
    """The fit of an encoder under a protocol; None where it has no network to train.

    Args:
        train: all training units.
    """
    target = cohort.target
    part = cohort.splits[protocol.name].train
    labels, groups = target.values[part], cohort.groups(part)
    pool, whole = protocol.pooling, target.kind == "classes"

    def on_pooled_features(chosen: Rows) -> tuple[Answering, bool]:
        features = pooled_features(train.take(chosen), pool)
        of_chosen = None if groups is None else groups[chosen]
        fitted, converged = fit_probe(protocol, target, features, labels[chosen], of_chosen)

        def answer(bags: Bags) -> Answer:
            return answers(fitted, target.kind, pooled_features(bags, pool), len(target.classes))

        return answer, converged

    def on_samples(chosen: Rows) -> tuple[Answering, bool]:
        bags = train.take(chosen)
        of_samples, together = labels[chosen][bags.unit], _together(bags, chosen, groups)
        fitted, converged = fit_probe(protocol, target, bags.features, of_samples, together)

        def answer(bags: Bags) -> Answer:
            given = answers(fitted, target.kind, bags.features, len(target.classes))
            return pooled_answer(target.kind, given, bags, pool)

        return answer, converged

    def with_attention(chosen: Rows) -> tuple[Answering, bool]:
        bags, values = train.take(chosen), labels[chosen]
        of_chosen = None if groups is None else groups[chosen]
        folds = tuning_folds(
            target.strata(values), seed=protocol.seed, groups=of_chosen, whole=whole
        )
        outputs = 1 if target.kind == "numbers" else len(target.classes)
        return fit_attention(target.kind, bags, values, outputs, folds, protocol.seed), True

    if protocol.probe == "finetune" or trained_anew(encoder):
        return _of_network(encoder, protocol, cohort, train)
    if pool == "attention":
        return with_attention
    return on_samples if pool in OF_SCORES else on_pooled_features


def _together(bags: Bags, chosen: Rows, groups: Rows | None) -> Rows | None:
    """(n,) equal for samples that folds must not part: those of a group, else of a unit."""
    if groups is None and len(bags) == len(bags.rows):
        return None
    return (chosen if groups is None else groups[chosen])[bags.unit]


def _of_network(encoder: Encoder, protocol: Protocol, cohort: Cohort, train: Bags) -> Fit | None:
    """Training a network on the samples of units, each with its unit's label; scores are pooled."""
    network = trainable(encoder)
    if network is None:
        return None
    target, part = cohort.target, cohort.splits[protocol.name].train
    labels, groups = target.values[part], cohort.groups(part)
    pool = protocol.pooling if protocol.pooling in OF_SCORES else OF_SCORES[0]
    of_rows = np.zeros((len(cohort.source), *labels.shape[1:]), labels.dtype)
    of_rows[train.rows] = labels[train.unit]
    of_samples = replace(target, values=of_rows)

    def fit(chosen: Rows) -> tuple[Answering, bool]:
        bags = train.take(chosen)
        model = tuned(
            *network,
            cohort.source,
            of_samples,
            bags.rows,
            protocol.finetune,
            seed=protocol.seed,
            groups=_together(bags, chosen, groups),
        )

        def answer(bags: Bags) -> Answer:
            given = model(bags.source, bags.rows)
            return pooled_answer(target.kind, given, bags, pool)

        return answer, True

    return fit
