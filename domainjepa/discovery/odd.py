"""`domainjepa outliers`: the oddest samples, as a table, a montage and a CSV of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from domainjepa.discovery.embedded import Embedded
from domainjepa.discovery.outlyingness import Measure, Scores
from domainjepa.discovery.samples import facts_of, write_csv
from domainjepa.inspection.drawing import displayed
from domainjepa.pictures import montage
from domainjepa.showing import shown

ACROSS = 10
WORDS: dict[Measure, str] = {
    "knn": "distance to the k-th nearest",
    "density": "local outlier factor",
    "forest": "isolation forest",
}


def oddest(scores: Scores, top: int) -> NDArray[np.int64]:
    """Positions of the highest scores, the oddest first; of equals the first."""
    return np.argsort(-scores, kind="stable")[:top]


def table_of(order: NDArray[np.int64], scores: Scores, of: Embedded, measure: Measure) -> Table:
    """The oddest samples, for a terminal."""
    header, lines = facts_of(of.samples, order)
    table = Table(title=f"odd by {WORDS[measure]}", title_justify="left", box=None)
    for name in ("", *header, "score"):
        table.add_column(name, justify="left" if name in ("id", "class") else "right")
    for rank, (line, score) in enumerate(zip(lines, scores[order].tolist(), strict=True), 1):
        table.add_row(str(rank), *map(shown, line), f"{score:.4f}")
    return table


def as_json(order: NDArray[np.int64], scores: Scores, of: Embedded) -> list[dict[str, Any]]:
    """One object a sample: row, id, class, score; the oddest first."""
    header, lines = facts_of(of.samples, order)
    return [
        {**dict(zip(header, line, strict=True)), "score": round(score, 6)}
        for line, score in zip(lines, scores[order].tolist(), strict=True)
    ]


def write_table(scores: Scores, of: Embedded, path: Path) -> None:
    """A CSV of every sample, the oddest first: rank, row, id, class, score."""
    order = oddest(scores, len(scores))
    header, lines = facts_of(of.samples, order)
    told = enumerate(zip(lines, scores[order].tolist(), strict=True), 1)
    rows = ([rank, *line, f"{score:.6f}"] for rank, (line, score) in told)
    write_csv(path, ["rank", *header, "score"], rows)


def draw(
    order: NDArray[np.int64], scores: Scores, of: Embedded, measure: Measure, path: Path
) -> None:
    """A montage of the oddest, line by line."""
    show = displayed(of.source)
    lines = [order[first : first + ACROSS].tolist() for first in range(0, len(order), ACROSS)]
    montage(
        [[show(int(of.rows[at])) for at in line] for line in lines],
        path,
        captions=[[shown(f"{of.samples.called(at)} {scores[at]:.2f}") for at in line]
                  for line in lines],
        title=f"odd by {WORDS[measure]}: {of.source.public_name}",
    )  # fmt: skip
