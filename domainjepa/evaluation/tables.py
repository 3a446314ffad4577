"""The tables of an evaluation: for the terminal, as JSON, CSV and LaTeX."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from rich import box
from rich.console import Console
from rich.table import Table

from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.results import Cell, Results, Summary
from domainjepa.evaluation.scores import IN_PERCENT, LOWER_IS_BETTER
from domainjepa.evaluation.splits import Shots
from domainjepa.evaluation.targets import OF_EACH, Kind


class Row(TypedDict):
    """A line of a table."""

    encoder: str
    cells: list[str]
    best: list[bool]


def heading(shots: Shots, kind: Kind = "classes") -> str:
    """The head of a column."""
    return "all labels" if shots == "all" else f"{shots} a {OF_EACH[kind]}"


def number(value: float, metric: str, sign: str = "") -> str:
    """A score as tables show it: in percent, or as it is."""
    if metric in IN_PERCENT:
        return f"{100 * value:{sign}.1f}"
    return f"{value:{sign}.3f}" if metric == "r2" else f"{value:{sign}.3g}"


def unit(metric: str) -> str:
    """The metric with its unit."""
    return f"{words(metric)}{', %' if metric in IN_PERCENT else ''}"


def _text(cell: Cell, metric: str, between: str) -> str:
    values = cell.values[metric]
    mean = number(values.mean(), metric)
    low, high, _ = cell.interval(metric)
    if cell.draws > 1:
        return f"{mean} {between} {number((high - low) / 2, metric)}"
    return f"{mean} [{number(low, metric)}, {number(high, metric)}]"


def table_rows(results: Results, protocol: Protocol, metric: str, between: str = "±") -> list[Row]:
    """Encoders by shots: mean and half the 95 % interval, for all labels its ends."""
    encoders = results.encoders_of(protocol)
    rows: list[Row] = [{"encoder": encoder, "cells": [], "best": []} for encoder in encoders]
    best = min if metric in LOWER_IS_BETTER else max
    for shots in results.shots(protocol):
        cells = [results.cells[protocol.name, shots, encoder] for encoder in encoders]
        means = [cell.values[metric].mean() for cell in cells]
        for row, cell, mean in zip(rows, cells, means, strict=True):
            row["cells"].append(_text(cell, metric, between))
            row["best"].append(len(means) > 1 and bool(mean == best(means)))
    return rows


def difference_rows(results: Results, protocol: Protocol, metric: str) -> list[Row]:
    """The first encoder minus each other one, in points; "best" marks intervals without zero."""
    first, *others = results.encoders_of(protocol)
    rows: list[Row] = []
    for other in others:
        row: Row = {"encoder": f"{first} − {other}", "cells": [], "best": []}
        for shots in results.shots(protocol):
            of = results.cells
            gap = of[protocol.name, shots, first] - of[protocol.name, shots, other]
            low, high, _ = gap.interval(metric)
            mean, low_high = gap.values[metric].mean(), (low, high)
            between = ", ".join(number(one, metric, "+") for one in low_high)
            row["cells"].append(f"{number(mean, metric, '+')} [{between}]")
            row["best"].append(low > 0 or high < 0)
        rows.append(row)
    return rows


def show(results: Results, console: Console) -> None:
    """Print the table of every protocol, paired differences and warnings."""
    kind = results.target.kind
    for protocol in results.used:
        metric = results.metrics(protocol)[0]
        run = results.shots(protocol)
        for title, rows in (
            (
                _plain(f"{protocol.name} on {results.data}: {unit(metric)}"),
                table_rows(results, protocol, metric),
            ),
            ("paired differences", difference_rows(results, protocol, metric)),
        ):
            if not rows:
                continue
            table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
            table.add_column("encoder")
            for shots in run:
                table.add_column(heading(shots, kind), justify="right")
            for row in rows:
                marked = zip(row["cells"], row["best"], strict=True)
                cells = [f"[bold]{_plain(c)}[/bold]" if best else _plain(c) for c, best in marked]
                table.add_row(_plain(row["encoder"]), *cells)
            console.print(table)
        console.print(f"[dim]{legend(protocol)}[/dim]", highlight=False)
    for text in results.warnings:
        console.print(f"[yellow]warning[/yellow] {_plain(text)}", highlight=False)


def _plain(text: str) -> str:
    """Text whose square brackets rich does not take for markup."""
    return text.replace("[", "\\[")


def words(metric: str) -> str:
    return metric.replace("_", " ")


def legend(protocol: Protocol) -> str:
    parts = []
    if any(shots != "all" for shots in protocol.shots):
        counts = sorted({protocol.draws_of(shots) for shots in protocol.shots if shots != "all"})
        times = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
        parts.append(
            f"± half the 95 % interval over {times} draws, the same for every encoder, and over "
            "test samples"
        )
    if "all" in protocol.shots:
        parts.append("[ ] of all labels: 95 % bootstrap over test samples")
    if "all" not in protocol.shots:
        parts.append("differences: paired, 95 % over draws and test samples")
    elif len(protocol.shots) > 1:
        parts.append(
            "differences: paired, 95 % over draws and test samples, of all labels over test samples"
        )
    else:
        parts.append("differences: paired, 95 % bootstrap over test samples")
    return "; ".join(parts)


def as_json(results: Results) -> dict[str, Any]:
    """The contract of results.json."""
    found: dict[str, Any] = {
        "settings": results.settings,
        "records": results.records,
        "summary": results.summary,
        "differences": results.differences,
        "warnings": results.warnings,
    }
    for name in ("records", "summary", "differences"):
        # JSON has no NaN: a score that is not defined, as AUC of a class that never occurs.
        found[name] = [
            {
                k: None if isinstance(v, float) and not math.isfinite(v) else v
                for k, v in row.items()
            }
            for row in found[name]
        ]
    return found


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(results: Results, path: Path) -> None:
    """The summary as a table, one line an encoder, shots and metric."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Summary.__annotations__))
        writer.writeheader()
        writer.writerows(map(_as_cells, results.summary))


def _as_cells(row: Mapping[str, object]) -> dict[str, object]:
    """Text that a spreadsheet would run as a formula is quoted; numbers stay numbers."""
    return {
        name: f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
        for name, cell in row.items()
    }


_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
})  # fmt: skip


def write_latex(results: Results, path: Path) -> None:
    r"""Tables for \usepackage{booktabs}; the best mean of a column is bold."""
    lines = []
    kind = results.target.kind
    for protocol in results.used:
        for metric in results.metrics(protocol):
            run = results.shots(protocol)
            lines += [
                f"% {protocol.name}: {unit(metric)}. {legend(protocol)}",
                rf"\begin{{tabular}}{{l{'r' * len(run)}}}",
                r"\toprule",
                " & ".join(["encoder", *(heading(shots, kind) for shots in run)]) + r" \\",
                r"\midrule",
            ]
            for row in table_rows(results, protocol, metric, between=r"$\pm$"):
                marked = zip(row["cells"], row["best"], strict=True)
                cells = [rf"\textbf{{{cell}}}" if best else cell for cell, best in marked]
                lines.append(" & ".join([row["encoder"].translate(_LATEX), *cells]) + r" \\")
            lines += [r"\bottomrule", r"\end{tabular}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
