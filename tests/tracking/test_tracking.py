"""Trackers hear of a run from its beginning to its end, and none of them can stop it."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from domainjepa.errors import UserError
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain
from domainjepa.pretraining.run_folder import RunFolder
from domainjepa.pretraining.tracked import tracked
from domainjepa.signals import Stopped
from domainjepa.tracking import tracking as module
from domainjepa.tracking.tracker import TrackedRun
from domainjepa.tracking.tracking import Tracking, make_trackers
from tests.conftest import tiny

OURS = "tests.tracking.fakes:"


def test_a_run_that_goes_on_is_the_same_to_its_tracker(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDED", str(tmp_path / "told"))
    out, console = (
        tmp_path / "run",
        Console(record=True, quiet=False, file=(tmp_path / "said").open("w")),
    )
    track = {"log__track": [f"{OURS}Recorder", f"{OURS}Broken"], "steps": 2}
    with pytest.raises(Stopped):
        pretrain(tiny(blobs, max_hours=1e-9, **track), out, console=console)
    pretrain(tiny(blobs, **track), out, resume=True, console=console)
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [one[0] for one in told] == ["start", "log", "end"] * 2
    begun, again = told[0], told[3]
    assert (begun[1], begun[3:], again[3:]) == ("run", [0, None], [1, "my handle"])
    assert (told[2], told[5]) == (["end", "stopped"], ["end", "finished"])
    for (_, step, metrics), line in zip(
        (told[1], told[4]), read_metrics(out / "metrics.jsonl"), strict=True
    ):
        assert {"step": step, **metrics} == {k: v for k, v in line.items() if v is not None}
    assert begun[2]["objective.lam"] == 0.05
    assert begun[2]["data.samples"] == 48
    assert str(tmp_path) not in (tmp_path / "told").read_text()
    assert "ConnectionError: no route to host" in console.export_text()
    assert json.loads((out / "tracking.json").read_text()) == {f"{OURS}Recorder": "my handle"}


def test_nothing_that_was_typed_of_the_data_is_told(blobs: Path, tmp_path: Path) -> None:
    typed = {"data__labels": "ans", "data__ids": "ans", "data__blank": ["MILLER"]}
    plan = make_plan(tiny(blobs, **typed, target__column="ans"))
    text = json.dumps(dict(tracked(plan, RunFolder(tmp_path / "run"), 0).settings))
    for word in ("ans", "MILLER", "blobs", str(tmp_path)):
        assert f'"{word}' not in text
    assert '"data.shape": "32x32x3"' in text


def telling(folder: Path, tracker: Any, lines: list[str]) -> Tracking:
    return Tracking({"it": tracker}, TrackedRun("run", {}, 0, None, folder), lines.append)


class Heard:
    def __init__(self, failing: int = 0, slow: float = 0.0) -> None:
        self.heard: list[Any] = []
        self.failing, self.slow = failing, slow

    def start(self, run: TrackedRun) -> None:
        time.sleep(self.slow)

    def log(self, step: int, metrics: Any) -> None:
        self.failing -= 1
        if self.failing >= 0:
            raise TimeoutError("busy")
        self.heard.append((step, dict(metrics)))

    def end(self, how: str) -> None:
        self.heard.append(how)


def test_what_is_no_number_is_not_told(tmp_path: Path) -> None:
    heard = Heard()
    with telling(tmp_path, heard, []) as told:
        told.log({"step": 3, "loss": math.nan, "probe_accuracy": None, "lr": 1e-3})
    assert heard.heard == [(3, {"lr": 1e-3}), "finished"]


@pytest.mark.parametrize(("failing", "left"), [(2, False), (9, True)])
def test_one_that_fails_again_and_again_is_left_alone(
    tmp_path: Path, failing: int, left: bool
) -> None:
    heard, lines = Heard(failing), list[str]()
    with telling(tmp_path, heard, lines) as told:
        for step in range(5):
            told.log({"step": step, "loss": 1.0})
    assert len(lines) == (4 if left else 2)
    assert (lines[-1] == "--track it is told no more; the run goes on") == left
    assert heard.heard == ([] if left else [(s, {"loss": 1.0}) for s in (2, 3, 4)] + ["finished"])


def test_one_that_cannot_start_is_left_out(tmp_path: Path) -> None:
    lines: list[str] = []
    with telling(
        tmp_path, make_trackers([f"{OURS}Unstartable"])[f"{OURS}Unstartable"], lines
    ) as told:
        told.log({"step": 1, "loss": 1.0})
    assert lines == [
        "--track it: PermissionError: who are you?",
        "--track it is left out; the run goes on",
    ]


def test_one_that_hangs_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    lines: list[str] = []
    begun = time.monotonic()
    with telling(tmp_path, Heard(slow=3.0), lines) as told:
        told.log({"step": 1, "loss": 1.0})
    assert time.monotonic() - begun < 2
    assert lines == ["--track it was still sending after 0 s: left"]


def test_how_a_run_failed_is_told(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(UserError), telling(tmp_path, heard, []):
        raise UserError("no")
    assert heard.heard == ["failed"]


def test_what_is_no_tracker_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown tracker 'wandbb'. Did you mean wandb\?"):
        make_trackers(["wandbb"])
    with pytest.raises(UserError, match="has no start, log, end: it is no tracker"):
        make_trackers(["builtins:dict"])
    with pytest.raises(UserError, match="cannot be made: 'RECORDED'"):
        make_trackers([f"{OURS}Recorder"])
