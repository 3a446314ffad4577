"""Runs as they go: their figures and curves in the terminal, read from their folders alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from domainjepa import settings
from domainjepa.braille import plot
from domainjepa.errors import UserError
from domainjepa.locking import is_locked
from domainjepa.pretraining.progress import read_metrics
from domainjepa.showing import shown
from domainjepa.waiting import clock_time, is_live

EVERY = 2.0
"""Seconds from one look at the folders to the next."""
PANELS = (
    ("loss", "loss"),
    ("effective_rank", "rank"),
    ("probe_accuracy", "probe"),
)
CONFIG, METRICS, LOCK = "config.toml", "metrics.jsonl", ".lock"
STYLES = ("cyan", "magenta", "yellow", "green", "blue", "red", "white")
HEIGHT = 10


@dataclass(frozen=True)
class Watched:
    """A run at a moment.

    Attributes:
        name: of its folder.
        lines: of `metrics.jsonl`.
        steps: in all, None before that is known.
        batch_size: the global one.
        running: whether a process works on it.
    """

    name: str
    lines: list[dict[str, Any]]
    steps: int | None
    batch_size: int
    running: bool

    @classmethod
    def of(cls, folder: Path) -> Watched:
        """The run in a folder, now.

        Raises:
            UserError: there is none, or what the folder holds is not a run's.
        """
        running = is_locked(folder / LOCK)  # before the lines: the last of them are then there
        if not (folder / CONFIG).is_file():
            if running:
                return cls(folder.name, [], None, 1, running)
            raise UserError(f"{folder.name!r} holds no run: give folders that `pretrain` writes.")
        config = settings.validated(
            settings.overlay(settings.defaults(), settings.read_recipe(folder / CONFIG))
        )
        lines = read_metrics(folder / METRICS)
        return cls(folder.name, lines, config.steps, config.batch_size, running)

    @property
    def step(self) -> int:
        """Of the newest line."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    def state(self) -> str:
        """Where it is, in words."""
        if self.running:
            return "running" if self.lines else "begins"
        return "done" if self.lines and self.step == self.steps else "stopped"

    def left(self) -> str:
        """The time that it still takes, at the rate of the newest line."""
        rate = self.lines[-1].get("samples_per_s") if self.lines else None
        if not self.running or not rate or self.steps is None:
            return ""
        return clock_time((self.steps - self.step) * self.batch_size / rate)


def watch(folders: Sequence[Path], console: Console, *, once: bool = False) -> None:
    """Show runs until all of them have ended; once, where there is no terminal to draw on.

    Args:
        folders: of the runs.
        console: to draw on.
        once: show what is there and return.

    Raises:
        UserError: one of them is no run.
    """
    runs = [Watched.of(folder) for folder in folders]
    if once or not is_live(console):
        console.print(picture(runs, console.width))
        return
    with Live(picture(runs, console.width), console=console, auto_refresh=False) as live:
        while any(run.running for run in runs):
            time.sleep(EVERY)
            runs = [Watched.of(folder) for folder in folders]
            live.update(picture(runs, console.width), refresh=True)


def picture(runs: Sequence[Watched], width: int) -> RenderableType:
    """The figures of each run, and a panel of curves for each figure that any run has."""
    shown_panels = [
        (key, title)
        for key, title in PANELS
        if any(m.get(key) is not None for r in runs for m in r.lines)
    ]
    panels = Table.grid(padding=(0, 2))
    if shown_panels:
        panels.add_row(
            *(
                _panel(runs, key, title, width // len(shown_panels) - 2)
                for key, title in shown_panels
            )
        )
    return Group(_figures(runs), Text(), panels)


def _figures(runs: Sequence[Watched]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("run", "", "step", "loss", "rank", "probe", "samples/s", "left"):
        table.add_column(name, justify="left" if name in ("run", "") else "right", no_wrap=True)
    for run, style in zip(runs, _styles(runs), strict=True):
        last = run.lines[-1] if run.lines else {}
        table.add_row(
            Text(shown(run.name), style),
            run.state(),
            f"{run.step:,}/{run.steps:,}" if run.steps else "",
            _number(last.get("loss"), "{:.4f}"),
            _number(last.get("effective_rank"), "{:.0f}"),
            _number(last.get("probe_accuracy"), "{:.1%}"),
            _number(last.get("samples_per_s"), "{:.0f}"),
            run.left(),
        )
    return table


def _panel(runs: Sequence[Watched], key: str, title: str, width: int) -> Text:
    curves = [[(m["step"], m[key]) for m in run.lines if m.get(key) is not None] for run in runs]
    drawn, low, high = plot(curves, _styles(runs), width, HEIGHT)
    last = max((point[0] for curve in curves for point in curve), default=0)
    spread = " to ".join(f"{end:.3g}" if end < 1000 else f"{end:,.0f}" for end in (low, high))
    head = Text(f"{title}  {spread}\n", "bold", no_wrap=True, overflow="ellipsis")
    return head + drawn + Text(f"\n{f'step {last:,}':>{width}}", "dim")


def _styles(runs: Sequence[Watched]) -> list[str]:
    return [STYLES[number % len(STYLES)] for number in range(len(runs))]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
