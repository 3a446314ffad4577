"""`domainjepa similar`: the samples most like some of them, or like an image of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from domainjepa.discovery.embedded import Embedded
from domainjepa.discovery.neighbours import nearest
from domainjepa.discovery.queries import Query, features_of_queries
from domainjepa.discovery.samples import facts_of, write_csv
from domainjepa.discovery.space import Kind, space_of
from domainjepa.errors import UserError
from domainjepa.inspection.drawing import displayed
from domainjepa.pictures import Image, montage
from domainjepa.showing import shown

ACROSS = 10
"""Pictures in a line of a montage, beside the query."""


@dataclass(frozen=True)
class Similar:
    """What is like a query.

    Attributes:
        query: that was asked for.
        positions: (k,) of the samples, most alike first.
        cosines: (k,) -1 to 1.
    """

    query: Query
    positions: NDArray[np.int64]
    cosines: NDArray[np.float32]


def similar(
    of: Embedded, queries: list[Query], top: int, space: Kind = "plain", apart: bool = False
) -> list[Similar]:
    """The samples most like each query by cosine; never the query itself.

    Args:
        of: samples with their features.
        queries: some of them, or images.
        top: how many for each.
        space: `plain` features or `whitened` ones.
        apart: leave out samples of the query's own group: slices of one volume are alike.

    Raises:
        UserError: groups that the data do not have.
    """
    numbers = np.arange(len(of))
    if apart:
        if of.samples.groups is None:
            raise UserError("--apart leaves out samples of the query's own group; there are none.")
        numbers = of.samples.groups
    own = np.array([-1 if one.position is None else numbers[one.position] for one in queries])
    if apart and any(one.position is None for one in queries):
        own[[one.position is None for one in queries]] = numbers.min() - 1
    features = features_of_queries(queries, of)
    where, cosines = nearest(
        of.features, space_of(space, of.features), features, top, apart=numbers, own=own
    )
    return [
        Similar(query, at[at >= 0], cosine[at >= 0])
        for query, at, cosine in zip(queries, where, cosines, strict=True)
    ]


def table_of(one: Similar, of: Embedded) -> Table:
    """What is like one query, for a terminal."""
    header, lines = facts_of(of.samples, one.positions)
    table = Table(title=f"like {shown(one.query.name)}", title_justify="left", box=None)
    for name in ("", *header, "cosine"):
        table.add_column(name, justify="left" if name in ("id", "class") else "right")
    for rank, (line, cosine) in enumerate(zip(lines, one.cosines.tolist(), strict=True), 1):
        table.add_row(str(rank), *map(shown, line), f"{cosine:.3f}")
    return table


def as_json(found: list[Similar], of: Embedded) -> list[dict[str, Any]]:
    """One object a query: its name and row, and what is like it."""
    told = []
    for one in found:
        header, lines = facts_of(of.samples, one.positions)
        alike = [
            {**dict(zip(header, line, strict=True)), "cosine": round(cosine, 6)}
            for line, cosine in zip(lines, one.cosines.tolist(), strict=True)
        ]
        row = None if one.query.position is None else int(of.rows[one.query.position])
        told.append({"query": one.query.name, "row": row, "similar": alike})
    return told


def write_table(found: list[Similar], of: Embedded, path: Path) -> None:
    """A CSV with a line for each pair: query, rank, row, id, class, cosine."""
    header: list[str] = []
    lines: list[list[object]] = []
    for one in found:
        header, facts = facts_of(of.samples, one.positions)
        lines += [
            [one.query.name, rank, *line, f"{cosine:.6f}"]
            for rank, (line, cosine) in enumerate(zip(facts, one.cosines.tolist(), strict=True), 1)
        ]
    write_csv(path, ["query", "rank", *header, "cosine"], lines)


def draw(found: list[Similar], of: Embedded, path: Path) -> None:
    """A montage: each query, and beside it what is like it, most alike first."""
    show = displayed(of.source)
    rows: list[list[Image | None]] = []
    below: list[list[str]] = []
    for one in found:
        position = one.query.position
        query = one.query.picture() if position is None else show(int(of.rows[position]))
        for first in range(0, max(len(one.positions), 1), ACROSS):
            part = one.positions[first : first + ACROSS].tolist()
            rows.append([None if first else query, *(show(int(of.rows[at])) for at in part)])
            names = [
                f"{of.samples.called(at)} {cosine:.2f}"
                for at, cosine in zip(part, one.cosines[first:].tolist(), strict=False)
            ]
            below.append(["" if first else one.query.name, *map(shown, names)])
    montage(
        rows, path, captions=below,
        column_titles=["query", *map(str, range(1, max(map(len, rows))))],
        title=f"most alike by cosine: {of.source.public_name}",
    )  # fmt: skip
