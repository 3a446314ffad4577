"""What a run shows while it works, and what it writes of itself: `metrics.jsonl`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from domainjepa.errors import UserError
from domainjepa.reading import parse_json, read_file
from domainjepa.showing import shown
from domainjepa.waiting import clock_time, is_live
from domainjepa.writing import write_atomically

MOST_METRICS = 2**30
"""Bytes of a `metrics.jsonl`: some millions of lines."""


def show_plan(
    console: Console, title: str, notes: list[tuple[str, str]], warnings: list[str]
) -> None:
    """Print a plan as two columns, warnings below it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan")
    table.add_column()
    for name, text in notes:
        table.add_row(name, escape(shown(text)))
    console.print(f"[bold]{escape(title)}[/bold]")
    console.print(table)
    show_warnings(console, warnings)


def show_warnings(console: Console, warnings: list[str]) -> None:
    """A line each."""
    for warning in warnings:
        console.print(f"[yellow]warning[/yellow] {escape(shown(warning))}", highlight=False)


def show_notes(console: Console, notes: list[tuple[str, str]]) -> None:
    """A line each, without a table: what is told after the steps."""
    for name, text in notes:
        console.print(f"[bold cyan]{name}[/bold cyan]  {escape(shown(text))}", highlight=False)


ENOUGH = 100
"""Held-out rows from which on an accuracy is shown without their number."""


class Meter:
    """Sums since the last log line; part of a checkpoint, so that a resumed run logs the same."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def add(self, **values: float) -> None:
        """Add to the sums."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """The sums; they start from zero again."""
        sums, self.sums = self.sums, {}
        return sums


class Recent(Meter):
    """Sums over about the newest `size` rows; part of a checkpoint, too.

    Older rows fade: with each new one they count 1/size less, so a sum settles at `size` times the
    mean. A batch of 32 holds three rows that a probe is measured on: alone they say nothing.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def see(self, rows: float, **values: float) -> None:
        """Add what was found on so many new rows, `rows` among the sums."""
        kept = max(0.0, 1 - rows / self._size)
        self.sums = {name: kept * value for name, value in self.sums.items()}
        self.add(rows=rows, **values)


class Clock:
    """Where the time of the steps goes: seconds under each name since the last reading."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.steps = 0
        self._started = time.perf_counter()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block under a name."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> tuple[int, float, dict[str, float]]:
        """Steps and seconds since the last reading, and the seconds by name."""
        now = time.perf_counter()
        steps, total, seconds = self.steps, now - self._started, self.seconds
        self._started, self.seconds, self.steps = now, {}, 0
        return steps, total, seconds


class MetricsFile:
    """`metrics.jsonl`: one object a logged step."""

    def __init__(self, path: Path, resume_at: int) -> None:
        """
        Args:
            path: of the file.
            resume_at: lines of later steps are dropped: a resumed run makes them again.
        """
        self._path = path
        kept = [line for line in read_metrics(path) if line["step"] <= resume_at]
        text = "".join(json.dumps(line) + "\n" for line in kept).encode()
        write_atomically(path, lambda file: file.write(text))

    def write(self, metrics: dict[str, Any]) -> None:
        """Append one line; NaN is written as null, which JSON has no other word for."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in metrics.items()
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a last line that was cut off by a crash is left out.

    Raises:
        UserError: it is no file, or what it holds are no metrics.
    """
    if not path.exists():
        return []
    lines = []
    try:
        for number, text in enumerate(read_file(path, MOST_METRICS).decode().splitlines(), 1):
            try:
                line = parse_json(text)
            except json.JSONDecodeError:
                break
            if not _is_metrics(line):
                raise ValueError(f"line {number} holds no metrics")
            lines.append(line)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path.parent.name}/{path.name} cannot be read: {reason}.") from error
    return lines


def _is_metrics(line: object) -> bool:
    """Whether a line has a step, and numbers or nothing beside it."""
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return False
    return all(value is None or type(value) in (int, float) for value in line.values())


class Display:
    """A live bar with rate, ETA and the losses; plain lines where there is no terminal."""

    def __init__(self, console: Console, steps: int, start: int) -> None:
        self._console = console
        self._steps = steps
        self._started = time.perf_counter()
        self._start = start
        self._live = is_live(console)
        self._progress = Progress(
            TextColumn("[bold]pretrain"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=not self._live,
            speed_estimate_period=60,
        )
        self._task = self._progress.add_task("pretrain", total=steps, completed=start, status="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self, step: int) -> None:
        """A step is done."""
        if self._live:
            self._progress.update(self._task, completed=step)

    def log(self, metrics: dict[str, Any]) -> None:
        """Show the newest figures."""
        status = summary(metrics)
        if self._live:
            self._progress.update(self._task, completed=metrics["step"], status=status)
            return
        done = metrics["step"] - self._start
        left = (
            (time.perf_counter() - self._started) / max(done, 1) * (self._steps - metrics["step"])
        )
        self._console.print(
            f"step {metrics['step']}/{self._steps}  ETA {clock_time(left)}  {status}",
            highlight=False,
            soft_wrap=True,
        )

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def summary(metrics: dict[str, Any]) -> str:
    """The figures of a logged step in one line."""
    parts = [
        f"loss {metrics['loss']:.4f} (prediction {metrics['prediction']:.4f}, "
        f"SIGReg {metrics['sigreg']:.2f})",
        f"rank {metrics['effective_rank']:.0f}",
    ]
    if metrics.get("probe_accuracy") is not None:
        few = metrics.get("probe_rows", math.inf)
        parts.append(
            f"probe {100 * metrics['probe_accuracy']:.1f} %"
            + (f" (of {few:.0f} rows)" if few < ENOUGH else "")
        )
    parts.append(f"{metrics['samples_per_s']:.0f} samples/s")
    parts.append(f"waiting for data {100 * metrics['wait']:.0f} %")
    return "  ".join(parts)
