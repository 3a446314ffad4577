"""What is written already, and what new samples add to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.embed.formats import Columns
from domainjepa.embed.reading import EmbeddedFile
from domainjepa.errors import DataError, UserError


def read_written(path: Path) -> EmbeddedFile:
    """What `domainjepa embed` wrote, to be added to.

    Raises:
        UserError: the file was not written by it, or is damaged.
    """
    try:
        before = EmbeddedFile(path)
        if not before.about:
            raise DataError(f"{path.name} does not tell what wrote it.")
    except DataError as error:
        raise UserError(
            f"{path.name} holds no features of domainjepa embed that can be added to ({error}) "
            "Choose another --out, or leave --append out to replace it."
        ) from error
    return before


def only_new(
    before: EmbeddedFile, columns: Columns, encoder: str
) -> tuple[NDArray[np.bool_], Columns]:
    """Which samples a file does not hold, by their ids, and the columns of all together.

    Args:
        before: the file.
        columns: of the samples, N of them.
        encoder: what their features depend on.

    Returns:
        (N,) whether a sample is new; and the columns of the file with those of new samples below.

    Raises:
        UserError: another encoder, no ids to tell samples by, or other columns.
    """
    if before.about.get("encoder_sha256") != encoder:
        raise UserError(
            f"{before.path.name} holds features of another encoder, "
            f"{before.about.get('backbone')}: choose another --out."
        )
    held = {name: before.column(name) for name in before.names}
    there = {name: column for name, column in held.items() if column is not None}
    if "ids" not in columns or "ids" not in there:
        raise UserError(
            "--append tells new samples by their ids, and there are none: name a column by --set "
            "data.ids=NAME, or leave --append out to write all features anew."
        )
    if len(np.unique(columns["ids"])) < len(columns["ids"]):
        raise UserError("--append tells new samples by their ids, and some of these are the same.")
    # Which row of its source a sample was means nothing any more.
    old, added = ({n: c for n, c in of.items() if n != "rows"} for of in (there, columns))
    for name in old.keys() - added.keys():
        blank = _blank(name, old[name])
        if blank is not None:
            added[name] = np.full((len(columns["ids"]), *old[name].shape[1:]), blank)
    if old.keys() != added.keys():
        other = ", ".join(sorted(old.keys() ^ added.keys()))
        raise UserError(
            f"the samples and {before.path.name} do not have the same columns ({other}): choose "
            "another --out."
        )
    new = ~np.isin(columns["ids"], there["ids"])
    added = {name: column[new] for name, column in added.items()}
    if "class" in old and "labels" in old:
        added["labels"] = _same_numbers(old, added)
    return new, {name: np.concatenate([old[name], added[name]]) for name in old}


def _blank(name: str, column: NDArray[Any]) -> Any:
    """What stands for nothing in a column; None where there is no such value."""
    if name == "labels" and column.dtype.kind == "i":
        return column.dtype.type(-1)
    if column.dtype.kind == "f":
        return column.dtype.type(np.nan)
    return "" if column.dtype.kind == "U" else None


def _same_numbers(old: Columns, added: Columns) -> NDArray[Any]:
    """Labels of new samples by the names of their classes: a class keeps its number."""
    numbers = dict(zip(old["class"].tolist(), old["labels"].tolist(), strict=True))
    for name, label in zip(added["class"].tolist(), added["labels"].tolist(), strict=True):
        if name not in numbers:
            numbers[name] = label if label < 0 else max([-1, *numbers.values()]) + 1
    return np.array([numbers[name] for name in added["class"].tolist()], old["labels"].dtype)
