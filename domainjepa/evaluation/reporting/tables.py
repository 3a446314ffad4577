"""The tables of an evaluation: their rows, and as JSON, CSV and LaTeX."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from domainjepa.data.metadata.targets import OF_EACH, Kind
from domainjepa.evaluation.metrics import shown
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.names import CLASS_LETTERS, all_short
from domainjepa.evaluation.results.cells import Cell
from domainjepa.evaluation.results.records import Summary
from domainjepa.evaluation.results.results import Results
from domainjepa.evaluation.splits import Shots


class Row(TypedDict):
    """A line of a table."""

    encoder: str
    cells: list[str]
    best: list[bool]


class Part(TypedDict):
    """A line of a table of classes or labels."""

    label: str
    counts: list[str]
    cells: list[str]


def heading(shots: Shots, kind: Kind = "classes") -> str:
    """The head of a column."""
    if kind == "masks":
        return f"{shots} case{'' if shots == 1 else 's'}"
    return "all labels" if shots == "all" else f"{shots} a {OF_EACH[kind]}"


def number(value: float, metric: str, sign: str = "") -> str:
    """A score as tables show it: in percent, or as it is."""
    if not math.isfinite(value):
        return "–"
    how = shown(metric)
    if how.scale == "share":
        return f"{100 * value:{sign}.1f}"
    return f"{value:{sign}{how.digits}}"


def unit(metric: str) -> str:
    """The metric with its unit."""
    return f"{words(metric)}{', %' if shown(metric).scale == 'share' else ''}"


def words(metric: str) -> str:
    """The name of a metric as people write it."""
    said = {"roc_auc": "AUROC", "average_precision": "AUPRC", "r2": "R2", "mae": "MAE"}
    said |= {"rmse": "RMSE", "f1": "F1", "macro_f1": "macro F1", "dice": "Dice", "iou": "IoU"}
    said |= {f"hausdorff_95_{one}": f"95 % Hausdorff distance, {one}" for one in ("mm", "px")}
    if metric.startswith("sensitivity_at_"):
        return f"sensitivity at {metric.split('_')[2]} % specificity"
    return said.get(metric, metric.replace("_", " "))


def ends(cell: Cell, metric: str) -> str:
    """A score with the ends of its interval."""
    low, high, _ = cell.interval(metric)
    mean = number(cell.mean(metric), metric)
    return f"{mean} [{number(low, metric)}, {number(high, metric)}]"


def _text(cell: Cell, metric: str, between: str) -> str:
    if cell.draws == 1:
        return ends(cell, metric)
    low, high, _ = cell.interval(metric)
    return f"{number(cell.mean(metric), metric)} {between} {number((high - low) / 2, metric)}"


def table_rows(results: Results, protocol: Protocol, metric: str, between: str = "±") -> list[Row]:
    """Encoders by shots: mean and half the 95 % interval, for all labels its ends."""
    encoders = results.encoders_of(protocol)
    rows: list[Row] = [{"encoder": results.names[one], "cells": [], "best": []} for one in encoders]
    best = min if shown(metric).lower else max
    for shots in results.shots(protocol):
        cells = [results.cells[protocol.name, shots, encoder] for encoder in encoders]
        means = [cell.mean(metric) for cell in cells]
        for row, cell, mean in zip(rows, cells, means, strict=True):
            row["cells"].append(_text(cell, metric, between))
            row["best"].append(len(means) > 1 and bool(mean == best(means)))
    return rows


def difference_rows(results: Results, protocol: Protocol, metric: str) -> list[Row]:
    """The first encoder minus each other one, in points; "best" marks intervals without zero."""
    first, *others = results.encoders_of(protocol)
    rows: list[Row] = []
    for other in others:
        names = results.names
        row: Row = {"encoder": f"{names[first]} – {names[other]}", "cells": [], "best": []}
        for shots in results.shots(protocol):
            of = results.cells
            gap = of[protocol.name, shots, first] - of[protocol.name, shots, other]
            low, high, _ = gap.interval(metric)
            between = ", ".join(number(one, metric, "+") for one in (low, high))
            row["cells"].append(f"{number(gap.mean(metric), metric, '+')} [{between}]")
            row["best"].append(low > 0 or high < 0)
        rows.append(row)
    return rows


def parts_of(results: Results, protocol: Protocol, encoder: str) -> dict[str, Cell]:
    """Class or label -> its scores by the probe with the most labels."""
    return dict(results.cells[protocol.name, results.shots(protocol)[-1], encoder].each)


def part_heads(results: Results) -> list[str]:
    """What is counted of each class or label."""
    if results.target.kind == "classes":
        return ["test samples"]
    if results.target.kind == "masks":
        return ["test cases that have it"]
    return ["known", "positive", "uncertain", "known in test", "positive in test"]


def _counts(results: Results, protocol: Protocol) -> dict[str, list[str]]:
    """Class or label -> what `part_heads` names."""
    target, truth = results.target, results.truth[protocol.name]
    if target.kind == "masks":
        return {name: [f"{n:,}"] for name, n in zip(target.classes, truth.sum(0), strict=True)}
    if target.kind == "classes":
        sizes = np.bincount(truth, minlength=len(target.classes))
        return {name: [f"{n:,}"] for name, n in zip(target.classes, sizes, strict=True)}
    counted = {}
    for place, one in enumerate(target.counts):
        here = truth[:, place]
        numbers = (one.known, one.positive, one.uncertain, (here >= 0).sum(), (here == 1).sum())
        counted[one.label] = [f"{n:,}" for n in numbers]
    return counted


def part_rows(results: Results, protocol: Protocol, encoder: str) -> list[Part]:
    """Every class or label with its metrics; of one that could not be scored, dashes."""
    found = parts_of(results, protocol, encoder)
    metrics = part_metrics(results, protocol, encoder)
    counts = _counts(results, protocol)
    names = all_short(results.target.classes, CLASS_LETTERS)
    return [
        {
            "label": shortened,
            "counts": counts.get(label, []),
            "cells": [ends(found[label], m) if label in found else "–" for m in metrics],
        }
        for label, shortened in zip(results.target.classes, names, strict=True)
    ]


def part_metrics(results: Results, protocol: Protocol, encoder: str) -> list[str]:
    """What is measured of each class or label."""
    found = parts_of(results, protocol, encoder)
    return list(next(iter(found.values())).values) if found else []


def side_by_side(results: Results, protocol: Protocol) -> list[Part]:
    """Labels by encoders, by the metric that is shown first."""
    encoders = results.encoders_of(protocol)
    columns = [part_rows(results, protocol, encoder) for encoder in encoders]
    return [
        Part(
            label=rows[0]["label"],
            counts=rows[0]["counts"],
            cells=[row["cells"][0] for row in rows],
        )
        for rows in zip(*columns, strict=True)
        if rows[0]["cells"]
    ]


def legend(protocol: Protocol) -> str:
    """What stands beside the means."""
    said = _legend(protocol)
    if protocol.of_masks:
        said = said.replace("training labels", "training cases").replace("labels", "cases")
        said = said.replace("test samples", "test cases")
        said += (
            ". Of a case that has nothing of a class, and of which the answer has nothing either, "
            "nothing is counted; where one alone has it, Dice and IoU are 0 and the distance is the"
            " diagonal of the image"
        )
    return said


def _legend(protocol: Protocol) -> str:
    parts = []
    if any(shots != "all" for shots in protocol.shots):
        counts = sorted({protocol.draws_of(shots) for shots in protocol.shots if shots != "all"})
        times = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
        parts.append(
            f"± half the 95 % interval over {times} draws, the same for every encoder, and over "
            "test samples"
        )
    if "all" in protocol.shots:
        parts.append("[ ] of all labels: 95 % over test samples")
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
        "readable": results.readable,
        "warnings": results.warnings,
    }
    for name in ("records", "summary", "differences", "readable"):
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
    """The summary as a table, one line an encoder, shots and metric, and one a class or label."""
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
