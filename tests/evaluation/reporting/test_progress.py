from __future__ import annotations

import io

from rich.console import Console

from domainjepa.evaluation.reporting import progress
from domainjepa.evaluation.reporting.progress import counting


def test_a_file_gets_lines_and_a_terminal_a_bar(monkeypatch):
    now = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    file = io.StringIO()
    with counting(Console(file=file, width=80), "features: a[b]", 5) as counter:
        for _ in range(5):
            counter.advance()
    # Twenty seconds a step, a line after thirty, and one at the end.
    assert file.getvalue().splitlines() == [
        "features: a[b]: 2 of 5, 40 s",
        "features: a[b]: 4 of 5, 80 s",
        "features: a[b]: 5 of 5, 100 s",
    ]


def test_without_a_console_nothing_is_said(capsys):
    with counting(None, "features", 2) as counter:
        counter.advance(2)
    assert capsys.readouterr() == ("", "")
