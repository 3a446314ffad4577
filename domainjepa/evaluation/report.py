"""The report of an evaluation: a table for the terminal, JSON, CSV, LaTeX, and one HTML file.

The HTML file holds its pictures, asks nothing of the network, and reads on a phone, light or dark.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import jinja2
import PIL.Image
from rich import box
from rich.console import Console
from rich.table import Table

from domainjepa.data.source import Image, Source
from domainjepa.evaluation import figures
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.results import Cell, Results, Summary
from domainjepa.evaluation.splits import Rows, Shots

SIDE_BY_SIDE = 3
"""Encoders in an embedding map and with a montage: those given first."""


class Row(TypedDict):
    """A line of a table."""

    encoder: str
    cells: list[str]
    best: list[bool]


def heading(shots: Shots) -> str:
    """The head of a column."""
    return "all labels" if shots == "all" else f"{shots} a class"


def _text(cell: Cell, metric: str, between: str) -> str:
    values = 100 * cell.values[metric]
    if cell.resampled is None:
        return f"{values.mean():.1f} {between} {values.std(ddof=1):.1f}"
    low, high, _ = cell.interval(metric)
    return f"{values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def table_rows(results: Results, protocol: Protocol, metric: str, between: str = "±") -> list[Row]:
    """Encoders by shots in percent: mean and standard deviation, for all labels the interval."""
    rows: list[Row] = [
        {"encoder": encoder, "cells": [], "best": []} for encoder in results.encoders
    ]
    for shots in results.shots(protocol):
        cells = [results.cells[protocol.name, shots, encoder] for encoder in results.encoders]
        means = [cell.values[metric].mean() for cell in cells]
        for row, cell, mean in zip(rows, cells, means, strict=True):
            row["cells"].append(_text(cell, metric, between))
            row["best"].append(len(means) > 1 and bool(mean == max(means)))
    return rows


def difference_rows(results: Results, protocol: Protocol, metric: str) -> list[Row]:
    """The first encoder minus each other one, in points; "best" marks intervals without zero."""
    first, *others = results.encoders
    rows: list[Row] = []
    for other in others:
        row: Row = {"encoder": f"{first} − {other}", "cells": [], "best": []}
        for shots in results.shots(protocol):
            of = results.cells
            gap = of[protocol.name, shots, first] - of[protocol.name, shots, other]
            low, high, _ = gap.interval(metric)
            mean = 100 * gap.values[metric].mean()
            row["cells"].append(f"{mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
            row["best"].append(low > 0 or high < 0)
        rows.append(row)
    return rows


def show(results: Results, console: Console) -> None:
    """Print the table of every protocol, paired differences and warnings."""
    for protocol in results.protocols:
        metric = protocol.metrics[0]
        run = results.shots(protocol)
        for title, rows in (
            (
                f"{protocol.name} on {results.data}: {_words(metric)}, %",
                table_rows(results, protocol, metric),
            ),
            ("paired differences, points", difference_rows(results, protocol, metric)),
        ):
            if not rows:
                continue
            table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
            table.add_column("encoder")
            for shots in run:
                table.add_column(heading(shots), justify="right")
            for row in rows:
                marked = zip(row["cells"], row["best"], strict=True)
                cells = [f"[bold]{_plain(c)}[/bold]" if best else _plain(c) for c, best in marked]
                table.add_row(_plain(row["encoder"]), *cells)
            console.print(table)
        console.print(f"[dim]{_legend(protocol)}[/dim]", highlight=False)
    for text in results.warnings:
        console.print(f"[yellow]warning[/yellow] {_plain(text)}", highlight=False)


def _plain(text: str) -> str:
    """Text whose square brackets rich does not take for markup."""
    return text.replace("[", "\\[")


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _legend(protocol: Protocol) -> str:
    parts = []
    if any(shots != "all" for shots in protocol.shots):
        parts.append(
            f"± standard deviation over {protocol.draws} draws, the same for every encoder"
        )
    if "all" in protocol.shots:
        parts.append("[ ] of all labels: 95 % bootstrap over the test samples")
    parts.append("differences: 95 % interval, paired")
    return "; ".join(parts)


def as_json(results: Results) -> dict[str, Any]:
    """The contract of results.json."""
    return {
        "settings": results.settings,
        "records": results.records,
        "summary": results.summary,
        "differences": results.differences,
        "warnings": results.warnings,
    }


def write_csv(results: Results, path: Path) -> None:
    """The summary as a table, one line an encoder, shots and metric."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Summary.__annotations__))
        writer.writeheader()
        writer.writerows(dict(row) for row in results.summary)


_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
})  # fmt: skip


def write_latex(results: Results, path: Path) -> None:
    r"""Tables for \usepackage{booktabs}; the best mean of a column is bold."""
    lines = []
    for protocol in results.protocols:
        for metric in protocol.metrics:
            run = results.shots(protocol)
            lines += [
                f"% {protocol.name}, {_words(metric)} in percent. {_legend(protocol)}",
                rf"\begin{{tabular}}{{l{'r' * len(run)}}}",
                r"\toprule",
                " & ".join(["encoder", *map(heading, run)]) + r" \\",
                r"\midrule",
            ]
            for row in table_rows(results, protocol, metric, between=r"$\pm$"):
                marked = zip(row["cells"], row["best"], strict=True)
                cells = [rf"\textbf{{{cell}}}" if best else cell for cell, best in marked]
                lines.append(" & ".join([row["encoder"].translate(_LATEX), *cells]) + r" \\")
            lines += [r"\bottomrule", r"\end{tabular}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


class Picture(TypedDict):
    """A picture of the HTML report."""

    title: str
    text: str
    webp: str


def draw(results: Results, source: Source, folder: Path) -> list[Picture]:
    """Every picture of a report, as PNG files in a folder and ready for HTML."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[Picture] = []

    def add(path: Path, title: str, text: str) -> None:
        # A montage of galaxies is a tenth of its size as WebP.
        buffer = io.BytesIO()
        PIL.Image.open(path).convert("RGB").save(buffer, "WEBP", quality=88)
        webp = base64.b64encode(buffer.getvalue()).decode()
        pictures.append({"title": title, "text": text, "webp": webp})

    def images(positions: Rows) -> Sequence[Image]:
        return source.__getitems__(results.rows[positions].tolist())

    first = results.encoders[0]
    for protocol in results.protocols:
        if len(results.shots(protocol)) > 1:
            path = folder / f"{protocol.name}-shots.png"
            figures.accuracy_against_shots(results, protocol, path)
            add(
                path,
                f"{protocol.name}: {_words(protocol.metrics[0])} against labels",
                "Bars are 95 % intervals: over draws of the labels; over the test samples for all.",
            )
    shown = dict(list(results.features.items())[:SIDE_BY_SIDE])
    path = folder / "map.png"
    figures.embedding_map(shown, results.labels, results.classes, path)
    add(
        path,
        "Embedding map",
        "t-SNE of frozen features of test samples. The labels only colour "
        "the points; distances between groups mean little.",
    )
    for number, (encoder, features) in enumerate(shown.items()):
        path = folder / f"neighbours-{number}.png"
        purity = figures.neighbour_purity(features, results.labels)
        figures.neighbour_montage(features, results.labels, results.classes, images, path)
        add(
            path,
            f"Nearest neighbours: {encoder}",
            f"By cosine among the test samples; a frame marks another class. Over all of them, "
            f"{100 * purity:.1f} % of the 7 nearest are of the same class.",
        )
    for protocol in results.protocols:
        path = folder / f"{protocol.name}-confusion.png"
        figures.confusion_matrix(
            results.truth[protocol.name],
            results.predictions[protocol.name, first],
            results.classes,
            path,
        )
        add(
            path,
            f"{protocol.name}: confusion of {first}",
            f"Percent of each true class, probe with {heading(results.shots(protocol)[-1])}.",
        )
    return pictures


def write_report(results: Results, source: Source, out: Path) -> None:
    """Write results.json, results.csv, table.tex, report.html and pictures/ into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(results), indent=1, allow_nan=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    write_csv(results, out / "results.csv")
    write_latex(results, out / "table.tex")
    pictures = draw(results, source, out / "pictures")
    loader = jinja2.PackageLoader("domainjepa.evaluation", ".")
    page = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html")
    html = page.render(
        results=results,
        pictures=pictures,
        tables=[
            {
                "protocol": protocol,
                "metric": _words(metric),
                "shots": [heading(shots) for shots in results.shots(protocol)],
                "rows": table_rows(results, protocol, metric),
                "differences": difference_rows(results, protocol, metric),
                "legend": _legend(protocol),
            }
            for protocol in results.protocols
            for metric in protocol.metrics
        ],
        settings=json.dumps(results.settings, indent=1),
    )
    (out / "report.html").write_text(html, encoding="utf-8")
