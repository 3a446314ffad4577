"""What goes along with samples into a file of one's own: labels, groups, split, ids and columns.

Nothing useful is lost, and no patient is named. Of galaxies, ids and every plain column come along.
Of data that are medical, or that have a column of persons, ids leave as hashes (`pseudonym`), and
of the columns at most numbers and text that is a category.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.columns import USUAL_NAMES, as_text
from domainjepa.data.metadata.pseudonym import pseudonyms
from domainjepa.data.source import Source
from domainjepa.data.storage.layout import USUAL_NAMES as IMAGE_NAMES
from domainjepa.data.storage.layout import is_usual, leaf
from domainjepa.errors import DataError

PERSONAL = re.compile(
    r"patient|subject|participant|person|birth|accession|mrn|surname|first_?name", re.IGNORECASE
)
"""Names of columns of persons."""
NO_CATEGORY = re.compile("name|path|file|folder|dir|image|img|ur[il]|id$|case|study", re.IGNORECASE)
"""Names of columns of text that could lead to files or persons."""
FILE = re.compile(r"[/~\\].*|[A-Za-z]:.*|.*\.[A-Za-z]\w{1,4}", re.DOTALL)
"""Text that is a path or the name of a file."""
PLACE = re.compile(r"[/~\\].*|[A-Za-z]:[/\\].*|\w+://.*", re.DOTALL)
"""Text that is a place on somebody's machine, or a URL."""
MOST_IN_COLUMN = 2**28
"""Bytes."""
ROLE = re.compile(r"(images|labels|groups|ids|split|paths): (?:column )?'([^']*)'")
"""A decision that names the column of a role, which comes along as that."""
PLAIN = re.compile(r"\w[\w.+ -]*(/\w[\w.+ -]*)*")
"""Names that a column may keep."""


@dataclass
class Beside:
    """What comes along and what does not.

    Attributes:
        roles: labels, groups, split and ids, of those that there are; (N,) each.
        columns: name -> (N, …).
        left_out: names of columns.
        why: they are left out; a phrase.
        private: their names may say something of patients, too.
    """

    roles: dict[str, NDArray[Any]]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    why: str = ""
    private: bool = False

    def told(self) -> str:
        """What is left out, in a line; empty where nothing is."""
        if not self.left_out:
            return ""
        which = f"{len(self.left_out)} columns" if self.private else ", ".join(self.left_out)
        return f"left out: {which} ({self.why})"


def of_persons(source: Source) -> bool:
    """Whether ids and columns of text may name somebody."""
    return source.medical or any(PERSONAL.search(name) for name in source.keys)


def beside(source: Source, taken: Collection[str] = ()) -> Beside:
    """What may come along with the samples of a source.

    Args:
        source: any.
        taken: names that the file gives to something else.
    """
    personal = of_persons(source)
    ids = source.ids
    if ids is not None and personal and source.loader != "dicom":  # those are hashes
        ids = pseudonyms("id", ids)
    roles = {"labels": source.labels, "groups": source.groups, "split": source.split, "ids": ids}
    found = Beside({name: values for name, values in roles.items() if values is not None})
    found.private = source.medical
    found.why = "too large, no plain values, or paths"
    if personal:
        found.why = "of medical data" if source.medical else "could name persons or files"
    kept = {"images", "paths", *found.roles, *(("masks", "masks_known") if source.masks else ())}
    told = [match for match in map(ROLE.match, source.decisions) if match and match[1] in kept]
    kept |= {match[2] for match in told} | ({"class_names", "classes"} if source.classes else set())
    for name in source.keys:
        if name in kept:
            continue
        unfit = leaf(name) in (*taken, *IMAGE_NAMES) or not PLAIN.fullmatch(name)
        values = None if source.medical or unfit else _column(source, name, personal)
        if values is None:
            found.left_out.append(name)
        else:
            found.columns[name] = values
    return found


def _column(source: Source, name: str, personal: bool) -> NDArray[Any] | None:
    """A column that may come along, or None."""
    roles = [*USUAL_NAMES["groups"], *USUAL_NAMES["ids"], *USUAL_NAMES["split"]]
    if personal and (is_usual(name, roles) or PERSONAL.search(name)):
        return None
    try:
        values = source.column(name)
    except DataError:  # too large for a column, or damaged
        return None
    if values.shape[:1] != (len(source),) or values.ndim > 2 or 0 in values.shape:
        return None
    if values.dtype.kind in "uifb":
        return values if values.nbytes <= MOST_IN_COLUMN else None
    if values.dtype.kind not in "SUOT" or values.ndim != 1:
        return None
    longest = max(len(str(value)) for value in values.tolist())
    if 4 * longest * len(values) > MOST_IN_COLUMN:
        return None
    values = as_text(values)
    distinct = np.unique(values).tolist()
    if any(map(PLACE.fullmatch, distinct)):
        return None
    if personal and (NO_CATEGORY.search(name) or not _is_category(distinct, len(values))):
        return None
    return values


def _is_category(distinct: list[str], samples: int) -> bool:
    return len(distinct) <= samples // 2 and not any(map(FILE.fullmatch, distinct))
