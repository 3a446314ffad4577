"""Being asked to stop: SIGTERM, SIGUSR1 (Slurm's warning before the end), Ctrl-C, or the clock."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from multiprocessing import forkserver, resource_tracker
from threading import current_thread, main_thread
from typing import Any

from domainjepa.lifeline import STARTER, end_with_run

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
TIME_IS_UP = 75
"""Exit status at the limit of time: EX_TEMPFAIL of sysexits(3), "try again later"."""


class Stopped(Exception):
    """A signal or a limit of time asked for an end; everything is saved.

    Attributes:
        exit_status: 130 after Ctrl-C, 143 after the other signals: what shells and Slurm expect;
            75 at the limit of time.
    """

    def __init__(self, number: int | None, message: str) -> None:
        """
        Args:
            number: of the signal; None where the time was up.
            message: what is told.
        """
        super().__init__(message)
        self.exit_status = TIME_IS_UP
        if number is not None:
            self.exit_status = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


class StopSignal:
    """Within its block the signals only raise a flag, which is read at the end of a step.

    Attributes:
        number: the signal that came, or None.
        late: whether the time was up when it was last looked at.
    """

    def __init__(self, end: float = math.inf) -> None:
        """
        Args:
            end: when the time is up, on the clock of `time.monotonic`.
        """
        self.number: int | None = None
        self.late = False
        self._end = end
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        try:
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._raise_flag)
        except ValueError:
            pass  # not the main thread: somebody else owns the signals
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self.number is not None or self.late

    def look_at_the_clock(self) -> None:
        """After a step, never before the first: each piece of a chain gets on."""
        self.late = time.monotonic() > self._end

    def stopped(self, step: int, steps: int) -> Stopped:
        """What to raise once everything is saved; another rank may have had the signal."""
        why = "the time is up" if self.late else "stopped"
        return Stopped(
            None if self.late else self.number or signal.SIGTERM,
            f"{why} after step {step} of {steps}; everything is saved. "
            "Go on with the same command and --resume.",
        )

    def _raise_flag(self, number: int, frame: object) -> None:
        self.number = number


def start_servers_that_stay(*preload: str) -> None:
    """Start the processes from which multiprocessing makes workers, deaf to the signals.

    Slurm and Ctrl-C signal the whole process group. Without these servers the workers count as dead
    before the run has saved. They inherit the mask, and so do the workers; the run itself gets what
    came meanwhile. A server that runs already stays as it is.

    Args:
        preload: modules that every worker needs.
    """
    forkserver.set_forkserver_preload(["domainjepa.fork_server", *preload])
    if current_thread() is main_thread():  # with another one, they would end with that thread
        os.environ[STARTER] = str(os.getpid())
    # They take over this process' options. What the tracker cleans up after a kill is no news.
    sys.warnoptions.append("ignore:resource_tracker")
    for server in (resource_tracker, forkserver):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            server.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    sys.warnoptions.pop()
    os.environ.pop(STARTER, None)


def work_for_the_run(worker: int = 0) -> None:
    """The first thing that a worker does. It ends with the run, and never before it for a signal:
    Ctrl-C and Slurm signal every process; only the run itself decides what to do about it."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    end_with_run()
