"""The tables of an evaluation in Markdown, from its `results.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from domainjepa.errors import UserError
from domainjepa.reading import parse_json, read_file

MOST = 2**28
"""Bytes of a results.json."""


def tables_of(evaluation: Path) -> list[str]:
    """One table for each data set, protocol and metric: encoders below each other, shots beside
    each other. Scores of single classes are left to the evaluation's own report.

    Args:
        evaluation: the folder that `evaluate --out` wrote, or its `results.json`.

    Raises:
        UserError: there is none, or it holds no summary.
    """
    path = evaluation / "results.json" if evaluation.is_dir() else evaluation
    try:
        summary = parse_json(read_file(path, MOST))["summary"]
        summary = [row for row in summary if row.get("label") is None]
        wanted = [tuple(row.get(name) for name in _OF_A_TABLE) for row in summary]
        return [_table(of, [r for r, w in zip(summary, wanted, strict=True) if w == of])
                for of in dict.fromkeys(wanted)]  # fmt: skip
    except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise UserError(
            f"--evaluation {path.name}: no results.json of domainjepa evaluate."
        ) from error


_OF_A_TABLE = ("data", "protocol", "metric")


def _table(of: tuple[Any, ...], rows: list[dict[str, Any]]) -> str:
    shots = list(dict.fromkeys(row["shots"] for row in rows))
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    by = {(row["encoder"], row["shots"]): row for row in rows}
    title = ", ".join(map(str, of))
    lines = [
        f"{title} (mean and 95 % interval):",
        "",
        "| encoder | " + " | ".join(_shots(one) for one in shots) + " |",
        "| --- |" + " --- |" * len(shots),
        *(
            f"| {_plain(name)} | " + " | ".join(_score(by.get((name, one))) for one in shots) + " |"
            for name in encoders
        ),
    ]
    return "\n".join(lines)


def _shots(shots: Any) -> str:
    return "all labels" if shots == "all" else f"{shots} a class"


def _score(row: dict[str, Any] | None) -> str:
    if row is None or row.get("mean") is None:
        return ""
    ends = [row.get("low"), row.get("high")]
    span = "" if None in ends else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
    return f"{row['mean']:.3f}{span}"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
