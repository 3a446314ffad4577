"""What the columns beside the paths mean, and what the files tell where the table does not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.tables.catalogue import Catalogue
from domainjepa.data.formats.tables.tabular import MOST_BYTES, Table
from domainjepa.data.metadata.columns import USUAL_NAMES, Columns, find_columns
from domainjepa.data.metadata.fields import AmbiguousNumbers
from domainjepa.data.source import OpenOptions, Source
from domainjepa.data.storage.layout import Array, is_usual
from domainjepa.errors import DataError

PLACES = ("x", "y")
_IDENTIFIER = re.compile(
    r"[a-z](ID|Id)$|[ _-]?id$|^id[ _-]|(^|[ _-])(uid|study|session|exam|series|mrn)"
)
"""Columns that may tell what belongs together."""


def find_roles(table: Table, name: str, options: OpenOptions, medical: bool) -> Columns:
    """Labels, groups, ids and split out of the columns beside the paths."""
    # y beside x is no label; an id or a name beside a scan may be the patient's.
    places = {one for one in table.names if one.lower() in PLACES}
    unread = places if len(places) > 1 else set()
    if medical:
        unread |= {one for one in table.names if is_usual(one, USUAL_NAMES["ids"])}
    unread -= {options.labels, options.groups, options.ids, options.split}
    one_a_row = Array((table.rows,), np.dtype(object))
    arrays = {one: one_a_row for one in table.names if one not in unread}
    columns = find_columns(
        arrays | {name: one_a_row}, lambda one: _short(table, one), name, options, table.where
    )
    if columns.groups is None and options.groups is None:
        columns.warnings += _hints(table, name)
    return columns


def _hints(table: Table, paths: str) -> list[str]:
    """Columns of identifiers that rows share, and that may tell what belongs together."""
    shared = {}
    for one in table.names:
        if one != paths and _IDENTIFIER.search(one) and not is_usual(one, USUAL_NAMES["ids"]):
            distinct = len(table.texts(one).unique())
            if 1 < distinct < table.rows:
                shared[one] = distinct
    if not shared:
        return []
    listed = ", ".join(f"{one} ({count:,})" for one, count in shared.items())
    return [
        f"groups: none. Rows share values of {listed}; where these belong to one patient or "
        f"object, say so: --set data.groups={next(iter(shared))}"
    ]


def joined(
    columns: Columns, samples: Source, options: OpenOptions, catalogue: Catalogue | None
) -> dict[str, Any]:
    """What the table tells, and where it does not, what the files tell."""
    if options.groups is None and _parts(columns.groups, samples.groups):
        # Such as arms of a study in a column "group", where the files tell the patients.
        columns.groups = None
        for said in (columns.decisions, columns.warnings):
            said[:] = [one for one in said if not one.startswith("groups:")]
        columns.warnings.append(
            "groups are those that the files tell, which the table's column would part; if the "
            "column is right, name it: --set data.groups=NAME"
        )
    elif columns.groups is None and samples.groups is not None:
        columns.warnings[:] = [one for one in columns.warnings if not one.startswith("groups:")]
    found = vars(columns)
    for role in ("groups", "ids", "split"):
        found[role] = getattr(samples, role) if found[role] is None else found[role]
    if columns.labels is None:
        found |= {"labels": samples.labels, "classes": samples.classes}
    found["decisions"] = [*columns.decisions, *samples.decisions]
    if catalogue:
        found["decisions"].insert(1, str(catalogue))
    found["warnings"] = [*columns.warnings, *samples.warnings]
    return found


def _short(table: Table, name: str) -> NDArray[Any]:
    """A column for labels, groups, ids or split, which become strings of one length."""
    try:
        values = table.column(name)
    except AmbiguousNumbers:  # as names they are what they are
        values = table.texts(name).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "O":
        longest = max(map(len, values.tolist()))
        if 4 * longest * len(values) > MOST_BYTES:
            raise DataError(
                f"column {name!r} of {table.where} has a field of {longest:,} characters: too long "
                "for labels, groups, ids or a split."
            )
    return values


def _parts(groups: NDArray[np.int64] | None, own: NDArray[np.int64] | None) -> bool:
    """Whether groups put samples apart that belong together in the files' own groups."""
    if groups is None or own is None:
        return False
    pairs = np.unique(np.stack([own, groups]), axis=1)
    return bool(pairs.shape[1] > len(np.unique(own)))
