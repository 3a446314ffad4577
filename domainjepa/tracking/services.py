"""TensorBoard, Weights & Biases, MLflow and trackio, each told the numbers of a run and no more.

What these packages gather by themselves (paths, command line, host, git, the machine's load) is
switched off where it can be.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from domainjepa.errors import MissingExtra
from domainjepa.tracking.tracker import End, TrackedRun

PROJECT = "domainjepa"
"""What runs are filed under; `WANDB_PROJECT`, `MLFLOW_EXPERIMENT_NAME` and `TRACKIO_PROJECT` in the
environment say otherwise."""


def _needed(module: str, extra: str) -> ModuleType:
    """Raises MissingExtra where the package is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(extra, extra, f"--track {extra}") from error


class TensorBoard:
    """Event files in the run folder, `tensorboard/`; one that goes on hides what it makes again."""

    def __init__(self) -> None:
        _needed("tensorboard", "tensorboard")
        self._kind = _needed("torch.utils.tensorboard", "tensorboard").SummaryWriter

    def start(self, run: TrackedRun) -> None:
        """Open a new event file; the settings are a text."""
        purged = run.step + 1 if run.step else None
        self._writer = self._kind(run.folder / "tensorboard", purge_step=purged)
        if not run.step:
            self._writer.add_text(
                "settings", f"```\n{json.dumps(dict(run.settings), indent=1)}\n```"
            )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar each."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, how: End) -> None:
        """Close the file."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases. Without a key, or with WANDB_MODE=offline, it is kept in the run
    folder for `wandb sync`; nobody is ever asked for a key."""

    def __init__(self) -> None:
        self._wandb = _needed("wandb", "wandb")

    def start(self, run: TrackedRun) -> str:
        """Begin, or go on with the run of the same id."""
        wandb = self._wandb
        mode = None
        if "WANDB_MODE" not in os.environ and not wandb.login(prompt=False, verify=False):
            mode = "offline"
        quiet = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            program="domainjepa",
            host="",
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.handle,
            name=run.name,
            config=dict(run.settings),
            dir=str(run.folder),
            resume="allow",
            mode=mode,
            settings=quiet,
        )
        return str(self._run.id)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row of its history."""
        self._run.log(dict(metrics), step=step)

    def end(self, how: End) -> None:
        """A stopped run ends well: it may go on."""
        self._run.finish(exit_code=1 if how == "failed" else 0)


class MLflow:
    """A run of MLflow, at MLFLOW_TRACKING_URI or where MLflow keeps runs by default. By its client,
    which tells nothing that it is not given."""

    def __init__(self) -> None:
        self._mlflow = _needed("mlflow", "mlflow")
        self._entities = _needed("mlflow.entities", "mlflow")

    def start(self, run: TrackedRun) -> str:
        """Begin, or go on with the run of the same id."""
        self._client = self._mlflow.MlflowClient()
        if run.handle is not None:
            self._id = run.handle
            self._client.update_run(self._id, status="RUNNING")
            return self._id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        self._id = str(self._client.create_run(experiment, run_name=run.name).info.run_id)
        params = [self._entities.Param(key, str(value)) for key, value in run.settings.items()]
        for first in range(0, len(params), 100):  # as many as a server takes at once
            self._client.log_batch(self._id, params=params[first : first + 100])
        return self._id

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One batch."""
        now = int(1000 * time.time())
        metric = self._entities.Metric
        rows = [metric(_named(name), value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._id, metrics=rows)

    def end(self, how: End) -> None:
        """By the words of MLflow."""
        words = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        self._client.set_terminated(self._id, words[how])


def _named(text: str) -> str:
    """A name with nothing in it but what MLflow takes."""
    return "".join(one if one.isalnum() or one in "_-./ " else "_" for one in text)


class Trackio:
    """A run of trackio: on this machine, or in the Space of TRACKIO_SPACE_ID."""

    def __init__(self) -> None:
        self._trackio = _needed("trackio", "trackio")

    def start(self, run: TrackedRun) -> str:
        """Begin, or go on with the run of the same name."""
        name = run.handle or f"{run.name}-{time.time_ns():x}"  # two runs may have one name
        self._run: Any = self._trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=name,
            space_id=os.environ.get("TRACKIO_SPACE_ID"),
            config=dict(run.settings),
            resume="allow",
            auto_log_gpu=False,
        )
        return name

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row."""
        self._run.log(dict(metrics), step=step)

    def end(self, how: End) -> None:
        """Send what is left."""
        self._run.finish()
