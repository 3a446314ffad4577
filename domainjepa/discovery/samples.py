"""What may be told of samples: rows, ids, classes, columns; of patients hashes and numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.beside import beside, of_persons
from domainjepa.data.source import Source
from domainjepa.writing import write_atomically

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """What may be told of N samples; see `domainjepa.data.metadata.beside`.

    Attributes:
        name: of the data, for messages on the terminal alone.
        rows: (N,) rows of the source.
        ids: (N,) strings, hashes where they could name somebody; or None.
        labels: (N,) class indices, -1 where there is none; or None.
        classes: names of the classes.
        groups: (N,) equal for what belongs together; or None.
        split: (N,) train, val or test; or None.
        columns: name -> (N, …).
        left_out: what does not come along, in a line; or empty.
        personal: whether the data are of persons.
    """

    name: str
    rows: Positions
    ids: NDArray[np.str_] | None = None
    labels: Positions | None = None
    classes: tuple[str, ...] = ()
    groups: Positions | None = None
    split: NDArray[np.str_] | None = None
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    left_out: str = ""
    personal: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def class_of(self) -> list[str] | None:
        """(N,) names of the classes, empty where there is none."""
        if self.labels is None:
            return None
        known = self.classes or tuple(map(str, range(int(self.labels.max(initial=-1)) + 1)))
        return [known[label] if label >= 0 else "" for label in self.labels.tolist()]

    def called(self, position: int) -> str:
        """The id of a sample, else its row."""
        row = int(self.rows[position])
        return f"row {row}" if self.ids is None else str(self.ids[position])


def samples_of(source: Source, rows: Positions) -> Samples:
    """What may be told of these rows."""
    found = beside(source)
    of = {name: values[rows] for name, values in {**found.roles, **found.columns}.items()}
    labels = of.pop("labels", None)
    return Samples(
        name=source.name,
        rows=rows,
        ids=of.pop("ids", None),
        labels=labels,
        classes=tuple(source.classes or ()),
        groups=of.pop("groups", None),
        split=of.pop("split", None),
        columns={name: values for name, values in of.items() if name in found.columns},
        left_out=found.told(),
        personal=of_persons(source),
    )


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """A table in UTF-8, with lines as RFC 4180 has them but for their end.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(text.getvalue().encode("utf-8", "replace")))


def facts_of(samples: Samples, positions: Positions) -> tuple[list[str], list[list[object]]]:
    """Row, id and class of samples as a table: its header, and a line for each."""
    header = ["row"]
    columns: list[Sequence[object]] = [samples.rows[positions].tolist()]
    if samples.ids is not None:
        header.append("id")
        columns.append(samples.ids[positions].tolist())
    if samples.labels is not None:
        every = samples.class_of or []
        header.append("class")
        columns.append([every[position] for position in positions.tolist()])
    return header, [list(line) for line in zip(*columns, strict=True)]
