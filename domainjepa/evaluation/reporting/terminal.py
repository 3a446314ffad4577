"""An evaluation in the terminal: whole names and numbers, however narrow it is."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.tables import (
    Row,
    difference_rows,
    heading,
    legend,
    part_heads,
    part_metrics,
    side_by_side,
    table_rows,
    unit,
)
from domainjepa.evaluation.results.results import Results

EDGES, BETWEEN = 4, 3
"""Columns that a table takes at its sides, and from one cell to the next."""


def show(results: Results, console: Console) -> None:
    """Print the table of every protocol, paired differences, labels and warnings."""
    for protocol in results.used:
        metric = results.metrics(protocol)[0]
        heads = [heading(shots, results.target.kind) for shots in results.shots(protocol)]
        title = f"{protocol.name} on {results.data}: {unit(metric)}"
        rows = table_rows(results, protocol, metric)
        _print(console, title, ["encoder", *heads], [_marked(row) for row in rows])
        said = "cases" if protocol.of_masks else "labels"
        _differences(console, heads, difference_rows(results, protocol, metric), said)
        if results.target.kind in ("multi-label", "masks"):
            _labels(console, results, protocol)
        console.print(f"[dim]{escape(legend(protocol))}[/dim]", highlight=False)
    for text in results.warnings:
        console.print(f"[yellow]warning[/yellow] {escape(text)}", highlight=False)


def _differences(
    console: Console, heads: Sequence[str], rows: Sequence[Row], said: str = "labels"
) -> None:
    """One below the other: side by side they would be wider than a screen."""
    lines = []
    for row in rows:
        names = [escape(row["encoder"]), *[""] * (len(heads) - 1)]
        lines += [
            [name, head, cell]
            for name, head, (_, *cells) in zip(
                names, heads, [_marked(row)] * len(heads), strict=True
            )
            for cell in [cells[heads.index(head)]]
        ]
    if lines:
        _print(console, "paired differences", ["first – other", said, "95 %"], lines)


def _labels(console: Console, results: Results, protocol: Protocol) -> None:
    """Every label by the metric shown first, with how much of it is known."""
    encoders = results.encoders_of(protocol)
    rows = side_by_side(results, protocol)
    if not rows:
        return
    metric = part_metrics(results, protocol, encoders[0])[0]
    one = "class" if results.target.kind == "masks" else "label"
    heads = [one, *(results.names[encoder] for encoder in encoders), *part_heads(results)]
    lines = [[escape(cell) for cell in (r["label"], *r["cells"], *r["counts"])] for r in rows]
    head = heading(results.shots(protocol)[-1], results.target.kind)
    _print(console, f"each {one}, {head}: {unit(metric)}", heads, lines)


def _marked(row: Row) -> list[str]:
    marked = zip(row["cells"], row["best"], strict=True)
    cells = [f"[bold]{escape(cell)}[/bold]" if best else escape(cell) for cell, best in marked]
    return [escape(row["encoder"]), *cells]


def _print(
    console: Console, title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]
) -> None:
    """A table; columns that the terminal has no room for follow below, the first one repeated."""
    widths = [
        max(len(console.render_str(cell)) for cell in column)
        for column in zip([escape(head) for head in heads], *lines, strict=True)
    ]
    console.print(escape(title), style="italic", highlight=False)
    first, last = 1, len(heads)
    while first < last:
        end, width = first, widths[0] + EDGES
        while end < last and (end == first or width + widths[end] + BETWEEN <= console.width):
            width += widths[end] + BETWEEN
            end += 1
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column(escape(heads[0]), no_wrap=widths[0] < console.width // 2)
        for head in heads[first:end]:
            table.add_column(escape(head), justify="right", no_wrap=True)
        for line in lines:
            table.add_row(line[0], *line[first:end])
        console.print(table)
        first = end
