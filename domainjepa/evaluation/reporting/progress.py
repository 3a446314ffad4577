"""How far an evaluation is: a bar in a terminal, lines where the output is a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from domainjepa.waiting import is_live

EVERY = 30.0
"""Seconds from one line to the next."""
SHORT = 5.0
"""Seconds below which nothing need be said."""


class Counter:
    """Counts steps of known number."""

    def __init__(self, console: Console | None, what: str, total: int) -> None:
        self._console = console
        self._what = escape(what)
        self._total = total
        self._done = 0
        self._said = self._started = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        live = console is not None and is_live(console)
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not live
        )
        self._task = self._bar.add_task(self._what, total=total)
        self._lines = console if console is not None and not live else None

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        self._done += steps
        self._bar.update(self._task, completed=self._done)
        now = time.monotonic()
        last = self._done >= self._total and now - self._started >= SHORT
        if self._lines and (now - self._said >= EVERY or last):
            self._said = now
            self._lines.print(
                f"{self._what}: {self._done:,} of {self._total:,}, {now - self._started:.0f} s",
                highlight=False,
                soft_wrap=True,
            )


@contextmanager
def counting(console: Console | None, what: str, total: int) -> Iterator[Counter]:
    """A counter that is shown while a `with` block runs; without a console it is silent."""
    counter = Counter(console, what, total)
    with counter._bar:
        yield counter
