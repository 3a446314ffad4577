"""What probes have to tell: classes, numbers, or several labels at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domainjepa.config import TargetConfig
from domainjepa.data.metadata.blanks import DOUBTFUL, as_values
from domainjepa.data.metadata.names import NAMED
from domainjepa.data.metadata.yes_no import MISSING, UNKNOWN, Count, marks_of, several
from domainjepa.data.source import Source
from domainjepa.errors import DataError

Kind = Literal["classes", "numbers", "multi-label", "masks"]
Strata = NDArray[np.int64]

FIFTHS = 5
MOST_CLASSES = 50
"""Integers of more different values are numbers, such as ages."""
OF_EACH: dict[Kind, str] = {
    "classes": "class",
    "numbers": "fifth",
    "multi-label": "label",
    "masks": "case",
}
"""What k shots are k of: a class; a fifth of the values; a label, counting only the rarest that a
sample has; of masks, an image, a volume or a patient."""
LABELS = "labels"
"""Name of a target that is the source's labels."""
PAIRS = (("0", "1"), ("False", "True"), ("no", "yes"))
"""Names of two classes that are the answers to one question."""
REDSHIFT = re.compile(r"z|z?(red)?shift|(z_?|photo_?|phot_?|spec_?)(z|phot|photo|spec|best|cos)")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


@dataclass(frozen=True)
class Target:
    """A value for every sample of a source.

    Attributes:
        name: of the column.
        kind: classes, numbers or multi-label.
        values: (N,) int64 classes; (N,) float64; or (N, L) int64 of 0, 1 and -1 for unknown.
        known: (N,) whether a sample has a value, of several labels at least one; the others take no
            part.
        classes: names of the classes or of the L labels; of numbers none.
        decision: how the kind was found, a readable line.
        counts: of labels of yes and no, how much is known of each.
        ordered: whether classes are grades, in their order.
        redshift: whether numbers are redshifts.
        far: of masks, the metric of distances in the unit that is known.
    """

    name: str
    kind: Kind
    values: NDArray[Any]
    known: NDArray[np.bool_]
    classes: tuple[str, ...]
    decision: str
    counts: tuple[Count, ...] = ()
    ordered: bool = False
    redshift: bool = False
    far: str = ""

    @property
    def yes_no(self) -> bool:
        """Whether the two classes of a column are no and yes."""
        return self.kind == "classes" and self.name != LABELS and self.classes in PAIRS

    @property
    def graded(self) -> bool:
        """Whether the order of the classes may mean something: that of numbers, or the data's."""
        return self.ordered or self.name == LABELS or all(map(str.isdecimal, self.classes))

    def strata(self, values: NDArray[Any]) -> Strata:
        """By what splits and draws are stratified, of some values alone: (n, ...) -> (n,).

        The class; the fifth of the values; the rarest label that a sample has, L for none.
        """
        if self.kind == "classes":
            return np.asarray(values, np.int64)
        if self.kind == "numbers":
            edges = np.quantile(values, np.arange(1, FIFTHS) / FIFTHS)
            return np.asarray(np.searchsorted(np.unique(edges), values, side="right"), np.int64)
        positive = values > 0
        rarity = np.where(positive, positive.sum(axis=0), len(values) + 1)
        rarest = np.where(positive.any(axis=1), rarity.argmin(axis=1), values.shape[1])
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


def target_of(source: Source, target: str | TargetConfig | None = None) -> Target:
    """The labels of a source, or columns of it.

    Args:
        target: a column of the container, or `name:REGEX`, or all of `target.*`. Text, truth values
            and whole numbers of at most 50 different values are classes, other numbers are
            numbers. 1, 0, -1 for uncertain and blanks are a label of yes and no; (N, L) of them, or
            several columns with commas between their names, are L labels. By default the source's
            labels.

    Raises:
        DataError: no labels, or a column that is none of these.
    """
    settings = target if isinstance(target, TargetConfig) else TargetConfig(column=target)
    column = settings.column
    if column is None:
        return replace(_labels(source), ordered=settings.ordered)
    # A comma in an expression on names parts nothing.
    parted = [column] if column.startswith(NAMED) else column.split(",")
    names = [name.strip() for name in parted]
    parts = [_column(source, name) for name in names]
    if len(parts) > 1:
        if any(part.ndim > 1 for part in parts):
            raise DataError(f"--target {column}: several columns need one value a sample each")
        return _several(column, names, parts, settings)
    values = parts[0]
    if values.ndim == 2:
        numbered = [str(one) for one in range(values.shape[1])]
        return _several(column, numbered, list(values.T), settings)
    if values.dtype.kind != "b" and (found := marks_of(column, values, settings)):
        marks, count = found
        known = marks != UNKNOWN
        said = f"yes or no; {count}"
        return Target(column, "classes", marks, known, ("0", "1"), said, (count,))
    return _classes_or_numbers(column, values, settings)


def _labels(source: Source) -> Target:
    if source.labels is None or not (source.labels >= 0).any():
        raise DataError(
            f"{source.name} has no labels, so there is nothing to score an encoder on. Name "
            "them with --target COLUMN or --set data.labels=NAME, or through a dataset card."
        )
    names = source.classes or tuple(str(one) for one in range(int(source.labels.max()) + 1))
    known = source.labels >= 0
    return Target(LABELS, "classes", source.labels, known, names, f"{len(names)} classes")


def _several(
    column: str, names: list[str], parts: list[NDArray[Any]], settings: TargetConfig
) -> Target:
    marks, counts = several(names, parts, settings)
    known = (marks != UNKNOWN).any(axis=1)
    decision = f"{len(names)} labels, each on the samples of which it is known. "
    decision += "; ".join(map(str, counts))
    return Target(column, "multi-label", marks, known, tuple(names), decision, counts)


def _classes_or_numbers(column: str, values: NDArray[Any], settings: TargetConfig) -> Target:
    """What a column holds that is no label of yes and no."""
    found = as_values(values)
    if found is None:
        return _of_numbers(column, values.astype(np.float64), settings)
    if not len(found.distinct):
        raise DataError(f"the column {column!r} is blank for every sample")
    integers = found.distinct.dtype.kind in "ui"
    if integers and len(found.distinct) > MOST_CLASSES:
        return _of_numbers(column, values.astype(np.float64), settings)
    if not integers and all(map(DECIMAL_COMMA.fullmatch, map(str, found.distinct))):
        points = np.char.replace(found.distinct, ",", ".").astype(np.float64)
        numbers = np.where(found.known, points[found.codes], np.nan)
        told = _of_numbers(column, numbers, settings)
        return replace(told, decision=f"{told.decision}, written with decimal commas")
    if settings.ordered and not integers:
        raise DataError(f"{column} holds text, whose order is not known: write grades as numbers.")
    is_class = ~_no_class(found.distinct) if integers else np.ones(len(found.distinct), bool)
    if settings.uncertain is not None:
        is_class &= found.distinct.astype(str) != f"{settings.uncertain}".removesuffix(".0")
    number = np.where(is_class, np.cumsum(is_class) - 1, -1)
    labels = np.where(found.known, number[found.codes], -1).astype(np.int64)
    classes = tuple(str(one) for one in found.distinct[is_class].tolist())
    decision = f"{len(classes)} classes"
    if missing := int((labels < 0).sum()):
        decision += f"; {missing:,} of {len(values):,} samples have none"
    words = [name for name in classes if name.lower() in DOUBTFUL]
    if words and not integers:
        decision += f"; {', '.join(words)} counts as one, unless data.blank names it"
    known, ordered = labels >= 0, settings.ordered
    return Target(column, "classes", labels, known, classes, decision, ordered=ordered)


def _no_class(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Integers that are no class: what catalogues write for none, and -1 where nothing else is
    negative. Hubble types from -6 to 11 are all classes."""
    missing: NDArray[np.bool_] = np.isin(numbers, MISSING)
    negative = numbers < 0
    if (numbers[negative & ~missing] == -1).all():
        missing |= negative
    return missing


def _of_numbers(name: str, numbers: NDArray[np.float64], settings: TargetConfig) -> Target:
    known, decision = np.isfinite(numbers), "numbers"
    for missing in MISSING:
        rows = numbers == missing
        if rows.any() and (numbers[known & ~rows] > missing / 2).all():
            known &= ~rows
            decision += f"; {missing} of {rows.sum():,} samples is taken for no value"
    if not isinstance(settings.uncertain, str | None):
        known &= numbers != settings.uncertain
    possible = bool((numbers[known] > -1).all())
    redshift = settings.redshift
    if redshift is None:
        redshift = possible and bool(REDSHIFT.fullmatch(name.rpartition("/")[2].lower()))
    if redshift and not possible:
        raise DataError(f"{name} is no redshift: it holds {numbers[known].min():g}, and z > -1.")
    return Target(name, "numbers", numbers, known, (), decision, redshift=redshift)


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
