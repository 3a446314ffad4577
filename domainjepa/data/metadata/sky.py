"""Groups by position on the sky, without a card: `sky:60arcsec`.

Positions are the columns ra and dec, or two that are named (`sky:60arcsec,RA2,DE2`), or what two
groups of an expression match in the names of the files (`sky:60arcsec,name:_(…)([+-]…)_`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.columns import as_text
from domainjepa.data.metadata.fields import typed
from domainjepa.data.metadata.names import NAMED, texts_of
from domainjepa.data.metadata.rules import sky_groups
from domainjepa.errors import DataError

if TYPE_CHECKING:
    from domainjepa.data.source import Source

SKY = "sky:"
_RULE = re.compile(
    r"sky:\s*(?P<radius>\d+\.?\d*|\.\d+)\s*(?P<unit>arcsec|arcmin|deg)(\s*[:, ]\s*(?P<where>.+))?"
)
ARCSEC = {"arcsec": 1.0, "arcmin": 60.0, "deg": 3600.0}
USUAL = (
    ("ra", "dec"),
    ("ra_deg", "dec_deg"),
    ("radeg", "dedeg"),
    ("radeg", "decdeg"),
    ("raj2000", "dej2000"),
    ("raj2000", "decj2000"),
    ("_raj2000", "_dej2000"),
    ("ra_icrs", "de_icrs"),
    ("ra_icrs", "dec_icrs"),
    ("ra_j2000", "dec_j2000"),
    ("alpha_j2000", "delta_j2000"),
    ("s_ra", "s_dec"),
    ("rightascension", "declination"),
    ("right_ascension", "declination"),
)
"""Names of the two columns in lower case, as catalogues call them; the most usual first."""
_SEXAGESIMAL = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<whole>\d{1,3})\s*(?P<unit>[:hd° ])\s*(?P<minutes>[0-5]?\d)\s*[:m'′ ]\s*"
    r"(?P<seconds>[0-5]?\d(\.\d*)?)\s*(s|\"|''|″)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Rule:
    """A radius, and where the positions are: two columns, or an expression; None for the usual."""

    radius_arcsec: float
    columns: tuple[str, str] | None
    pattern: str | None


def parse(told: str) -> Rule:
    """The rule that `data.groups=sky:…` says.

    Raises:
        DataError: it is none.
    """
    match = _RULE.fullmatch(told.strip())
    radius = float(match["radius"]) * ARCSEC[match["unit"]] if match else 0.0
    if match is None or not 0 < radius < 90 * 3600:
        raise DataError(
            f"data.groups={told}: write sky:RADIUS with a unit, such as sky:60arcsec (or arcmin, "
            "deg), and at will ,RA,DEC or ,name:REGEX with two groups."
        )
    where = match["where"]
    if where is None:
        return Rule(radius, None, None)
    if where.startswith(NAMED):
        return Rule(radius, None, where.removeprefix(NAMED))
    columns = tuple(name.strip() for name in where.split(","))
    if len(columns) != 2 or not all(columns):
        raise DataError(f"data.groups={told}: name two columns, right ascension and declination.")
    return Rule(radius, (columns[0], columns[1]), None)


def group_by_position(source: Source, told: str) -> None:
    """Sets the groups of a source: samples within a radius of each other, or through others.

    Raises:
        DataError: no such rule or columns, or what they hold are no positions.
    """
    rule = parse(told)
    if rule.pattern is not None:
        files, hidden = source.file_names(), source.medical
        ra, dec = (
            typed(texts_of(files, rule.pattern, f"data.groups={told}", group, hidden=hidden))
            for group in (1, 2)
        )
        where = "the names"
    else:
        names = rule.columns or _usual(source, told)
        ra, dec = (source.column(name) for name in names)
        where = f"{names[0]}, {names[1]}"
    positions = (degrees(ra, "right ascension", told), degrees(dec, "declination", told))
    for values in positions:
        if values.shape != (len(source),):
            raise DataError(
                f"data.groups={told}: there are {len(values):,} positions, and {len(source):,} "
                "samples."
            )
    source.groups = sky_groups(*positions, rule.radius_arcsec)
    sizes = np.bincount(source.groups)
    source.decisions.append(
        f"groups: {len(sizes):,} by position ({where}), {int((sizes > 1).sum()):,} of them of "
        f"samples within {rule.radius_arcsec:g} arcsec of each other"
    )
    unknown = int((~np.isfinite(positions).all(axis=0)).sum())
    if unknown:
        source.warnings.append(
            f"groups: {unknown:,} of {len(source):,} samples have no position, and each is a group "
            "of its own"
        )


def _usual(source: Source, told: str) -> tuple[str, str]:
    spelt = {key.rpartition("/")[2].lower(): key for key in reversed(source.keys)}
    for ra, dec in USUAL:
        if ra in spelt and dec in spelt:
            return spelt[ra], spelt[dec]
    held = ", ".join(source.keys[:20]) or "none"
    raise DataError(
        f"data.groups={told}: {source.name} has no columns ra and dec; its columns are {held}. "
        f"Name two, {told},RA,DEC; or two groups of an expression on the files' names, "
        f"{told},name:REGEX."
    )


def degrees(values: NDArray[Any], what: str, told: str) -> NDArray[np.float64]:
    """(N,) degrees of numbers, or of text such as 12:34:56.7, 12h34m56.7s or 12 34 56.7.

    Sexagesimal right ascensions are hours, unless `d` or ° stands behind the first number; blanks
    are NaN.

    Raises:
        DataError: a value is no angle, or beyond 0 to 360 (-180 to 180) or -90 to 90 degrees.
    """
    values = values.reshape(len(values))
    ascension = what == "right ascension"
    if values.dtype.kind in "uif":
        angles = values.astype(np.float64)
    else:
        texts = as_text(values)
        distinct, place = np.unique(texts, return_inverse=True)
        angles = np.array([_angle(text, ascension, told) for text in distinct.tolist()])[place]
    low, high = (-180.0, 360.0) if ascension else (-90.0, 90.0)
    wrong = np.flatnonzero((angles < low) | (angles > high))
    if len(wrong):
        raise DataError(
            f"data.groups={told}: the {what} of sample {wrong[0]} is {angles[wrong[0]]:g} degrees, "
            f"which is beyond {low:g} to {high:g}."
        )
    return angles


def _angle(text: str, ascension: bool, told: str) -> float:
    if not text or text.lower() == "nan":
        return float("nan")
    match = _SEXAGESIMAL.fullmatch(text)
    if match is None:
        try:
            return float(text)
        except ValueError:
            raise DataError(
                f"data.groups={told}: {text!r} is no angle. Write degrees, or 12:34:56.7."
            ) from None
    size = int(match["whole"]) + int(match["minutes"]) / 60 + float(match["seconds"]) / 3600
    hours = match["unit"] == "h" or (ascension and match["unit"] in ": ")
    return (-size if match["sign"] == "-" else size) * (15 if hours else 1)
