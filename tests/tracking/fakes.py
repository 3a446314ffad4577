"""Packages of trackers, as far as they are called, with the signatures of the real ones: what was
sent is kept. Signatures are those of wandb 0.31, mlflow 3.17, trackio 0.43, tensorboard 2.21."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

Sent = list[tuple[Any, ...]]


def module(patch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    made = ModuleType(name)
    for member, thing in members.items():
        setattr(made, member, thing)
    patch.setitem(sys.modules, name, made)


def fake_wandb(patch: pytest.MonkeyPatch, sent: Sent, *, logged_in: bool = True) -> None:
    class Run:
        def __init__(self, id: str | None) -> None:
            self.id = id or "made"

        def log(self, data: dict[str, Any], step: int | None = None) -> None:
            sent.append(("log", step, data))

        def finish(self, exit_code: int | None = None) -> None:
            sent.append(("finish", exit_code))

    def init(*, project: str, id: str | None, name: str, config: dict[str, Any], dir: str,
             resume: str, mode: str | None, settings: Any) -> Run:  # fmt: skip
        sent.append(("init", project, id, name, config, resume, mode))
        sent.append(("settings", settings))
        return Run(id)

    def login(*, prompt: bool, verify: bool) -> bool:
        assert not prompt
        return logged_in

    module(patch, "wandb", init=init, login=login, Settings=lambda **given: given)


def fake_mlflow(patch: pytest.MonkeyPatch, sent: Sent) -> None:
    class Client:
        def get_experiment_by_name(self, name: str) -> Any:
            return None

        def create_experiment(self, name: str) -> str:
            sent.append(("experiment", name))
            return "7"

        def create_run(self, experiment_id: str, run_name: str | None = None) -> Any:
            sent.append(("run", experiment_id, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="f00"))

        def update_run(self, run_id: str, status: str | None = None) -> None:
            sent.append(("update", run_id, status))

        def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
            assert len(params) <= 100
            sent.append(("batch", run_id, metrics, params))

        def set_terminated(self, run_id: str, status: str | None = None) -> None:
            sent.append(("end", run_id, status))

    module(patch, "mlflow", MlflowClient=Client)
    module(
        patch,
        "mlflow.entities",
        Param=lambda key, value: (key, value),
        Metric=lambda key, value, timestamp, step: (key, value, step),
    )


def fake_trackio(patch: pytest.MonkeyPatch, sent: Sent) -> None:
    def init(*, project: str, name: str, space_id: str | None, config: dict[str, Any],
             resume: str, auto_log_gpu: bool) -> Any:  # fmt: skip
        sent.append(("init", project, name, space_id, config, resume))
        return SimpleNamespace(
            log=lambda metrics, step: sent.append(("log", step, metrics)),
            finish=lambda: sent.append(("finish",)),
        )

    module(patch, "trackio", init=init)


def fake_tensorboard(patch: pytest.MonkeyPatch, sent: Sent) -> None:
    class SummaryWriter:
        def __init__(self, log_dir: Path, purge_step: int | None = None) -> None:
            sent.append(("open", Path(log_dir).name, purge_step))

        def add_text(self, tag: str, text_string: str) -> None:
            sent.append(("text", tag, text_string))

        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            sent.append(("scalar", tag, scalar_value, global_step))

        def flush(self) -> None:
            pass

        def close(self) -> None:
            sent.append(("close",))

    module(patch, "tensorboard")
    module(patch, "torch.utils.tensorboard", SummaryWriter=SummaryWriter)


class Recorder:
    """A tracker of a user's own: writes all that it is told into the file of RECORDED."""

    def __init__(self) -> None:
        self.path = Path(os.environ["RECORDED"])

    def _write(self, *told: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(told, default=str) + "\n")

    def start(self, run: Any) -> str:
        self._write("start", run.name, dict(run.settings), run.step, run.handle)
        return "my handle"

    def log(self, step: int, metrics: Any) -> None:
        self._write("log", step, dict(metrics))

    def end(self, how: str) -> None:
        self._write("end", how)


class Broken:
    """Fails whatever it is asked."""

    def start(self, run: Any) -> None:
        pass

    def log(self, step: int, metrics: Any) -> None:
        raise ConnectionError("no route to host\nand more")

    def end(self, how: str) -> None:
        raise ConnectionError("no route to host")


class Unstartable(Broken):
    def start(self, run: Any) -> None:
        raise PermissionError("who are you?")
