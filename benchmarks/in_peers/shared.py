"""What the programs of every environment share: settings, first weights, our views, measuring."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from domainjepa import settings
from domainjepa.backbones import Backbone
from domainjepa.config import PretrainConfig
from domainjepa.data.sampling import key
from domainjepa.encoder.standardise import Standardise
from domainjepa.pretraining.batches import Batch, batch_loader
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.schedule import learning_rate

SETTINGS = (
    *("views.num_local=0", "views.global_size=32", "backbone.name=resnet10t"),
    *("backbone.stem_reduction=2", "projector.hidden=1024", "projector.out=64"),
    *("objective.lam=0.05", "objective.num_slices=1024", "optimizer.lr=2e-3"),
    *("batch_size=128", "precision=float32", "device=cpu", "threads=1", "data.workers=0"),
)
"""Of every run; what is not here is as domainjepa has it by default."""
CHANNELS = 3
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""What both peers standardise by, where they are not told otherwise."""
FIRST = 5
"""Steps that no speed is of: memory is asked for, code is looked for."""


def task() -> argparse.Namespace:
    """What the driver asks of a program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="the same as PNG files")
    parser.add_argument("--views", choices=("its", "ours"), required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="a setting of the run")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return asked


def run_config(data: Path, steps: int, changes: Sequence[str] = ()) -> PretrainConfig:
    """The settings of a run; changes are `--set`s beside `SETTINGS`."""
    changed = {change.partition("=")[0] for change in changes}
    kept = [setting for setting in SETTINGS if setting.partition("=")[0] not in changed]
    return settings.resolve(None, [*kept, *changes], {"data.path": str(data), "steps": steps})


def first_backbone(config: PretrainConfig) -> nn.Module:
    """timm's network with the thinner stem and the first weights of our own run of this seed."""
    size = config.views.global_size
    assert size is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.seed, "weights"))
        return Backbone(config.backbone, CHANNELS, size).net


def share_of_peak(config: PretrainConfig, step: int) -> float:
    """The learning rate of a step, as a share of its peak: that of our own runs."""
    assert config.steps is not None
    chosen = config.optimizer
    return learning_rate(
        min(step, config.steps - 1), config.steps, 1, chosen.warmup, chosen.final_lr
    )


class OurViews:
    """The views that our own run of these settings sees, in the same order."""

    def __init__(self, config: PretrainConfig) -> None:
        plan = make_plan(config)
        self.numbers = {"mean": plan.mean, "std": plan.std}
        self.standardise = Standardise(plan.mean, plan.std)
        self.loader: DataLoader[Batch] = batch_loader(plan, 0)

    def __iter__(self) -> Iterator[Tensor]:
        """(V, N, C, H, W) float32, standardised."""
        for batch in self.loader:
            yield self.standardise(batch["global"])


class Meter:
    """How fast and in how much memory; made when all is imported.

    Seconds are of the processor: on a core of its own they are those of the clock, and beside other
    work they are still those that this process took.
    """

    def __init__(self) -> None:
        self.imported = mib("VmRSS")
        self.times: list[float] = []

    def tick(self) -> None:
        """Once at the end of each step."""
        self.times.append(time.process_time())

    def write(self, out: Path, **more: object) -> None:
        """`measured.json`; the memory is that of this process, all it has imported included."""
        counted = self.times[FIRST:]
        found = {
            "seconds_a_step": (counted[-1] - counted[0]) / (len(counted) - 1),
            "mib_after_imports": round(self.imported),
            "mib_peak": round(mib("VmHWM")),
            **more,
        }
        (out / "measured.json").write_text(json.dumps(found, indent=1) + "\n")


def mib(field: str) -> float:
    """Of this process, as Linux counts (proc_pid_status(5))."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def keep(out: Path, net: nn.Module, numbers: dict[str, Sequence[float]]) -> None:
    """`backbone.safetensors` under timm's names, and what its images were standardised by."""
    weights = {name: value.contiguous() for name, value in net.state_dict().items()}
    safetensors.torch.save_file(weights, out / "backbone.safetensors")
    (out / "standardised.json").write_text(json.dumps(numbers))


def versions(*names: str) -> dict[str, str]:
    """Of packages of this environment."""
    return {name: version(name) for name in ("torch", "timm", *names)}
