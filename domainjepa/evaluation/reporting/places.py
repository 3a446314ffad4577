"""Scores by where they hold: here, there, and by the values of a column; as rows of a table."""

from __future__ import annotations

import math
from typing import TypedDict

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domainjepa.evaluation.guards.confounders import beyond_chance, shown
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.tables import heading, number, unit
from domainjepa.evaluation.results.cells import Cell
from domainjepa.evaluation.results.records import Where
from domainjepa.evaluation.results.results import Results


class Place(TypedDict):
    """A line of the table: one encoder, some test units, and a cell for each number of shots."""

    encoder: str
    place: str
    units: str
    cells: list[str]


def place_rows(results: Results, protocol: Protocol, metric: str) -> list[Place]:
    """Every encoder wherever it is scored; nothing where that is at home alone."""
    if not results.apart:
        return []
    run = results.shots(protocol)
    rows: list[Place] = []
    for encoder in results.encoders_of(protocol):
        for where, cells in results.everywhere.items():
            of_shots = [cells.get((protocol.name, shots, encoder)) for shots in run]
            if not any(of_shots):
                continue
            units = f"{results.numbers.get((protocol.name, where), 0):,}"
            texts = [_text(cell, metric) for cell in of_shots]
            rows.append(
                {"encoder": encoder, "place": _said(where, results), "units": units, "cells": texts}
            )
            if where.data == where.fitted_on != results.data:
                lost = _lost(results, where, protocol, encoder)
                of_part = f", {where.part}" if where.part else ""
                place = f"there − fitted there{of_part}"
                texts = [_text(gap, metric, "+") for gap in lost]
                rows.append({"encoder": encoder, "place": place, "units": units, "cells": texts})
    return rows


def _lost(results: Results, where: Where, protocol: Protocol, encoder: str) -> list[Cell | None]:
    """What a probe from home loses against one fitted there, for each number of shots."""
    found: list[Cell | None] = []
    for shots in results.shots(protocol):
        name = (protocol.name, shots, encoder)
        from_home = results.apart.get(Where(where.data, results.data, where.part), {}).get(name)
        native = results.apart[where].get(name)
        found.append(from_home - native if from_home and native else None)
    return found


def show_places(results: Results, console: Console) -> None:
    """Print the scores of the most labels by where they hold."""
    for protocol in results.used:
        metric = results.metrics(protocol)[0]
        rows = place_rows(results, protocol, metric)
        if not rows:
            continue
        most = heading(results.shots(protocol)[-1], results.target.kind)
        console.print(f"{protocol.name}, {most}: {unit(metric)}", style="italic", highlight=False)
        table = Table(box=box.SIMPLE_HEAD)
        for head in ("encoder", "test units"):
            table.add_column(head)
        for head in ("number", "score [95 %]"):
            table.add_column(head, justify="right", no_wrap=True)
        before = ""
        for row in rows:
            name = "" if row["encoder"] == before else row["encoder"]
            before = row["encoder"]
            cells = [name, row["place"], row["units"], row["cells"][-1]]
            table.add_row(*[escape(cell) for cell in cells])
        console.print(table)
    for text in places_told(results):
        console.print(f"[dim]{escape(text)}[/dim]", highlight=False)


def places_told(results: Results) -> list[str]:
    """What "here" and "there" are, and how far columns confound."""
    others = {where.data for where in results.apart if where.data != results.data}
    lines = [f"here: {results.data}; there: {other}" for other in sorted(others)]
    for one in results.readable:
        who = f"features of {one['encoder']} tell {one['column']}"
        if one["encoder"] is None:
            who = f"{one['column']} alone tells the target"
        much = "" if beyond_chance(one) else ": no more than by chance"
        lines.append(f"{who}: {shown(one)}{much}")
    return lines


def _said(where: Where, results: Results) -> str:
    place = "here" if where.data == results.data else "there"
    if where.fitted_on != results.data:
        place += ", fitted there"
    return f"{place}: {where.part}" if where.part else place


def _text(cell: Cell | None, metric: str, sign: str = "") -> str:
    if cell is None:
        return "–"
    mean = cell.mean(metric)
    low, high, _ = cell.interval(metric)
    if not math.isfinite(mean):
        return "–"
    between = ", ".join(number(one, metric, sign) for one in (low, high))
    return f"{number(mean, metric, sign)} [{between}]"
