"""Progress in a file or a pipe: a line every few seconds, with what is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from domainjepa import waiting
from domainjepa.waiting import bar, clock_time


def test_lines_come_every_few_seconds_and_tell_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter(range(0, 100, 2))  # two seconds pass between two looks at the clock
    monkeypatch.setattr(waiting.time, "monotonic", lambda: float(next(moments)))
    out = io.StringIO()
    with bar(Console(file=out, width=80), "reading samples", 100) as show:
        for done in range(10, 101, 10):
            show(done)
    lines = out.getvalue().splitlines()
    # At 6, 12 and 18 seconds: 30, 60 and 90 samples.
    assert lines == [
        "reading samples: 30 of 100, about 0:00:14 left",
        "reading samples: 60 of 100, about 0:00:08 left",
        "reading samples: 90 of 100, about 0:00:02 left",
    ]


def test_quick_work_says_nothing() -> None:
    out = io.StringIO()
    with bar(Console(file=out), "reading samples", 3) as show:
        for done in (1, 2, 3):
            show(done)
    assert not out.getvalue()


def test_clock_time() -> None:
    assert clock_time(3725) == "1:02:05"
