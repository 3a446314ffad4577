"""Paths made of columns: `files/p{subject_id:.2}/p{subject_id}/s{study_id}/{dicom_id}.jpg`.

A field is a column's name, at will with `.N` for its first N characters or `0N` for zeros in front
of it up to N, as in Python's format strings. Nothing else of them is known here.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

import numpy as np

from domainjepa.data.formats.tables.tabular import Table, may_hold
from domainjepa.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pyarrow

_SPEC = re.compile(r"(?:0>?(?P<width>\d{1,3}))?(?:\.(?P<first>\d{1,3}))?", re.ASCII)
_UNSAFE = r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|\x00"
"""A cell that leads out of its folder, or begins at the root of the disk."""


def is_template(images: str | None) -> bool:
    """Whether `data.images` is a path made of columns."""
    return images is not None and "{" in images


def filled(table: Table, template: str) -> pyarrow.Array:
    """(rows,) the path of each row.

    Raises:
        DataError: no such column, a cell that is blank or leads out of the folder, or no template.
    """
    import pyarrow
    import pyarrow.compute as compute

    if ".." in re.split(r"[/\\]", template) or "\0" in template:
        raise DataError(f"data.images={template}: a path may not lead out of data.root by `..`.")
    parts: list[pyarrow.Array | pyarrow.Scalar] = []
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DataError(f"data.images={template}: {error}. Columns stand in {{ }}.") from error
    for literal, name, spec, conversion in pieces:
        if literal:
            parts.append(pyarrow.scalar(literal))
        if name is not None:
            if conversion or not name:
                raise DataError(f"data.images={template}: name a column between {{ and }}.")
            parts.append(_cells(table, name, spec or "", template))
    if all(isinstance(part, pyarrow.Scalar) for part in parts):
        raise DataError(f"data.images={template} names no column.")
    return compute.binary_join_element_wise(*parts, "")


def _cells(table: Table, name: str, spec: str, template: str) -> pyarrow.Array:
    """A column as parts of a path."""
    import pyarrow.compute as compute

    if name not in table.names:
        raise DataError(
            f"data.images={template}: {table.where} has no column {name!r}."
            f"{did_you_mean(name, table.names)}"
        )
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise DataError(
            f"data.images={template}: {{{name}:{spec}}} is not known; {{{name}:.2}} takes the "
            f"first two characters, {{{name}:08}} puts zeros in front."
        )
    cells = table.texts(name)
    problems = {
        "are blank": compute.equal(cells, ""),
        "lead out of the folder": _unsafe(cells),
    }
    for why, wrong in problems.items():
        rows = np.flatnonzero(np.asarray(wrong))
        if len(rows):
            raise DataError(
                f"data.images={template}: {len(rows):,} of {table.rows:,} rows have a {name!r} "
                f"which makes no path: they {why}, the first in row {rows[0]}. data.where leaves "
                f"rows out, such as blank ones by '{name}!='."
            )
    if (
        compute.all(compute.ends_with(cells, ".0")).as_py()
        and compute.all(compute.match_substring_regex(cells, r"^\d+\.0$")).as_py()
    ):
        cells = compute.replace_substring(cells, ".0", "")  # a blank made floats of integers
    if match["first"]:
        cells = compute.utf8_slice_codeunits(cells, 0, int(match["first"]))
    if match["width"]:
        cells = compute.utf8_lpad(cells, int(match["width"]), "0")
    return cells


def _unsafe(cells: pyarrow.Array) -> pyarrow.Array:
    """(rows,) whether a cell leads out of its folder; most have nothing that could."""
    import pyarrow.compute as compute

    doubtful = compute.or_(compute.starts_with(cells, "/"), compute.starts_with(cells, "\\"))
    if not may_hold(cells, b"..", b"\0") and not compute.any(doubtful).as_py():
        return doubtful
    return compute.match_substring_regex(cells, _UNSAFE)
