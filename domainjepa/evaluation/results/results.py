"""What an evaluation found: records, their summary with intervals, paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from numpy.typing import NDArray

from domainjepa.data.metadata.targets import Target
from domainjepa.evaluation.encoders.features import Features
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.names import (
    CLASS_LETTERS,
    all_short,
    encoder_names,
)
from domainjepa.evaluation.results.cells import Cell
from domainjepa.evaluation.results.examples import Example
from domainjepa.evaluation.results.records import Difference, Readable, Record, Summary, Where
from domainjepa.evaluation.results.scores import Answer
from domainjepa.evaluation.splits import Rows, Shots

Cells = dict[tuple[str, Shots, str], Cell]
"""(protocol, shots, encoder) -> scores."""


@dataclass
class Results:
    """Everything that a report shows.

    Attributes:
        settings: protocols, data, split, encoders and versions; no paths.
        data: the source's name.
        target: what was asked for.
        protocols: as they were run.
        rows: of the test samples of the first protocol.
        truth: protocol -> (N, ...) values of its test samples.
        cells: (protocol, shots, encoder) -> scores; an encoder that a protocol cannot use has none.
        apart: the same of other test units, or by other labels.
        numbers: (protocol, where) -> how many test units there are.
        readable: how well a column is read from features, and the target from the column.
        order: encoders as they were given.
        features: encoder -> (N, D) of the samples in `rows`, pooled by their mean; a network that
            is trained from scratch has none.
        answers: (protocol, encoder) -> of the probe with the most labels, its first draw.
        warnings: readable lines.
        examples: of masks, protocol -> what a report shows.
        patches: of masks, encoder -> which layers were read, how many features a position has, how
            far apart positions are, and the share of their variance that one direction holds.
    """

    settings: dict[str, Any]
    data: str
    target: Target
    protocols: tuple[Protocol, ...]
    rows: Rows
    truth: dict[str, NDArray[Any]] = field(default_factory=dict)
    cells: Cells = field(default_factory=dict)
    apart: dict[Where, Cells] = field(default_factory=dict)
    numbers: dict[tuple[str, Where], int] = field(default_factory=dict)
    readable: list[Readable] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    features: dict[str, Features] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    patches: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def encoders(self) -> list[str]:
        """In the order in which they were given."""
        return self.order

    def encoders_of(self, protocol: Protocol) -> list[str]:
        """Those that a protocol could use, in the same order."""
        used = {encoder for name, _, encoder in self.cells if name == protocol.name}
        return [encoder for encoder in self.encoders if encoder in used]

    @property
    def used(self) -> list[Protocol]:
        """The protocols that could use an encoder."""
        return [protocol for protocol in self.protocols if self.encoders_of(protocol)]

    def metrics(self, protocol: Protocol) -> tuple[str, ...]:
        """Those measured, the one shown first in front."""
        return protocol.metrics_of(self.target)

    @property
    def labels(self) -> Rows:
        """(N,) classes of the samples in `rows`, or the strata that stand for them."""
        return self.target.strata(self.truth[self.protocols[0].name])

    @property
    def classes(self) -> Sequence[str]:
        """Names of what `labels` holds, for pictures."""
        names = self.target.strata_names(self.truth[self.protocols[0].name])
        return all_short(names, CLASS_LETTERS)

    @property
    def parts(self) -> Sequence[str]:
        """Names of the classes or labels, for pictures."""
        return all_short(self.target.classes, CLASS_LETTERS)

    @property
    def names(self) -> dict[str, str]:
        """Encoder -> its name in tables and pictures."""
        return encoder_names(self.encoders)

    def shots(self, protocol: Protocol) -> list[Shots]:
        """Those that were run, ascending, "all" last."""
        run = {shots for name, shots, _ in self.cells if name == protocol.name}
        return sorted(run, key=lambda shots: math.inf if shots == "all" else shots)

    @property
    def home(self) -> Where:
        """The data's own test units, by the data's own labels."""
        return Where(self.data, self.data)

    def cells_of(self, where: Where) -> Cells:
        """The scores of some test units, to read and to fill."""
        return self.cells if where == self.home else self.apart.setdefault(where, {})

    @property
    def everywhere(self) -> dict[Where, Cells]:
        """All scores, those of the data's own test first."""
        return {self.home: self.cells, **self.apart}

    def _apart(self, where: Where) -> dict[str, Any]:
        """What a row says of where it is from, but for the data's own test."""
        if where == self.home:
            return {}
        return {"fitted_on": where.fitted_on, "part": where.part}

    def _cells(self) -> Iterator[tuple[dict[str, Any], dict[str, Any], Cell]]:
        """Every cell, and those of its classes or labels: who and where, which label, scores."""
        for where, cells in self.everywhere.items():
            for (protocol, shots, encoder), cell in cells.items():
                head = {"encoder": encoder, "data": where.data, **self._apart(where)}
                for label, part in cell.parts():
                    of = {} if label is None else {"label": label}
                    yield {**head, "protocol": protocol, "shots": shots}, of, part

    @property
    def records(self) -> list[Record]:
        """Every score."""
        return [
            cast(Record, {**head, "draw": draw, "metric": metric, **of, "value": float(value)})
            for head, of, cell in self._cells()
            for metric, values in cell.values.items()
            for draw, value in enumerate(values)
        ]

    @property
    def summary(self) -> list[Summary]:
        """Mean, standard deviation and interval of every cell."""
        rows: list[Summary] = []
        for head, of, cell in self._cells():
            for metric, values in cell.values.items():
                low, high, interval = cell.interval(metric)
                row = {
                    **head,
                    "metric": metric,
                    **of,
                    "draws": len(values),
                    "mean": cell.mean(metric),
                    "std": float(values.std(ddof=1)) if len(values) > 1 else None,
                    "low": low,
                    "high": high,
                    "interval": interval,
                }
                rows.append(cast(Summary, row))
        return rows

    @property
    def differences(self) -> list[Difference]:
        """Every encoder minus every later one, paired; and each elsewhere minus at home there."""
        rows: list[Difference] = []
        order = self.encoders
        for where, cells in self.everywhere.items():
            native = self.apart.get(Where(where.data, where.data, where.part), {})
            for (protocol, shots, encoder), cell in cells.items():
                for versus in order[order.index(encoder) + 1 :]:
                    if (protocol, shots, versus) in cells:
                        gap = cell - cells[protocol, shots, versus]
                        apart = self._apart(where)
                        rows += _differences(encoder, versus, where, apart, protocol, shots, gap)
                if where.fitted_on != where.data and (protocol, shots, encoder) in native:
                    gap = cell - native[protocol, shots, encoder]
                    apart = {**self._apart(where), "versus_fitted_on": where.data}
                    rows += _differences(encoder, encoder, where, apart, protocol, shots, gap)
        return rows

    def warn(self, text: str) -> None:
        """Note a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)


def _differences(
    encoder: str,
    versus: str,
    where: Where,
    apart: dict[str, Any],
    protocol: str,
    shots: Shots,
    gap: Cell,
) -> list[Difference]:
    """One row a metric; `apart` is what it says of where it is from."""
    rows = []
    for label, part in gap.parts():
        of: dict[str, Any] = {} if label is None else {"label": label}
        for metric in part.values:
            low, high, interval = part.interval(metric)
            rows.append(
                Difference(
                    encoder=encoder,
                    versus=versus,
                    data=where.data,
                    **apart,  # type: ignore[typeddict-item]
                    protocol=protocol,
                    shots=shots,
                    metric=metric,
                    **of,
                    mean=part.mean(metric),
                    low=low,
                    high=high,
                    interval=interval,
                )
            )
    return rows
