"""Several trackers of one run. None of them can stop it or hold it up."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from domainjepa.errors import ConfigError, UserError
from domainjepa.reading import parse_json, read_file
from domainjepa.registry import TRACKERS
from domainjepa.signals import Stopped
from domainjepa.tracking.tracker import End, TrackedRun, Tracker
from domainjepa.writing import write_atomically

HANDLES = "tracking.json"
"""In the run folder: what each tracker has to know to go on with the same run."""
MOST_FAILURES = 3
"""In a row, after which a tracker is left alone."""
PATIENCE = 60.0
"""Seconds that the end of a run waits for what trackers have not yet sent."""


def make_trackers(names: Sequence[str]) -> dict[str, Tracker]:
    """The trackers of these names.

    Raises:
        UserError: one is unknown, cannot be made, or its package is missing.
    """
    made: dict[str, Tracker] = {}
    for name in names:
        make = TRACKERS.load(name)
        try:
            made[name] = make()
        except UserError:
            raise
        except Exception as error:
            raise ConfigError(f"log.track: {name} cannot be made: {error}") from error
        missing = [call for call in ("start", "log", "end") if not hasattr(made[name], call)]
        if missing:
            raise ConfigError(f"log.track: {name} has no {', '.join(missing)}: it is no tracker.")
    return made


class Tracking:
    """Tells trackers of a run, each in a thread of its own, for the length of a `with` block."""

    def __init__(
        self, trackers: Mapping[str, Tracker], run: TrackedRun, warn: Callable[[str], object]
    ) -> None:
        """
        Args:
            trackers: by name.
            run: what they are told; the handles are found in its folder.
            warn: takes a line, from any thread.
        """
        self._warn = warn
        self._handles = _Handles(run.folder / HANDLES) if trackers else None
        self._told = [
            _Told(name, tracker, run, self._handles, warn)
            for name, tracker in trackers.items()
            if self._handles
        ]

    def __enter__(self) -> Self:
        for one in self._told:
            one.start()
        return self

    def log(self, metrics: Mapping[str, Any]) -> None:
        """A line of `metrics.jsonl`; what is no number is left out."""
        numbers = {
            name: float(value)
            for name, value in metrics.items()
            if name != "step" and value is not None and math.isfinite(value)
        }
        for one in self._told:
            one.calls.put(methodcaller("log", metrics["step"], numbers))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        how: End = "finished" if error is None else "failed"
        if isinstance(error, Stopped):
            how = "stopped"
        for one in self._told:
            one.calls.put(methodcaller("end", how))
            one.calls.put(None)
        for one in self._told:
            one.join(PATIENCE)
            if one.is_alive():
                self._warn(f"--track {one.name} was still sending after {PATIENCE:.0f} s: left")


class _Handles:
    """The handles of a run's trackers, in a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        try:
            known = parse_json(read_file(path))
        except (OSError, ValueError):  # none yet; without one a tracker begins anew
            known = {}
        self.known: dict[str, str] = {}
        if isinstance(known, dict):
            self.known = {name: text for name, text in known.items() if isinstance(text, str)}

    def keep(self, name: str, handle: str) -> None:
        """Write what has changed."""
        with self._lock:
            if self.known.get(name) != handle:
                self.known[name] = handle
                text = json.dumps(self.known).encode()
                write_atomically(self._path, lambda file: file.write(text))


class _Told(threading.Thread):
    """One tracker and what it is still to be told."""

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        run: TrackedRun,
        handles: _Handles,
        warn: Callable[[str], object],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.calls: SimpleQueue[Callable[[Tracker], object] | None] = SimpleQueue()
        self._tracker, self._run, self._handles, self._warn = tracker, run, handles, warn
        self._failures = 0

    def run(self) -> None:
        if not self._does(self._begin):
            self._warn(f"--track {self.name} is left out; the run goes on")
            return
        while (call := self.calls.get()) is not None:
            if not self._does(call) and self._failures == MOST_FAILURES:
                self._warn(f"--track {self.name} is told no more; the run goes on")
                return

    def _begin(self, tracker: Tracker) -> None:
        handle = tracker.start(replace(self._run, handle=self._handles.known.get(self.name)))
        if handle is not None:
            self._handles.keep(self.name, handle)

    def _does(self, call: Callable[[Tracker], object]) -> bool:
        try:
            call(self._tracker)
        except Exception as error:  # whatever it is: no tracker stops a run
            self._failures += 1
            first = str(error).partition("\n")[0]
            self._warn(f"--track {self.name}: {type(error).__name__}: {first}")
            return False
        self._failures = 0
        return True
