"""Labels, groups, ids and split by a rule of the user's: `name:REGEX`, `sky:60arcsec`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.columns import set_role
from domainjepa.data.metadata.fields import typed
from domainjepa.data.metadata.names import NAMED, texts_of
from domainjepa.data.metadata.pseudonym import pseudonyms
from domainjepa.data.metadata.sky import SKY, group_by_position
from domainjepa.data.source import Source
from domainjepa.errors import DataError

ROLES = ("labels", "groups", "ids", "split")
SHOWN = 20
"""Classes whose counts are told."""


def is_rule(told: str | None) -> bool:
    """Whether this is a rule and no name of a column."""
    return told is not None and told.startswith((NAMED, SKY))


def obey(source: Source, rules: Mapping[str, str]) -> None:
    """Sets what rules say of a source, in the place of what was found there.

    Args:
        source: freshly opened.
        rules: role -> rule.

    Raises:
        DataError: a rule is wrong, or says nothing of this data.
    """
    for role, told in rules.items():
        for said in (source.decisions, source.warnings):
            said[:] = [line for line in said if not line.startswith(f"{role}:")]
        if not told.startswith(SKY):
            read_names(source, role, told)
        elif role == "groups":
            group_by_position(source, told)
        else:
            raise DataError(f"data.{role}={told}: positions make groups, no {role}.")


def read_names(source: Source, role: str, told: str) -> None:
    """Sets labels, groups, ids or split of a source by the names of its files.

    Raises:
        DataError: as `texts_of`; or what the names say is unfit for the role.
    """
    texts = texts_of(
        source.file_names(),
        told.removeprefix(NAMED),
        f"data.{role}={told}",
        hidden=source.medical,
    )
    values = np.array(texts, dtype=object) if role == "ids" else typed(texts, source.blank)
    found = set_role(role, told, values, source.blank)
    setattr(source, role, getattr(found, role))
    source.warnings += found.warnings
    if role == "labels" and found.labels is not None:
        source.classes = found.classes
        classes = found.classes or [str(one) for one in range(int(found.labels.max()) + 1)]
        counted = counted_classes(found.labels, None if source.medical else classes)
        source.decisions.append(f"labels: {told}, {counted}")
    elif role == "groups" and found.groups is not None:
        sizes = np.bincount(found.groups)
        source.decisions.append(
            f"groups: {told}, {len(sizes):,} groups of {sizes.min():,} to {sizes.max():,} samples"
        )
    else:
        source.decisions += found.decisions


def counted_classes(labels: NDArray[Any], classes: Sequence[str] | None) -> str:
    """How many samples each class has, as the end of a decision.

    Args:
        labels: (N,) from 0, -1 where there is none.
        classes: their names; None where these are not to be shown.
    """
    counts = Counter(labels.tolist())
    missing = counts.pop(-1, 0)
    end = f"; {missing:,} without a label" if missing else ""
    if classes is None or len(counts) > SHOWN:
        sizes = sorted(counts.values())
        return f"{len(counts):,} classes of {sizes[0]:,} to {sizes[-1]:,} samples{end}"
    told = ", ".join(f"{classes[place]} {counts[place]:,}" for place in sorted(counts))
    return f"{len(counts)} classes ({told}){end}"


def hide_ids(source: Source) -> None:
    """Hashes in the place of ids that the user named of medical data."""
    if source.ids is not None:
        source.ids = pseudonyms("id", source.ids)
        source.decisions.append("ids: hashes, for the data are medical")
