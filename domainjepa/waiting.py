"""How far long work is: a bar with the time that is left, or lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 5.0
"""Seconds from one line to the next, in a file or a pipe."""


def is_live(console: Console) -> bool:
    """Whether something that moves may be drawn: never into a file or a pipe, not even where
    FORCE_COLOR, which batch jobs inherit, has rich take them for a terminal."""
    return console.is_terminal and console.file.isatty()


def stage(console: Console, what: str) -> None:
    """A line before work that takes seconds and cannot be counted."""
    console.print(f"[dim]{what} …[/dim]", highlight=False)


@contextmanager
def bar(console: Console, what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Shows progress for as long as the block lasts; nothing of it stays on a terminal.

    Args:
        console: best that of stderr, so that what a command prints can be piped.
        what: is being done, such as `reading samples`.
        total: of the steps.
        done: before the block began.

    Yields:
        A function to call with the number of steps done.
    """
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("ETA"))
    live = Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not is_live(console),
    )
    begun = told = time.monotonic()
    with live:
        task = live.add_task("", total=total, completed=done)

        def show(now: int) -> None:
            nonlocal told
            live.update(task, completed=now)
            moment = time.monotonic()
            if not is_live(console) and moment - told >= EVERY and done < now < total:
                told = moment
                left = (moment - begun) / (now - done) * (total - now)
                line = f"{what}: {now:,} of {total:,}, about {clock_time(left)} left"
                console.print(line, highlight=False, markup=False)

        yield show


def clock_time(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
