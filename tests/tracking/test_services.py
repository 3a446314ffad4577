"""The four services, told by their own calls; what they are told is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domainjepa.errors import MissingExtra
from domainjepa.tracking import services
from domainjepa.tracking.tracker import TrackedRun
from domainjepa.tracking.tracking import make_trackers
from tests.tracking import fakes

SETTINGS = {"objective.lam": 0.05, "backbone.name": "resnet34", **{f"x.{n}": n for n in range(150)}}


def first(path: Path) -> TrackedRun:
    return TrackedRun("run", SETTINGS, 0, None, path)


def again(path: Path, handle: str) -> TrackedRun:
    return TrackedRun("run", SETTINGS, 20, handle, path)


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: fakes.Sent = []
    monkeypatch.delenv("WANDB_MODE", raising=False)
    fakes.fake_wandb(monkeypatch, sent)
    tracker = services.WandB()
    handle = tracker.start(first(tmp_path))
    tracker.log(10, {"loss": 0.5})
    tracker.end("stopped")
    assert sent[0] == ("init", "domainjepa", None, "run", SETTINGS, "allow", None)
    assert {"disable_git", "x_disable_meta", "x_disable_machine_info"} <= sent[1][1].keys()
    assert sent[2:] == [("log", 10, {"loss": 0.5}), ("finish", 0)]
    sent.clear()
    services.WandB().start(again(tmp_path, handle))
    assert sent[0] == ("init", "domainjepa", "made", "run", SETTINGS, "allow", None)


def test_wandb_without_a_key_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: fakes.Sent = []
    monkeypatch.delenv("WANDB_MODE", raising=False)
    fakes.fake_wandb(monkeypatch, sent, logged_in=False)
    services.WandB().start(first(tmp_path))
    assert sent[0][-1] == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    services.WandB().start(first(tmp_path))
    assert sent[2][-1] is None, "what the environment says counts"


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: fakes.Sent = []
    fakes.fake_mlflow(monkeypatch, sent)
    tracker = services.MLflow()
    handle = tracker.start(first(tmp_path))
    tracker.log(10, {"loss": 0.5, "probe/Edema (left)": 0.9})
    tracker.end("finished")
    assert sent[:2] == [("experiment", "domainjepa"), ("run", "7", "run")]
    params = [pair for call in sent[2:4] for pair in call[3]]
    assert params == [(name, str(value)) for name, value in SETTINGS.items()]
    metrics = [("loss", 0.5, 10), ("probe/Edema _left_", 0.9, 10)]
    assert sent[4:] == [("batch", "f00", metrics, ()), ("end", "f00", "FINISHED")]
    sent.clear()
    services.MLflow().start(again(tmp_path, handle))
    assert sent == [("update", "f00", "RUNNING")]


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: fakes.Sent = []
    fakes.fake_trackio(monkeypatch, sent)
    tracker = services.Trackio()
    handle = tracker.start(first(tmp_path))
    tracker.log(10, {"loss": 0.5})
    tracker.end("failed")
    assert handle.startswith("run-")
    assert sent == [
        ("init", "domainjepa", handle, None, SETTINGS, "allow"),
        ("log", 10, {"loss": 0.5}),
        ("finish",),
    ]
    services.Trackio().start(again(tmp_path, handle))
    assert sent[-1][2] == handle


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: fakes.Sent = []
    fakes.fake_tensorboard(monkeypatch, sent)
    tracker = services.TensorBoard()
    tracker.start(first(tmp_path))
    tracker.log(10, {"loss": 0.5})
    tracker.end("finished")
    assert sent[0] == ("open", "tensorboard", None)
    assert json.loads(sent[1][2].strip("`\n")) == SETTINGS
    assert sent[2:] == [("scalar", "loss", 0.5, 10), ("close",)]
    services.TensorBoard().start(again(tmp_path, ""))
    assert sent[-1] == ("open", "tensorboard", 21), "steps that are made again are hidden"


def test_tensorboard_in_earnest(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for run, losses in ((first(tmp_path), (4, 3, 2)), (again(tmp_path, ""), (1.5, 1))):
        tracker = services.TensorBoard()
        tracker.start(run)
        for number, loss in enumerate(losses, 1):
            tracker.log(run.step + 10 * number, {"loss": loss})
        tracker.end("stopped")
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    seen = [(event.step, event.value) for event in events.Scalars("loss")]
    assert seen == [(10, 4), (20, 3), (30, 1.5), (40, 1)]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio", "tensorboard"])
def test_a_missing_package_is_told_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'domainjepa\[{name}\]'"):
        make_trackers([name])
