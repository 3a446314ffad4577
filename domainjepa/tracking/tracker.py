"""The protocol of a tracker: three calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Value = str | int | float | bool
End = Literal["finished", "stopped", "failed"]
"""How a run ended; a stopped one is saved and may go on."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run. No path of the machine but `folder`, and that stays here.

    Attributes:
        name: of the run's folder.
        settings: what decides what is learned, by dotted names, and a few facts of the data.
        step: done already; above 0 where the run goes on.
        handle: what `start` returned when the run began; None at its first start.
        folder: the run folder, for what a tracker writes on this machine. It is never to be sent.
    """

    name: str
    settings: Mapping[str, Value]
    step: int
    handle: str | None
    folder: Path


class Tracker(Protocol):
    """A tracker, as `--track module:function` makes one. Its calls come from a thread of its own:
    one that is slow or fails never holds the training up."""

    def start(self, run: TrackedRun) -> str | None:
        """The run begins, or goes on.

        Returns:
            What this tracker has to know to go on with the same run; None if it needs nothing.
        """

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A logged step: what is a number in that line of `metrics.jsonl`."""

    def end(self, how: End) -> None:
        """The run ends."""
