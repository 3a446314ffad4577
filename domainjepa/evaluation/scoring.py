"""One encoder under one protocol: every draw of labels fitted, and scored wherever it is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.metadata.targets import OF_EACH, Target
from domainjepa.data.sampling import key
from domainjepa.evaluation.cohorts.apart import Column
from domainjepa.evaluation.cohorts.cohort import Cohort
from domainjepa.evaluation.encoders.features import Encoder, Features
from domainjepa.evaluation.metrics import metrics_of_each
from domainjepa.evaluation.probes.fitting import Fit, fitting
from domainjepa.evaluation.probes.pooling import Bags
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.names import CLASS_LETTERS, all_short
from domainjepa.evaluation.reporting.progress import counting
from domainjepa.evaluation.results.cells import Cell, cell_of_answers
from domainjepa.evaluation.results.records import Where
from domainjepa.evaluation.results.results import Results
from domainjepa.evaluation.results.scores import Answer
from domainjepa.evaluation.splits import Rows, Shots, draw_shots

FEW = 5
"""Classes that a warning names."""


@dataclass(frozen=True)
class Asked:
    """Test units that a fit is to answer for.

    Attributes:
        bags: their features.
        truth: (U, ...) values.
        groups: (U,) or None.
    """

    bags: Bags
    truth: NDArray[Any]
    groups: Rows | None


@dataclass(frozen=True)
class Site:
    """A cohort as one encoder sees it.

    Attributes:
        name: of its data.
        cohort: units, target and splits.
        features: (n, D) of the rows that take part.
        column: by which its test units are scored apart, or None.
    """

    name: str
    cohort: Cohort
    features: Features
    column: Column | None

    def bags(self, units: Rows) -> Bags:
        """Some units with their features."""
        return self.cohort.bags(self.features, units)

    def asked(self, protocol: Protocol) -> Asked:
        """The test units of a protocol."""
        test = self.cohort.splits[protocol.name].test
        return Asked(self.bags(test), self.cohort.target.values[test], self.cohort.groups(test))

    def parts(self, protocol: Protocol) -> dict[str | None, Rows | None]:
        """All test units of a protocol, under None, and those of each value of the column."""
        parts: dict[str | None, Rows | None] = {None: None}
        if self.column:
            parts.update(self.column.parts(self.cohort.splits[protocol.name].test))
        return parts


@dataclass(frozen=True)
class Told:
    """What the fits of one protocol say.

    Attributes:
        answers: for each set of test units, shots -> answers, draw by draw.
        fits: how many there were.
        unconverged: of how many the solver stopped before it converged.
    """

    answers: list[dict[Shots, list[Answer]]]
    fits: int
    unconverged: int


def worth_running(protocol: Protocol, strata: Rows) -> list[Shots]:
    """The shots that differ from all labels, where all labels are asked for too."""
    most = np.bincount(strata).max()
    if "all" not in protocol.shots:
        return list(protocol.shots)
    return [shots for shots in protocol.shots if shots == "all" or shots < most]


def answered(
    fit: Fit,
    protocol: Protocol,
    target: Target,
    train: Rows,
    groups: Rows | None,
    asked: Sequence[Asked],
    progress: tuple[Console | None, str] = (None, ""),
) -> Told:
    """Every draw of a protocol fitted once, and its answers for each set of test units.

    Args:
        fit: of the encoder.
        target: of all units.
        train: positions of the training units.
        groups: of the training units, or None.
        asked: what to answer for.
        progress: where to show how far it is, and of what.
    """
    strata = target.strata(target.values[train])
    every: list[dict[Shots, list[Answer]]] = [{} for _ in asked]
    unconverged = 0
    draws = [
        (shots, draw)
        for shots in worth_running(protocol, strata)
        for draw in range(protocol.draws_of(shots))
    ]
    with counting(*progress, len(draws)) as counter:
        for shots, draw in draws:
            chosen = draw_shots(strata, shots, seed=protocol.seed, draw=draw, groups=groups)
            answer, converged = fit(chosen)
            unconverged += not converged
            for one, answers in zip(asked, every, strict=True):
                answers.setdefault(shots, []).append(answer(one.bags))
            counter.advance()
    return Told(every, len(draws), unconverged)


def score_everywhere(
    encoder: Encoder,
    protocol: Protocol,
    sites: Sequence[Site],
    results: Results,
    console: Console | None = None,
) -> bool:
    """One encoder under one protocol, scored at home and elsewhere, whole and in parts.

    Probes of home answer at every site; each other site answers to its own as well.

    Returns:
        Whether the protocol can use the encoder.
    """
    metrics = results.metrics(protocol)
    shown = (console, f"{protocol.name}: probes of {encoder.name}")
    of_each = metrics_of_each(results.target, metrics, bool(protocol.metrics))
    for fitted in sites:
        split = fitted.cohort.splits[protocol.name]
        if not len(split.train):
            continue
        fit = fitting(encoder, protocol, fitted.cohort, fitted.bags(split.train))
        if fit is None:
            return False
        places = sites if fitted is sites[0] else [fitted]
        asked = [site.asked(protocol) for site in places]
        groups = fitted.cohort.groups(split.train)
        told = answered(fit, protocol, fitted.cohort.target, split.train, groups, asked, shown)
        if told.unconverged:
            results.warn(
                f"{protocol.name}, {encoder.name}: {told.unconverged} of {told.fits} probes stopped"
                " before their solver converged; their scores may be a little low"
            )
        for site, test, answers in zip(places, asked, told.answers, strict=True):
            for part, chosen in site.parts(protocol).items():
                where = Where(site.name, fitted.name, part)
                number = len(test.bags) if chosen is None else len(chosen)
                results.numbers[protocol.name, where] = number
                cells = results.cells_of(where)
                for shots, of_draws in answers.items():
                    most = shots == max(answers, key=_labels)
                    every = most or fitted.cohort.target.kind == "multi-label"
                    cells[protocol.name, shots, encoder.name] = cell_of(
                        fitted.cohort.target,
                        metrics,
                        test,
                        of_draws,
                        protocol.seed,
                        chosen,
                        of_each if every else (),
                    )
            if site is fitted is sites[0]:
                results.answers[protocol.name, encoder.name] = answers[max(answers, key=_labels)][0]
    return True


def _labels(shots: Shots) -> float:
    return math.inf if shots == "all" else shots


def cell_of(
    target: Target,
    metrics: Sequence[str],
    asked: Asked,
    answers: Sequence[Answer],
    seed: int,
    chosen: Rows | None = None,
    of_each: Sequence[str] = (),
) -> Cell:
    """The scores of one number of shots.

    Args:
        answers: one a draw, for all of `asked`.
        seed: of the protocol: it keys the resampled test sets, the same for every encoder.
        chosen: score these units alone; all by default.
        of_each: metrics of every class or label alone.
    """
    truth, groups = asked.truth, asked.groups
    if chosen is not None:
        truth, groups = truth[chosen], None if groups is None else groups[chosen]
        answers = [one.of(chosen) for one in answers]
    seed = key(seed, "resample")
    return cell_of_answers(target, metrics, truth, groups, answers, seed, of_each)


def scarce(protocol: Protocol, target: Target, values: NDArray[Any]) -> list[str]:
    """What to know about shots that some classes do not have."""
    strata = target.strata(values)
    names = all_short(target.strata_names(values), CLASS_LETTERS)
    found, counts = np.unique(strata, return_counts=True)
    one = OF_EACH[target.kind]
    lines = []
    for shots in protocol.shots:
        if shots == "all" or shots <= counts.min():
            continue
        if shots not in worth_running(protocol, strata):
            if protocol.ladder:
                continue
            lines.append(f"{shots} labels a {one}: no {one} has more, so this is the same as all")
            continue
        few = [f"{names[c]} ({n})" for c, n in zip(found, counts, strict=True) if n < shots]
        told = ", ".join(few[:FEW]) + (f" and {len(few) - FEW} more" if len(few) > FEW else "")
        lines.append(f"{shots} labels a {one}: taken whole, with fewer: {told}")
    return lines
