"""What probes have to tell: classes, numbers, or several labels at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.blanks import DOUBTFUL, as_values
from domainjepa.data.names import NAMED
from domainjepa.data.source import Source
from domainjepa.errors import DataError

Kind = Literal["classes", "numbers", "multi-label"]
Strata = NDArray[np.int64]

FIFTHS = 5
MOST_CLASSES = 50
"""Integers of more different values are numbers, such as ages."""
MISSING = (-99999, -9999, -999, -99)
"""What catalogues write for no number; taken for that where all other numbers are far above it."""
OF_EACH: dict[Kind, str] = {"classes": "class", "numbers": "fifth", "multi-label": "label"}
"""What k shots are k of: a class; a fifth of the values; a label, counting only the rarest that a
sample has."""


@dataclass(frozen=True)
class Target:
    """A value for every sample of a source.

    Attributes:
        name: of the column.
        kind: classes, numbers or multi-label.
        values: (N,) int64 classes; (N,) float64; or (N, L) int64 zeros and ones.
        known: (N,) whether a sample has a value; the others take no part.
        classes: names of the classes or of the L labels; of numbers none.
        decision: how the kind was found, a readable line.
    """

    name: str
    kind: Kind
    values: NDArray[Any]
    known: NDArray[np.bool_]
    classes: tuple[str, ...]
    decision: str

    def strata(self, values: NDArray[Any]) -> Strata:
        """By what splits and draws are stratified, of some values alone: (n, ...) -> (n,).

        The class; the fifth of the values; the rarest label that a sample has, L for none.
        """
        if self.kind == "classes":
            return np.asarray(values, np.int64)
        if self.kind == "numbers":
            edges = np.quantile(values, np.arange(1, FIFTHS) / FIFTHS)
            return np.asarray(np.searchsorted(np.unique(edges), values, side="right"), np.int64)
        frequency = values.sum(axis=0)
        rarity = np.where(values > 0, frequency, len(values) + 1)
        rarest = np.where(values.any(axis=1), rarity.argmin(axis=1), values.shape[1])
        return np.asarray(rarest, np.int64)

    def strata_names(self, values: NDArray[Any]) -> tuple[str, ...]:
        """Names of what `strata` gives for these values."""
        if self.kind == "classes":
            return self.classes
        if self.kind == "multi-label":
            return (*self.classes, "none")
        strata = self.strata(values)
        parts = [values[strata == one] for one in range(int(strata.max()) + 1)]
        return tuple(f"{p.min():.3g} to {p.max():.3g}" if len(p) else "" for p in parts)


def target_of(source: Source, column: str | None = None) -> Target:
    """The labels of a source, or columns of it.

    Args:
        column: of the container, or `name:REGEX`: text, truth values and integers (or whole floats,
            which a blank makes of integers) of at most 50 different values are classes, other
            numbers are numbers, (N, L) zeros and ones are L labels; several names
            with commas between them are columns of zeros and ones. By default the source's labels.

    Raises:
        DataError: no labels, or a column that is none of these.
    """
    if column is None:
        if source.labels is None or not (source.labels >= 0).any():
            raise DataError(
                f"{source.name} has no labels, so there is nothing to score an encoder on. Name "
                "them with --target COLUMN or --set data.labels=NAME, or through a dataset card."
            )
        names = source.classes or tuple(str(one) for one in range(int(source.labels.max()) + 1))
        known = source.labels >= 0
        return Target("labels", "classes", source.labels, known, names, f"{len(names)} classes")
    # A comma in an expression on names parts nothing.
    names_of = [column] if column.startswith(NAMED) else column.split(",")
    parts = [_column(source, name) for name in names_of]
    if len(parts) > 1:
        if any(part.ndim > 1 for part in parts):
            raise DataError(f"--target {column}: several columns need one value a sample each")
        return _several(
            column, np.stack([_numbers(column, p) for p in parts], 1), column.split(",")
        )
    values = parts[0]
    if values.ndim == 2:
        numbered = [str(one) for one in range(values.shape[1])]
        return _several(column, _numbers(column, values), numbered)
    found = as_values(values)
    if found is None:
        return _of_numbers(column, values.astype(np.float64))
    if not len(found.distinct):
        raise DataError(f"the column {column!r} is blank for every sample")
    integers = found.distinct.dtype.kind in "ui"
    if integers and len(found.distinct) > MOST_CLASSES:
        return _of_numbers(column, values.astype(np.float64))
    is_class = ~_no_class(found.distinct) if integers else np.ones(len(found.distinct), bool)
    number = np.where(is_class, np.cumsum(is_class) - 1, -1)
    labels = np.where(found.known, number[found.codes], -1).astype(np.int64)
    classes = tuple(str(one) for one in found.distinct[is_class].tolist())
    decision = f"{len(classes)} classes"
    if missing := int((labels < 0).sum()):
        decision += f"; {missing:,} of {len(values):,} samples have none"
    words = [name for name in classes if name.lower() in DOUBTFUL]
    if words and not integers:
        decision += f"; {', '.join(words)} counts as one, unless data.blank names it"
    return Target(column, "classes", labels, labels >= 0, classes, decision)


def _no_class(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Integers that are no class: what catalogues write for none, and -1 where nothing else is
    negative. Hubble types from -6 to 11 are all classes."""
    missing: NDArray[np.bool_] = np.isin(values, MISSING)
    negative = values < 0
    if (values[negative & ~missing] == -1).all():
        missing |= negative
    return missing


def _of_numbers(name: str, numbers: NDArray[np.float64]) -> Target:
    known, decision = np.isfinite(numbers), "numbers"
    for missing in MISSING:
        rows = numbers == missing
        if rows.any() and (numbers[known & ~rows] > missing / 2).all():
            known &= ~rows
            decision += f"; {missing} of {rows.sum():,} samples is taken for no value"
    return Target(name, "numbers", numbers, known, (), decision)


def _column(source: Source, name: str) -> NDArray[Any]:
    values = np.asarray(source.column(name))
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if (
        len(values) != len(source)
        or values.ndim not in (1, 2)
        or values.dtype.kind not in "uifbUSOT"
    ):
        raise DataError(
            f"the column {name!r} of {source.name} has shape {values.shape} and dtype "
            f"{values.dtype}; a target has one value, or L zeros and ones, for each of the "
            f"{len(source)} samples"
        )
    return values


def _numbers(name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    try:
        return values.astype(np.float64)
    except ValueError as error:
        raise DataError(
            f"the column {name!r} holds text where zeros and ones are needed"
        ) from error


def _several(name: str, values: NDArray[np.float64], names: Sequence[str]) -> Target:
    known: NDArray[np.bool_] = np.asarray(np.isin(values, (0, 1)).all(axis=1))
    if not known.any():
        raise DataError(f"the columns {name!r} hold no sample with zeros and ones alone")
    marks = np.where(known[:, None], values, 0).astype(np.int64)
    decision = (
        f"{len(names)} labels at once; {int((~known).sum()):,} of {len(known):,} samples take no "
        "part: one of theirs is a blank, or neither 0 nor 1"
    )
    return Target(name, "multi-label", marks, known, tuple(names), decision)
