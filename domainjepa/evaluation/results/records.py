"""The rows of results.json: what a score is of, and where it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from domainjepa.evaluation.splits import Shots


@dataclass(frozen=True)
class Where:
    """Which test units a score is of, and whose labels its probe was fitted on.

    Attributes:
        data: that the test units are of.
        fitted_on: the data that the training labels are of.
        part: those of a column's value, such as "scanner = A"; None for all.
    """

    data: str
    fitted_on: str
    part: str | None = None


class Record(TypedDict):
    """One score of one probe; `fitted_on` and `part` where it is not of the data's own test.

    `label` is the class or label that it is of alone.
    """

    encoder: str
    data: str
    fitted_on: NotRequired[str]
    part: NotRequired[str | None]
    protocol: str
    shots: Shots
    draw: int
    metric: str
    label: NotRequired[str]
    value: float


class Summary(TypedDict):
    """The draws of one cell of a table; `interval` says what `low` and `high` cover."""

    encoder: str
    data: str
    fitted_on: NotRequired[str]
    part: NotRequired[str | None]
    protocol: str
    shots: Shots
    metric: str
    label: NotRequired[str]
    draws: int
    mean: float
    std: float | None
    low: float
    high: float
    interval: str


class Difference(TypedDict):
    """`encoder` minus `versus`, over the same draws or the same resampled test sets.

    Where both are one encoder, its probe fitted on other data minus that fitted on the test data's
    own: what it costs to go elsewhere.
    """

    encoder: str
    versus: str
    data: str
    fitted_on: NotRequired[str]
    versus_fitted_on: NotRequired[str]
    part: NotRequired[str | None]
    protocol: str
    shots: Shots
    metric: str
    label: NotRequired[str]
    mean: float
    low: float
    high: float
    interval: str


class Readable(TypedDict):
    """How well a column is read from an encoder's features, or the target from the column alone.

    `chance` is the score of knowing nothing; `interval` covers test units.
    """

    column: str
    encoder: str | None
    metric: str
    value: float
    low: float
    high: float
    chance: float
