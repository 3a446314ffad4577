"""Labels that people fill in: the template that is written, and what is read back from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.tables.reading import read_table
from domainjepa.data.formats.tables.tabular import as_words
from domainjepa.discovery.labelling import Known
from domainjepa.discovery.samples import Positions, Samples, facts_of, write_csv
from domainjepa.errors import DataError, UserError
from domainjepa.showing import shown

ROW, ID, LABEL = "row", "id", "label"


def known_labels(samples: Samples, files: Sequence[Path]) -> Known:
    """The labels of the data, and those of files, of which the later ones win.

    Raises:
        UserError: a file that cannot be read, is of other data, or holds no labels.
    """
    names = np.array(samples.class_of or [""] * len(samples), object)
    at_row = {row: at for at, row in enumerate(samples.rows.tolist())}
    for path in files:
        for row, name in _filled(path, samples).items():
            if row not in at_row:
                raise DataError(f"{path.name}: row {row} is none of {samples.name}.")
            names[at_row[row]] = name
    classes = tuple(sorted({name for name in names.tolist() if name}))
    number = {name: at for at, name in enumerate(classes)}
    labels = np.array([number.get(name, -1) for name in names.tolist()], np.int64)
    return Known(labels, classes, samples.groups)


def _filled(path: Path, samples: Samples) -> dict[int, str]:
    """Row -> label of the lines that have one."""
    if not path.is_file():
        raise UserError(f"--labels {path.name}: there is no such file.")
    table = read_table(path)
    for name in (ROW, LABEL):
        if name not in table.names:
            raise DataError(
                f"{path.name} has no column {name!r}: fill in the file that `domainjepa label "
                "--csv` wrote."
            )
    rows, labels = as_words(table.column(ROW)), as_words(table.column(LABEL))
    if not all(row.isdecimal() for row in rows):
        raise DataError(f"{path.name}: {ROW!r} holds the numbers of samples, and nothing else.")
    found = {int(row): shown(label.strip()) for row, label in zip(rows, labels, strict=True)
             if label.strip()}  # fmt: skip
    if not found:
        raise DataError(f"{path.name}: no line has a {LABEL}. Fill in that column.")
    if ID in table.names and samples.ids is not None:
        _refuse_others(
            path, dict(zip(map(int, rows), as_words(table.column(ID)), strict=True)), samples
        )
    return found


def _refuse_others(path: Path, ids: dict[int, str], samples: Samples) -> None:
    own = dict(zip(samples.rows.tolist(), samples.ids.tolist(), strict=True))  # type: ignore[union-attr]
    for row, name in ids.items():
        if row in own and own[row] != name:
            raise DataError(
                f"{path.name}: row {row} has the id {shown(name)}, and that of {samples.name} is "
                f"{shown(own[row])}: the labels are of other data."
            )


def write_template(
    path: Path, samples: Samples, order: Positions, words: Mapping[str, Sequence[str]]
) -> None:
    """A CSV of samples with an empty column `label` to fill in.

    Args:
        path: to write.
        samples: all of them.
        order: positions of those to label.
        words: columns that say something of each, such as what a probe proposes.
    """
    header, lines = _row_and_id(samples, order)
    told = list(zip(*words.values(), strict=True)) if words else [()] * len(lines)
    rows = ([*line, *beside, ""] for line, beside in zip(lines, told, strict=True))
    write_csv(path, [*header, *words, LABEL], rows)


def write_answers(
    path: Path, samples: Samples, known: Known, answers: Sequence[str], chances: NDArray[np.float64]
) -> None:
    """A CSV of all samples: row, id, the label where one is known, what the probe says."""
    header, lines = _row_and_id(samples, np.arange(len(samples)))
    labels = [known.classes[one] if one >= 0 else "" for one in known.labels.tolist()]
    write_csv(
        path,
        [*header, LABEL, "answer", "chance"],
        (
            [*line, label, answer, f"{chance:.4f}"]
            for line, label, answer, chance in zip(
                lines, labels, answers, chances.tolist(), strict=True
            )
        ),
    )


def _row_and_id(samples: Samples, order: Positions) -> tuple[list[str], list[list[object]]]:
    header, lines = facts_of(samples, order)
    width = 1 + (samples.ids is not None)
    return header[:width], [line[:width] for line in lines]
