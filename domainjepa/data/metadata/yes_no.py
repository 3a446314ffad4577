"""Columns of yes and no with holes: what is known of each label, and what is uncertain.

Reports are mined for labels, catalogues are voted on: 1 and 0 are said, a blank says nothing, and
-1 says that the source itself was not sure (CheXpert: Irvin et al. 2019, arXiv:1901.07031).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.config import TargetConfig
from domainjepa.data.metadata.blanks import AMONG_NUMBERS, plain_text
from domainjepa.errors import DataError

UNKNOWN = -1
"""In (N, L) labels, beside 0 and 1."""
UNCERTAIN = -1.0
"""The value of an uncertain label, unless `target.uncertain` names another."""
MISSING = (-99999, -9999, -999, -99)
"""What catalogues write for no number; taken for that where all other numbers are far above it."""
YES = ("1", "1.0", "yes", "y", "true", "t", "positive", "present")
NO = ("0", "0.0", "no", "n", "false", "f", "negative", "absent")

Marks = NDArray[np.int64]


@dataclass(frozen=True)
class Count:
    """How much is known of a label.

    Attributes:
        label: its name.
        samples, known, positive: how many.
        uncertain: how many the data call uncertain.
        uncertain_as: what became of those: unknown, 0 or 1; they are among the known where counted.
    """

    label: str
    samples: int
    known: int
    positive: int
    uncertain: int
    uncertain_as: str

    def __str__(self) -> str:
        said = f"{self.label}: {self.known:,} of {self.samples:,} known, {self.positive:,} positive"
        if not self.uncertain:
            return said
        became = "left out" if self.uncertain_as == "unknown" else f"counted as {self.uncertain_as}"
        return f"{said}, {self.uncertain:,} uncertain ({became})"


def numbers_in(values: NDArray[Any]) -> NDArray[np.float64] | None:
    """A column as numbers, blanks as NaN; words of yes and no as 1 and 0. None for other text."""
    if values.dtype.kind in "uifb":
        return values.astype(np.float64)
    told = dict.fromkeys(AMONG_NUMBERS, np.nan) | dict.fromkeys(YES, 1.0) | dict.fromkeys(NO, 0.0)
    distinct, where = np.unique(as_words(values), return_inverse=True)
    numbers = []
    for word in distinct.tolist():
        try:
            numbers.append(told[word] if word in AMONG_NUMBERS else told[word.lower()])
        except KeyError:
            try:
                numbers.append(float(word))
            except ValueError:
                return None
    return np.array(numbers, np.float64)[where]


def as_words(values: NDArray[Any]) -> NDArray[np.str_]:
    """A column as text, without blanks around it."""
    return np.array([plain_text(one) for one in values.tolist()], dtype=np.str_)


def marks_of(
    label: str, values: NDArray[Any], settings: TargetConfig
) -> tuple[Marks, Count] | None:
    """One label of each sample: 1, 0, or `UNKNOWN`; None for a column of anything else.

    Args:
        label: its name.
        values: (N,) numbers or text.
        settings: what stands for uncertain, and what becomes of it.
    """
    named = settings.uncertain
    if isinstance(named, str) and values.dtype.kind not in "uifb":
        words = as_words(values)
        uncertain = words == named
        numbers = numbers_in(np.where(uncertain, "", words))
    else:
        numbers = numbers_in(values)
        value = UNCERTAIN if named is None or isinstance(named, str) else named
        uncertain = np.zeros(len(values), bool) if numbers is None else numbers == value
    if numbers is None:
        return None
    said = np.isin(numbers, (0, 1)) & ~uncertain
    if (
        not said.any()
        or not (said | uncertain | np.isnan(numbers) | np.isin(numbers, MISSING)).all()
    ):
        return None
    marks = np.where(said, np.nan_to_num(numbers), UNKNOWN).astype(np.int64)
    if settings.uncertain_as != "unknown":
        marks[uncertain] = settings.uncertain_as
    known, positive = int((marks != UNKNOWN).sum()), int((marks == 1).sum())
    counted = str(settings.uncertain_as)
    return marks, Count(label, len(marks), known, positive, int(uncertain.sum()), counted)


def several(
    labels: list[str], columns: list[NDArray[Any]], settings: TargetConfig
) -> tuple[Marks, tuple[Count, ...]]:
    """(N, L) labels, each with its own holes.

    Raises:
        DataError: a column that is none of yes and no.
    """
    marks, counts = [], []
    for label, values in zip(labels, columns, strict=True):
        found = marks_of(label, values, settings)
        if found is None:
            raise DataError(
                f"the label {label!r} is no column of zeros and ones: {_strange(values)}"
            )
        marks.append(found[0])
        counts.append(found[1])
    return np.stack(marks, axis=1), tuple(counts)


def _strange(values: NDArray[Any]) -> str:
    """What a column of yes and no must not hold."""
    numbers = numbers_in(values)
    if numbers is None:
        text = [word for word in as_words(values) if numbers_in(np.array([word])) is None]
        return f"it holds text such as {str(text[0])!r:.60}. Write 1, 0 or nothing"
    other = numbers[~np.isin(numbers, (0, 1, UNCERTAIN, *MISSING)) & ~np.isnan(numbers)]
    if not len(other):
        return "it says neither 0 nor 1 of any sample"
    return (
        f"it holds {other[0]:g}. If that means uncertain, say so by --set target.uncertain="
        f"{other[0]:g}; several columns at once are labels, one column may be a number"
    )
