"""Where the time of a training step goes: network and objective against everything else.

Runs the demo's recipe on a simulated survey and counts wall-clock time: in the forward passes of
backbone and projector, in the objective, in the backward pass and the optimiser, and the rest
(waiting for data, standardising, probing, measuring, logging, saving).

    python benchmarks/step.py --out benchmarks/results/step-cpu.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from domainjepa.config import LogConfig
from domainjepa.data.simulated.survey import simulate_survey
from domainjepa.demo import demo_config
from domainjepa.objective import LeJEPALoss
from domainjepa.pretraining import run as training
from domainjepa.pretraining.network import Network
from domainjepa.pretraining.progress import Display
from domainjepa.pretraining.state import RunState

SECONDS: dict[str, float] = {}


def timed(owner: Any, method: str, name: str) -> None:
    """Count the time inside a method under a name."""
    original: Callable[..., Any] = getattr(owner, method)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            SECONDS[name] = SECONDS.get(name, 0.0) + time.perf_counter() - start

    setattr(owner, method, wrapper)


class Interval(Display):
    """Starts counting after the first logged step: the first batches are not ready before."""

    started = 0.0
    first_step = 0

    def log(self, metrics: dict[str, Any]) -> None:
        super().log(metrics)
        if not Interval.started:
            Interval.started = time.perf_counter()
            Interval.first_step = metrics["step"]
            SECONDS.clear()
        Interval.seconds = time.perf_counter() - Interval.started
        Interval.steps = metrics["step"] - Interval.first_step

    seconds = 0.0
    steps = 0


def cpu_name() -> str:
    """The processor as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    timed(Network, "forward", "forward")
    timed(LeJEPALoss, "forward", "objective")
    timed(RunState, "update", "backward and optimiser")
    training.Display = Interval  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        survey = Path(folder) / "simulated-survey.h5"
        simulate_survey(survey)
        # Fewer steps than the demo, logged as often.
        config = demo_config(survey, arguments.steps)
        config = config.model_copy(update={"log": LogConfig(every_steps=7)})
        training.pretrain(config, Path(folder) / "run", console=Console())
    inside = sum(SECONDS.values())
    result = {
        "command": "python benchmarks/step.py",
        "machine": f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "steps": Interval.steps,
        "milliseconds_a_step": 1e3 * Interval.seconds / Interval.steps,
        "shares": {name: value / Interval.seconds for name, value in SECONDS.items()},
        "share_outside": 1 - inside / Interval.seconds,
    }
    text = json.dumps(result, indent=2)
    Console().print_json(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
