"""What an evaluation found: records, their summary with intervals, paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from domainjepa.evaluation.features import Features
from domainjepa.evaluation.intervals import DRAWN, RESAMPLED, over_draws, over_resamples
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.scores import Answer, Array
from domainjepa.evaluation.splits import Rows, Shots
from domainjepa.evaluation.targets import Target


class Record(TypedDict):
    """One score of one probe."""

    encoder: str
    data: str
    protocol: str
    shots: Shots
    draw: int
    metric: str
    value: float


class Summary(TypedDict):
    """The draws of one cell of a table; `interval` says what `low` and `high` cover."""

    encoder: str
    data: str
    protocol: str
    shots: Shots
    metric: str
    draws: int
    mean: float
    std: float | None
    low: float
    high: float
    interval: str


class Difference(TypedDict):
    """`encoder` minus `versus`, over the same draws or the same resampled test sets."""

    encoder: str
    versus: str
    data: str
    protocol: str
    shots: Shots
    metric: str
    mean: float
    low: float
    high: float
    interval: str


@dataclass(frozen=True)
class Cell:
    """One encoder at one number of shots.

    Attributes:
        values: metric -> (D,) scores, one a draw of the labels; one alone with all labels.
        resampled: metric -> (D, R) the same on resampled test sets.
    """

    values: Mapping[str, Array]
    resampled: Mapping[str, Array]

    @property
    def draws(self) -> int:
        return len(next(iter(self.values.values())))

    def interval(self, metric: str) -> tuple[float, float, str]:
        """Low, high, and what they cover."""
        if self.draws == 1:
            return *over_resamples(self.resampled[metric][0]), RESAMPLED
        return *over_draws(self.values[metric], self.resampled[metric]), DRAWN

    def __sub__(self, other: Cell) -> Cell:
        """Paired: draw by draw, test set by test set."""
        return Cell(
            {name: one - other.values[name] for name, one in self.values.items()},
            {name: one - other.resampled[name] for name, one in self.resampled.items()},
        )


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
        features: encoder -> (N, D) of the samples in `rows`.
        answers: (protocol, encoder) -> of the probe with the most labels, its first draw.
        warnings: readable lines.
    """

    settings: dict[str, Any]
    data: str
    target: Target
    protocols: tuple[Protocol, ...]
    rows: Rows
    truth: dict[str, NDArray[Any]] = field(default_factory=dict)
    cells: dict[tuple[str, Shots, str], Cell] = field(default_factory=dict)
    features: dict[str, Features] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def encoders(self) -> list[str]:
        """In the order in which they were given."""
        return list(self.features)

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
        return protocol.metrics_of(self.target.kind)

    @property
    def labels(self) -> Rows:
        """(N,) classes of the samples in `rows`, or the strata that stand for them."""
        return self.target.strata(self.truth[self.protocols[0].name])

    @property
    def classes(self) -> Sequence[str]:
        """Names of what `labels` holds."""
        return self.target.strata_names(self.truth[self.protocols[0].name])

    def shots(self, protocol: Protocol) -> list[Shots]:
        """Those that were run, ascending, "all" last."""
        run = {shots for name, shots, _ in self.cells if name == protocol.name}
        return sorted(run, key=lambda shots: math.inf if shots == "all" else shots)

    @property
    def records(self) -> list[Record]:
        """Every score."""
        return [
            Record(
                encoder=encoder,
                data=self.data,
                protocol=protocol,
                shots=shots,
                draw=draw,
                metric=metric,
                value=float(value),
            )
            for (protocol, shots, encoder), cell in self.cells.items()
            for metric, values in cell.values.items()
            for draw, value in enumerate(values)
        ]

    @property
    def summary(self) -> list[Summary]:
        """Mean, standard deviation and interval of every cell."""
        rows: list[Summary] = []
        for (protocol, shots, encoder), cell in self.cells.items():
            for metric, values in cell.values.items():
                low, high, interval = cell.interval(metric)
                std = float(values.std(ddof=1)) if len(values) > 1 else None
                rows.append(
                    Summary(
                        encoder=encoder,
                        data=self.data,
                        protocol=protocol,
                        shots=shots,
                        metric=metric,
                        draws=len(values),
                        mean=float(np.mean(values)),
                        std=std,
                        low=low,
                        high=high,
                        interval=interval,
                    )
                )
        return rows

    @property
    def differences(self) -> list[Difference]:
        """Every encoder minus every later one, paired."""
        rows: list[Difference] = []
        order = self.encoders
        for (protocol, shots, encoder), cell in self.cells.items():
            for versus in order[order.index(encoder) + 1 :]:
                if (protocol, shots, versus) not in self.cells:
                    continue
                gap = cell - self.cells[protocol, shots, versus]
                for metric, values in gap.values.items():
                    low, high, interval = gap.interval(metric)
                    rows.append(
                        Difference(
                            encoder=encoder,
                            versus=versus,
                            data=self.data,
                            protocol=protocol,
                            shots=shots,
                            metric=metric,
                            mean=float(np.mean(values)),
                            low=low,
                            high=high,
                            interval=interval,
                        )
                    )
        return rows

    def warn(self, text: str) -> None:
        """Note a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)
