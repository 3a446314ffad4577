"""What an evaluation found: records, their summary with intervals, paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from domainjepa.evaluation.features import Features
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.scores import Array, over_draws, over_resamples
from domainjepa.evaluation.splits import Rows, Shots

DRAWN = "95 % Student t over draws of the training labels"
RESAMPLED = "95 % bootstrap over the test samples"


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
        values: metric -> (draws,) scores.
        resampled: metric -> (R,) scores of the one probe on resampled test sets, where "all" labels
            leave nothing to draw; None for draws.
    """

    values: Mapping[str, Array]
    resampled: Mapping[str, Array] | None = None

    def interval(self, metric: str) -> tuple[float, float, str]:
        """Low, high, and what they cover."""
        if self.resampled is not None:
            return *over_resamples(self.resampled[metric]), RESAMPLED
        return *over_draws(self.values[metric]), DRAWN

    def __sub__(self, other: Cell) -> Cell:
        values = {name: one - other.values[name] for name, one in self.values.items()}
        if self.resampled is None or other.resampled is None:
            return Cell(values)
        resampled = {name: one - other.resampled[name] for name, one in self.resampled.items()}
        return Cell(values, resampled)


@dataclass
class Results:
    """Everything that a report shows.

    Attributes:
        settings: protocols, data, split, encoders and versions; no paths.
        data: the source's name.
        protocols: as they were run.
        classes: names of the classes.
        rows: of the test samples of the first protocol.
        truth: protocol -> (N,) classes of its test samples.
        cells: (protocol, shots, encoder) -> scores.
        features: encoder -> (N, D) of the samples in `rows`.
        predictions: (protocol, encoder) -> (N,) classes, by the probe with the most labels.
        warnings: readable lines.
    """

    settings: dict[str, Any]
    data: str
    protocols: tuple[Protocol, ...]
    classes: tuple[str, ...]
    rows: Rows
    truth: dict[str, Rows] = field(default_factory=dict)
    cells: dict[tuple[str, Shots, str], Cell] = field(default_factory=dict)
    features: dict[str, Features] = field(default_factory=dict)
    predictions: dict[tuple[str, str], Rows] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def encoders(self) -> list[str]:
        """In the order in which they were given."""
        return list(self.features)

    @property
    def labels(self) -> Rows:
        """(N,) classes of the samples in `rows`."""
        return self.truth[self.protocols[0].name]

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
