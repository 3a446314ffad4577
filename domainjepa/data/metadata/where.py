"""Samples by conditions on columns: `source=vindr`, `qc_pass=true`, `redshift<0.3`.

Conditions are compared by the type of the column and joined by "and". Nothing is evaluated.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.blanks import EMPTY, are_blank
from domainjepa.data.metadata.columns import as_text
from domainjepa.errors import DataError, did_you_mean

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_OPERATOR = re.compile("|".join(COMPARE))
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?Z?)?)?", re.ASCII)
UNTOLD = "…"
"""What a run's `config.toml` has in the place of a value that may tell a person."""
TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


@dataclass(frozen=True)
class Condition:
    """A column, how it is compared, and with what; `text` is what the user wrote."""

    column: str
    compare: str
    value: str
    text: str


def parse(text: str, columns: Sequence[str] | None = None) -> Condition:
    """A condition out of its text.

    Args:
        text: COLUMN, one of = != < <= > >=, and a value, which may be quoted.
        columns: what the data has; without them the first operator ends the column's name.

    Raises:
        DataError: no condition, or on a column that is not there.
    """
    first = None
    for match in _OPERATOR.finditer(text):
        name, value = text[: match.start()].strip(), text[match.end() :].strip()
        if not name:
            break
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        first = first or Condition(name, match[0], value, text)
        if columns is None or name in columns:
            return Condition(name, match[0], value, text)
    if first is None:
        raise DataError(
            f"data.where: {text!r} is no condition. Write COLUMN=VALUE, or with one of != < <= > "
            ">=."
        )
    ends = [name for name in columns or () if name.rpartition("/")[2] == first.column]
    alike = [name for name in columns or () if name.lower() == first.column.lower()]
    for near in (ends, alike):
        if len(near) == 1:
            return Condition(near[0], first.compare, first.value, text)
    raise DataError(
        f"data.where: {text!r}: there is no column {first.column!r}."
        f"{did_you_mean(first.column, columns) if columns else ' The data has none.'}"
    )


def holds(condition: Condition, values: NDArray[Any], samples: int) -> NDArray[np.bool_]:
    """(N,) where a condition holds for the values of its column; a blank fulfils none but "=".

    Raises:
        DataError: the column has not one value a sample, or cannot be compared so.
    """
    if condition.value == UNTOLD:  # it would choose other samples without a word
        raise DataError(
            f"data.where: {condition.text!r}: the value is left out where settings are written "
            "down, since it may tell a person. Give the condition again, with --set data.where."
        )
    if values.shape not in ((samples,), (samples, 1)):
        raise DataError(
            f"data.where: {condition.text!r}: {condition.column!r} is of shape {values.shape}, not "
            f"one value for each of {samples:,} samples."
        )
    values = values.reshape(samples)
    kind = values.dtype.kind
    if kind not in "uifb":
        texts = as_text(values)
        blank = np.isin(texts, EMPTY)
        if {text.lower() for text in np.unique(texts[~blank]).tolist()} <= {"true", "false"}:
            values, kind = np.char.lower(texts) == "true", "b"
        else:
            values = texts
    else:
        blank = are_blank(values)
    if not condition.value:
        if COMPARE[condition.compare] not in (operator.eq, operator.ne):
            raise _wrong(condition, "nothing to compare with")
        return blank if COMPARE[condition.compare] is operator.eq else ~blank
    value = _like(condition, values, kind, blank)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.bool_] = COMPARE[condition.compare](values, value) & ~blank
    return found


def _like(condition: Condition, values: NDArray[Any], kind: str, blank: NDArray[np.bool_]) -> Any:
    """The value of a condition in the type of its column."""
    text = condition.value
    equality = COMPARE[condition.compare] in (operator.eq, operator.ne)
    if kind == "b":
        if text.lower() not in TRUTH or not equality:
            raise _wrong(condition, "it holds true and false")
        return TRUTH[text.lower()]
    if kind in "uif":
        if not _NUMBER.fullmatch(text):
            raise _wrong(condition, "it holds numbers")
        if re.fullmatch(r"[+-]?\d+", text):
            return int(text) if kind in "ui" else values.dtype.type(int(text))
        return float(text) if kind in "ui" else values.dtype.type(float(text))
    if equality:
        return text
    distinct = np.unique(values[~blank]).tolist()
    if not (_DATE.fullmatch(text) and all(map(_DATE.fullmatch, distinct))):
        raise _wrong(
            condition, f"it holds text, such as {distinct[0]!r}" if distinct else "it is blank"
        )
    return text


def _wrong(condition: Condition, held: str) -> DataError:
    hint = ""
    if "text" in held and _NUMBER.fullmatch(condition.value):
        hint = ", or name what is no number in it in data.blank"
    return DataError(
        f"data.where: {condition.text!r} cannot be compared: {held}. Compare numbers with numbers, "
        f"true and false and text by = or !={hint}."
    )


@dataclass(frozen=True)
class Choice:
    """What conditions chose.

    Attributes:
        rows: (n,) int64, ascending.
        decision: how many, and how many fulfil each condition.
        hidden: the same without the values, which may name patients.
    """

    rows: NDArray[np.int64]
    decision: str
    hidden: str


def choose(
    conditions: Sequence[str],
    columns: Sequence[str],
    read: Callable[[str], NDArray[Any]],
    samples: int,
) -> Choice:
    """The samples for which all conditions hold.

    Args:
        conditions: as the user wrote them.
        columns: names of what `read` reads.
        read: a column, (N,).
        samples: N.

    Raises:
        DataError: none is left, or as `parse` and `holds`.
    """
    every = np.ones(samples, bool)
    parsed = [parse(text, columns) for text in conditions]
    counts = []
    for one in parsed:
        values = read(one.column)
        found = holds(one, values, samples)
        if not found.any():
            raise DataError(f"data.where: no sample has {one.text}.{_instead(one, values)}")
        counts.append(int(found.sum()))
        every &= found
    if not every.any():
        raise DataError(f"data.where: no sample fulfils all of {', '.join(conditions)}.")
    total = f"where: {int(every.sum()):,} of {samples:,} samples"
    pairs = list(zip(parsed, counts, strict=True))
    return Choice(
        np.flatnonzero(every),
        f"{total}: {', '.join(f'{one.text} ({count:,})' for one, count in pairs)}",
        f"{total}: {', '.join(f'{one.column}{one.compare}… ({count:,})' for one, count in pairs)}",
    )


def _instead(condition: Condition, values: NDArray[Any]) -> str:
    """What a column of few values holds instead."""
    if values.dtype.kind in "f":
        known = values[np.isfinite(values)]
        return f" It holds {known.min():g} to {known.max():g}." if len(known) else ""
    return did_you_mean(condition.value, np.unique(as_text(values)).tolist())
