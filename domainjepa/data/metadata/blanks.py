"""What means "no value": in a column of numbers, in one of words, and by the user's own word.

`NA` among numbers can be nothing else than a blank. Among words it may be a class, a genotype or
the name of a person, so there only what is empty is one, and what `data.blank` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

EMPTY = ("", "nan", "NaN")
"""No value in any column: NaN in a column of text is what tools make of an empty cell."""
AMONG_NUMBERS = (*EMPTY, "NA", "N/A", "n/a", "na", "null", "NULL", "None", "none", "-", "--", "?")
"""What tables and their tools write for no number."""
DOUBTFUL = ("na", "n/a", "none", "null")
"""Words, in lower case, that are a class or a blank: the user is told which was taken."""
EXACT = 2**53
"""From here on float64 does not tell all integers apart."""
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)


class Values(NamedTuple):
    """A column as its different values.

    Attributes:
        distinct: (K,) ascending integers, booleans or strings without surrounding blanks.
        codes: (N,) int64, which of them a row has; -1 where it is blank.
    """

    distinct: NDArray[Any]
    codes: NDArray[np.int64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) whether a row has a value."""
        return self.codes >= 0


def blanks_among(distinct: Iterable[str], told: Sequence[str] = ()) -> set[str]:
    """Those of the different texts of a column that mean no value.

    Args:
        distinct: without surrounding blanks.
        told: what the user calls blank.
    """
    texts = set(distinct)
    blank = {text for text in texts if text in EMPTY or text in told}
    doubtful = texts.intersection(AMONG_NUMBERS) - blank
    if doubtful and all(map(NUMBER.fullmatch, texts - blank - doubtful)):
        blank |= doubtful
    return blank


def as_values(stored: NDArray[Any], told: Sequence[str] = ()) -> Values | None:
    """Integers, booleans or strings as their different values, and which rows are blank.

    Whole floats are integers: that is what a single blank makes of a column of them.

    Args:
        stored: (N,) or (N, 1).
        told: what the user calls blank.

    Returns:
        None where the values are other numbers, or too large to be told apart as floats.
    """
    stored = stored.reshape(len(stored))
    if stored.dtype.kind in "SUOT":
        return _of_texts(stored.tolist(), told)
    if stored.dtype.kind not in "uifb":
        return None
    blank = are_blank(stored, told)
    whole = stored
    if stored.dtype.kind == "f":
        whole = np.where(blank, 0, stored)
        exact = 2 ** (np.finfo(stored.dtype).nmant + 1)
        if (whole != np.floor(whole)).any() or not (np.abs(whole) < exact).all():
            return None
        whole = whole.astype(np.int64)
    distinct, codes = np.unique(whole[~blank], return_inverse=True)
    every = np.full(len(stored), -1, np.int64)
    every[~blank] = codes
    return Values(distinct, every)


def _of_texts(values: list[Any], told: Sequence[str]) -> Values:
    text_of = {value: plain_text(value) for value in dict.fromkeys(values)}
    blank = blanks_among(text_of.values(), told)
    distinct = sorted(set(text_of.values()) - blank)
    number = {text: code for code, text in enumerate(distinct)}
    code_of = {value: number.get(text, -1) for value, text in text_of.items()}
    codes = np.fromiter(map(code_of.__getitem__, values), np.int64, len(values))
    return Values(np.array(distinct, dtype=np.str_), codes)


def plain_text(value: Any) -> str:
    """Bytes, text or another value as text without surrounding blanks; "" for None and NaN."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return "" if value is None or value != value else str(value).strip()


def are_blank(numbers: NDArray[Any], told: Sequence[str] = ()) -> NDArray[np.bool_]:
    """(N, ...) where numbers or booleans are NaN, or what the user calls blank."""
    kind = numbers.dtype.kind
    blank = np.isnan(numbers) if kind == "f" else np.zeros(numbers.shape, bool)
    for number in _numbers_told(told) if kind in "uif" else ():
        with np.errstate(over="ignore"):
            blank |= numbers == (numbers.dtype.type(number) if kind == "f" else number)
    return blank


def without(values: NDArray[Any], told: Sequence[str]) -> NDArray[Any]:
    """A column in which what the user calls blank has become NaN, or "" of text.

    Integers become floats where one of them is blank, and text where floats could not tell them
    apart.
    """
    if not told:
        return values
    if values.dtype.kind in "uif":
        blank = are_blank(values, told)
        if not blank.any():
            return values
        if values.dtype.kind in "ui" and (np.abs(values.astype(float)) >= EXACT).any():
            return np.where(blank, "", values.astype(str))
        return np.where(blank, np.nan, values)
    if values.dtype.kind not in "SUO":
        return values
    cleared: NDArray[Any] = values.copy()
    nothing: Any = b"" if values.dtype.kind == "S" else ""
    texts = list(map(plain_text, values.reshape(-1).tolist()))
    cleared[np.isin(texts, list(told)).reshape(values.shape)] = nothing
    return cleared


def _numbers_told(told: Sequence[str]) -> list[int | float]:
    numbers = [text for text in told if NUMBER.fullmatch(text) and "," not in text]
    return [int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text) for text in numbers]
