from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from domainjepa.pretraining.progress import (
    Clock,
    Display,
    Meter,
    MetricsFile,
    Recent,
    read_metrics,
    show_plan,
    summary,
)

LINE = {
    "step": 5,
    "loss": 0.5,
    "prediction": 0.25,
    "sigreg": 1.5,
    "effective_rank": 12.0,
    "probe_accuracy": 0.75,
    "samples_per_s": 100.0,
    "wait": 0.02,
}


def test_metrics_of_later_steps_are_dropped_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, resume_at=0)
    for step in (1, 2, 3):
        file.write({"step": step, "loss": math.nan if step == 2 else 1.0})
    with path.open("a") as raw:
        raw.write('{"step": 4, "lo')  # cut off by a power cut
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 3]
    MetricsFile(path, resume_at=2)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": None}]


def test_without_a_terminal_a_line_is_printed_for_each_log() -> None:
    text = io.StringIO()
    with Display(Console(file=text, width=200), steps=10, start=0) as display:
        display.log(LINE)
    (line,) = text.getvalue().splitlines()
    for word in ("5/10", "ETA 0:00:0", "0.5000", "SIGReg 1.50", "rank 12", "probe 75.0 %", "2 %"):
        assert word in line


def test_on_a_terminal_a_bar_is_drawn() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    text = Terminal()
    with Display(Console(file=text, width=160, force_terminal=True), steps=10, start=0) as display:
        display.log(LINE)
        display.advance(6)
    assert "6/10" in text.getvalue()
    assert "SIGReg" in text.getvalue()


def test_plan_shows_notes_and_warnings() -> None:
    text = io.StringIO()
    show_plan(Console(file=text, width=80), "run", [("data", "5 images")], ["look at [this]"])
    assert "5 images" in text.getvalue()
    assert "look at [this]" in text.getvalue()


def test_recent_rows_fade_and_settle_at_their_mean() -> None:
    recent = Recent(100)
    for _ in range(400):
        recent.see(4, correct=3)
    # n' = (1 - 4/100) n + 4 settles at 100; so does the share of hits, at 3/4.
    assert recent.sums["rows"] == pytest.approx(100, rel=1e-6)
    assert recent.sums["correct"] / recent.sums["rows"] == pytest.approx(0.75)
    for _ in range(25):
        recent.see(4, correct=4)
    kept = (1 - 4 / 100) ** 25
    assert recent.sums["correct"] == pytest.approx(75 * kept + 100 * (1 - kept), rel=1e-6)
    recent.see(250, correct=0)
    assert recent.sums == {"rows": 250, "correct": 0}, "a large batch stands alone"


def test_an_accuracy_of_few_rows_says_so() -> None:
    assert "probe 75.0 % (of 13 rows)" in summary({**LINE, "probe_rows": 13.2})
    assert "probe 75.0 %  100" in summary({**LINE, "probe_rows": 400.0})


def test_meter_and_clock() -> None:
    meter = Meter()
    meter.add(loss=1.0, steps=1)
    meter.add(loss=2.0, steps=1)
    assert meter.take() == {"loss": 3.0, "steps": 2}
    assert meter.take() == {}
    clock = Clock()
    with clock.of("wait"):
        clock.steps += 3
    steps, total, seconds = clock.take()
    assert steps == 3
    assert 0 <= seconds["wait"] <= total
    steps, _, seconds = clock.take()
    assert (steps, seconds) == (0, {})
