"""Fields of text -> integers, truth values, numbers or text: the type that a CSV file does not say.

A type is taken where every field that is not blank is of it, so one blank changes nothing. What
could merge two identifiers into one, such as 007 and 7 or 1E2 and 10E1, stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.blanks import NUMBER, blanks_among
from domainjepa.errors import DataError

Comma = Literal["decimal", "unknown"]
"""What a comma in a number is, where the number itself does not tell."""

_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII)
_NAME = re.compile(r"0\d+|-?\d{16,}", re.ASCII)
"""007 is a name, not a number; two of more digits than a float has would become one."""
_POWER = re.compile(r"\d+[eE]\d+", re.ASCII)
"""As no tool prints a number, but as names of wells, plates and patients come: 1E2."""
_MEASURED = re.compile(r".*([.,]|[eE][+-]).*", re.ASCII)
_INFINITY = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_DECIMALS = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*)(,\d*)?([eE][+-]?\d+)?", re.ASCII)
"""1,5 and 1.234,5"""
_THOUSANDS = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
"""1,234 and 1,234.5"""


class AmbiguousNumbers(DataError):
    """Numbers whose commas may be decimal points or parts of thousands."""


def typed(
    fields: Sequence[str], told: Sequence[str] = (), comma: Comma = "unknown"
) -> NDArray[Any]:
    """(N,) values of N fields, as `typed_distinct` takes them."""
    number = {field: place for place, field in enumerate(dict.fromkeys(fields))}
    codes = np.fromiter(map(number.__getitem__, fields), np.int64, len(fields))
    return typed_distinct(list(number), told, comma)[codes]


def typed_distinct(
    distinct: Sequence[str], told: Sequence[str] = (), comma: Comma = "unknown"
) -> NDArray[Any]:
    """(K,) int64, bool, float64, or text as objects, of K different fields.

    Blanks are NaN among numbers, so integers with a blank are floats, and "" among text.

    Args:
        distinct: with or without blanks around them.
        told: what the user calls blank.
        comma: what a comma in a number is.

    Raises:
        AmbiguousNumbers: a comma may be a decimal point or part of thousands.
    """
    texts = [field.strip() for field in distinct]
    blank = blanks_among(texts, told)
    real = set(texts) - blank
    if all(map(_INTEGER.fullmatch, real)):
        values = {text: int(text) for text in real}
        if not blank and all(-(2**63) <= value < 2**63 for value in values.values()):
            return np.array([values[text] for text in texts], dtype=np.int64)
        if not any(map(_NAME.fullmatch, real)):
            return _floats(texts, values)
    if real and {text.lower() for text in real} <= {"true", "false"}:
        truths = [text if text in blank else text.lower() == "true" for text in texts]
        return np.array(truths) if not blank else _texts(map(str, truths), blank)
    numbers = _numbers(real, comma)
    if numbers is not None:
        return _floats(texts, numbers)
    return _texts(texts, blank)


def _numbers(real: set[str], comma: Comma) -> dict[str, float] | None:
    """Text -> number where all are plain numbers that float64 tells apart, else None."""
    finite = {text for text in real if not _INFINITY.fullmatch(text)}
    if any(map(_NAME.fullmatch, finite)):
        return None
    if any(map(_POWER.fullmatch, finite)) and not any(map(_MEASURED.fullmatch, finite)):
        return None
    plain = {text: _pointed(text, finite, comma) for text in finite} if _commas(finite) else {}
    if None in plain.values() or not all(
        NUMBER.fullmatch(plain.get(text) or text) for text in finite
    ):
        return None
    values = {text: float(plain.get(text) or text) for text in real}
    return None if any(abs(values[text]) == float("inf") for text in finite) else values


def _commas(texts: Iterable[str]) -> bool:
    return any("," in text for text in texts)


def _pointed(text: str, every: set[str], comma: Comma) -> str | None:
    """A number with commas, written with a decimal point; None where it is none.

    Raises:
        DataError: its comma may be either.
    """
    decimals = all(map(_DECIMALS.fullmatch, every))
    thousands = all(map(_THOUSANDS.fullmatch, every))
    if decimals and thousands and comma == "unknown":
        raise AmbiguousNumbers(
            f"numbers such as {min(one for one in every if ',' in one)!r}, whose comma may be a "
            "decimal point or part of thousands: write 1.234 or 1234"
        )
    if decimals and (comma == "decimal" or not thousands):
        return text.replace(".", "").replace(",", ".")
    return text.replace(",", "") if thousands else None


def _floats(texts: Sequence[str], values: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([values.get(text, np.nan) for text in texts], dtype=np.float64)


def _texts(texts: Iterable[str], blank: set[str]) -> NDArray[Any]:
    return np.array(["" if text in blank else text for text in texts], dtype=object)
