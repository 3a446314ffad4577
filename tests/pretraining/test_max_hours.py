"""A run in pieces, each of which ends when its time is up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain
from domainjepa.signals import Stopped, StopSignal
from tests import programs
from tests.conftest import tiny
from tests.pretraining.test_run import command

QUIET = Console(quiet=True)
MOMENT = 1e-9
"""Hours that are over after any step."""


def test_six_pieces_give_the_encoder_of_one(blobs: Path, tmp_path: Path) -> None:
    one, six = tmp_path / "one", tmp_path / "six"
    pretrain(tiny(blobs, steps=6), one, console=QUIET)
    for piece in range(1, 6):
        with pytest.raises(Stopped, match=f"time is up after step {piece} of 6") as stopped:
            pretrain(tiny(blobs, steps=6, max_hours=MOMENT), six, resume=piece > 1, console=QUIET)
        assert stopped.value.exit_status == 75
        saved = json.loads((six / "checkpoints/latest.json").read_text())
        assert saved["step"] == piece
        report = (six / "report.html").read_text()
        assert f"Not done: step {piece} of 6" in report
        assert "<title>six: hdf5-" in report, "the file may be named after a patient"
    pretrain(tiny(blobs, steps=6, max_hours=MOMENT), six, resume=True, console=QUIET)
    assert "6 steps, done." in (six / "report.html").read_text()
    name = "encoder.safetensors"
    assert (six / name).read_bytes() == (one / name).read_bytes()
    timed = {"samples_per_s", "wait"}
    lines = [
        [
            {name: line[name] for name in line.keys() - timed}
            for line in read_metrics(run / "metrics.jsonl")
        ]
        for run in (one, six)
    ]
    assert lines[0] == lines[1]


def test_the_command_ends_with_status_75(blobs: Path, tmp_path: Path) -> None:
    ended = programs.run(*command(blobs, tmp_path / "out", f"--max-hours={MOMENT}"))
    assert ended.returncode == 75, ended.stderr
    told = "the time is up after step 1 of 8; everything is saved. Go on with the same command"
    assert told in ended.stderr


def test_a_signal_is_told_before_the_time() -> None:
    stop = StopSignal(end=0.0)
    stop.look_at_the_clock()
    assert stop.asked
    assert stop.stopped(1, 2).exit_status == 75
    stop.late, stop.number = False, 2
    assert stop.stopped(1, 2).exit_status == 130
    assert not StopSignal().asked
