"""Whether a column confounds: where it is read from the features, and tells the target as well.

Then a probe may have learned the scanner in the place of the disease. Both are measured on test
units, with a probe and with rates of the training units.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.targets import Kind, Target
from domainjepa.data.sampling import key
from domainjepa.evaluation.cohorts.apart import Column
from domainjepa.evaluation.cohorts.cohort import Cohort
from domainjepa.evaluation.probes.fitting import fit_probe
from domainjepa.evaluation.probes.pooling import pooled_features
from domainjepa.evaluation.probes.probes import answers
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.results.cells import cell_of_answers
from domainjepa.evaluation.results.records import Readable
from domainjepa.evaluation.results.scores import Answer
from domainjepa.evaluation.scoring import Site
from domainjepa.evaluation.splits import Rows

BEYOND = 0.05
"""Above the score of knowing nothing by so much, interval and all: then a column can be read."""
RANK: dict[Kind, tuple[str, float]] = {
    "classes": ("roc_auc", 0.5),
    "multi-label": ("roc_auc", 0.5),
    "numbers": ("r2", 0.0),
}
"""What is measured of a kind of target here, and its value for knowing nothing."""
READ = Protocol(name="column", probe="linear", shots=("all",))


def read_from_features(encoder: str, column: Column, site: Site) -> list[Readable]:
    """How well a linear probe reads a column from an encoder's features.

    Nothing where training and test units share fewer than two of its values.
    """
    cohort = site.cohort
    divided = _divided(column.target, cohort)
    if divided is None:
        return []
    target, train, test = divided
    of_train, of_test = (pooled_features(site.bags(of), "mean") for of in (train, test))
    probe, _ = fit_probe(READ, target, of_train, target.values[train], cohort.groups(train))
    answer = answers(probe, target.kind, of_test, len(target.classes))
    return [_scored(column.name, encoder, target, test, answer, cohort)]


def told_by_column(column: Column, cohort: Cohort) -> list[Readable]:
    """How well the column alone tells the target: by the rates, or means, in training.

    Nothing where training and test units share fewer than two of its values.
    """
    divided = _divided(column.target, cohort)
    if divided is None:
        return []
    target, train, test = divided
    train, test = (of[cohort.target.known[of]] for of in (train, test))
    strata = column.target.strata(target.values[np.r_[train, test]])
    of_train, of_test = strata[: len(train)], strata[len(train) :]
    wanted = cohort.target
    values = wanted.values[train]
    if wanted.kind == "classes":
        values = np.eye(len(wanted.classes))[values]
    rows = np.asarray(values, np.float64).reshape(len(train), -1)
    known = (rows >= 0).astype(np.float64) if wanted.kind == "multi-label" else np.ones_like(rows)
    sums, counts = (np.zeros((int(strata.max()) + 1, rows.shape[1])) for _ in range(2))
    np.add.at(sums, of_train, rows * known)
    np.add.at(counts, of_train, known)
    # One more sample of the whole, so that a rare value does not tell everything.
    whole = (rows * known).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    rates = ((sums + whole) / (counts + 1))[of_test]
    answer = Answer(rates[:, 0]) if wanted.kind == "numbers" else Answer(rates.argmax(1), rates)
    return [_scored(column.name, None, wanted, test, answer, cohort)]


def _divided(target: Target, cohort: Cohort) -> tuple[Target, Rows, Rows] | None:
    """Training and test units with a value; of classes, those that both have."""
    split = next(iter(cohort.splits.values()))
    train, test = (of[target.known[of]] for of in (split.train, split.test))
    if target.kind == "classes":
        shared = np.intersect1d(target.values[train], target.values[test])
        train, test = (of[np.isin(target.values[of], shared)] for of in (train, test))
        index = np.full(len(target.classes), -1, np.int64)
        index[shared] = np.arange(len(shared))
        names = tuple(target.classes[one] for one in shared)
        target = replace(target, values=index[target.values], classes=names)
    if not len(train) or len(np.unique(target.values[test])) < 2:
        return None
    return (target, train, test) if len(np.unique(target.values[train])) > 1 else None


def _scored(
    column: str, encoder: str | None, target: Target, test: Rows, answer: Answer, cohort: Cohort
) -> Readable:
    metric, chance = RANK[target.kind]
    truth: NDArray[Any] = target.values[test]
    groups, seed = cohort.groups(test), key("column", len(test))
    cell = cell_of_answers(target, (metric,), truth, groups, [answer], seed)
    low, high, _ = cell.interval(metric)
    return Readable(
        column=column,
        encoder=encoder,
        metric=metric,
        value=cell.mean(metric),
        low=low,
        high=high,
        chance=chance,
    )


def beyond_chance(found: Readable) -> bool:
    """Whether a score is above knowing nothing, its interval and a margin considered."""
    return found["low"] > found["chance"] + BEYOND


def confounded(readable: list[Readable]) -> list[str]:
    """Warnings: columns that tell the target and are read from features."""
    lines = []
    alone = {one["column"]: one for one in readable if one["encoder"] is None}
    for name, column in alone.items():
        read = [one for one in readable if one["encoder"] and one["column"] == name]
        by = [one["encoder"] for one in read if beyond_chance(one)]
        if beyond_chance(column) and by:
            lines.append(
                f"{name} may confound the scores: it tells the target by itself ({shown(column)}), "
                f"and it can be read from the features of {', '.join(map(str, by))}. Compare the "
                f"scores within each {name}"
            )
    return lines


def shown(found: Readable) -> str:
    """A score with its interval, in words."""
    if found["metric"] == "r2":
        return f"R2 {found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}], 0 is nothing"
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"ROC AUC {value:.1f} % [{low:.1f}, {high:.1f}], 50 is chance"
