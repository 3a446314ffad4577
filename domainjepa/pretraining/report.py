"""The report of a run: one HTML file with the plan, the curves and the last figures."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from domainjepa.writing import write_atomically

_CURVES = [
    ("loss", "loss"),
    ("prediction", "prediction"),
    ("sigreg", "SIGReg"),
    ("gradient_norm", "length of the gradient"),
    ("effective_rank", "effective rank of the features"),
    ("probe_accuracy", "online probe, (balanced) accuracy, held out"),
    ("lr", "learning rate"),
]

_PAGE = jinja2.Template(
    Path(__file__).with_name("report.html").read_text(encoding="utf-8"), autoescape=True
)


def draw_curves(metrics: list[dict[str, Any]]) -> bytes:
    """PNG of the curves of a run, one panel for each figure that was logged."""
    shown = [(key, title) for key, title in _CURVES if any(m.get(key) is not None for m in metrics)]
    rows = -(-len(shown) // 3)
    # Fixed margins: fitting them draws everything twice.
    figure = Figure(figsize=(12, 3.2 * rows))
    inch = 1 / (3.2 * rows)
    figure.subplots_adjust(0.06, 0.5 * inch, 0.98, 1 - 0.35 * inch, wspace=0.2, hspace=0.38)
    for number, (key, title) in enumerate(shown, 1):
        axes = figure.add_subplot(rows, 3, number)
        points = [(m["step"], m[key]) for m in metrics if m.get(key) is not None]
        axes.plot(
            *zip(*points, strict=True), color="#2563eb", marker="." if len(points) < 20 else ""
        )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if key == "loss" and min(value for _, value in points) > 0:
            axes.set_yscale("log")
            _plain_ticks(axes.yaxis, [value for _, value in points])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _plain_ticks(axis: Axis, values: list[float]) -> None:
    """Plain numbers along a logarithmic axis, in place of powers of ten set as mathematics.

    Mathematics goes through matplotlib's parser, whose cache keeps exceptions, and these the frames
    of all callers: the whole run with its weights, until the garbage collector comes by.
    """
    wide = max(values) > 5 * min(values)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def write_run_report(
    path: Path,
    title: str,
    steps: int,
    notes: list[tuple[str, str]],
    metrics: list[dict[str, Any]],
) -> None:
    """Write the report of a run, whether it has ended or not.

    Args:
        path: of the HTML file.
        title: what the run is called.
        steps: of the whole run.
        notes: the plan, name and text.
        metrics: the lines of `metrics.jsonl`.
    """
    last = {
        name: f"{value:.4g}" if isinstance(value, float) else value
        for name, value in (metrics[-1] if metrics else {}).items()
    }
    curves = base64.b64encode(draw_curves(metrics)).decode() if metrics else ""
    done = metrics[-1]["step"] if metrics else 0
    page = _PAGE.render(
        title=title, done=done, steps=steps, notes=notes, last=last, curves=curves
    ).encode()
    write_atomically(path, lambda file: file.write(page))
