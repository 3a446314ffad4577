"""Where the time of a sample goes: reading, views, transfer and step, each measured alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from domainjepa.config import PretrainConfig
from domainjepa.data.sampling import KeyedBatches
from domainjepa.pretraining.machine import available_cores, choose_device
from domainjepa.pretraining.plan import Plan, make_plan
from domainjepa.pretraining.state import RunState
from domainjepa.pretraining.step import Step
from domainjepa.views.dataset import ViewDataset, whole

SAMPLES = 64
"""That are read, and made views of."""
WARM, STEPS = 1, 3


@dataclass(frozen=True)
class Timing:
    """Milliseconds a sample.

    Attributes:
        reading: of the data, by one process.
        views: making them, by one process.
        transfer: of a batch to the device; 0 on the CPU.
        step: forward, objective, backward, optimiser, by precision.
        memory_gib: of the device at its fullest, None on the CPU.
        batch_size: that was measured.
    """

    reading: float
    views: float
    transfer: float
    step: dict[str, float]
    memory_gib: float | None
    batch_size: int

    @property
    def precision(self) -> str:
        """The one whose step is fastest."""
        return min(self.step, key=self.step.__getitem__)

    def workers(self) -> int:
        """Processes that keep the device busy."""
        busy = self.step[self.precision] + self.transfer
        return max(1, math.ceil((self.reading + self.views) / busy))

    def advice(self, cores: int, memory_gib: float | None, on_cpu: bool) -> list[str]:
        """The bottleneck and what to set, a line each.

        Args:
            cores: of this process.
            memory_gib: of the device.
            on_cpu: whether the step is computed by the same cores.
        """
        wanted, spare = self.workers(), max(cores - 1, 1)
        slower = "reading" if self.reading > self.views else "making views"
        if wanted <= spare:
            lines = [f"the bottleneck is the step; data.workers={wanted} keeps it busy"]
        else:
            share = spare / wanted
            lines = [
                f"the bottleneck is {slower}: {wanted} workers would keep the device busy, and "
                f"{spare} of {cores} cores are to spare, so it waits {1 - share:.0%} of the time"
            ]
            lines.append(
                "pack the data once: domainjepa prepare"
                if slower == "reading"
                else "fewer local views (views.num_local) or smaller ones cost least"
            )
        other = next((name for name in self.step if name != self.precision), None)
        if other is not None:
            faster = self.step[other] / self.step[self.precision]
            lines.append(f"precision={self.precision} is {faster:.1f} times as fast as {other}")
        if on_cpu:
            lines.append("a larger batch is no faster a sample on the CPU")
        elif self.memory_gib and memory_gib:
            most = int(self.batch_size * 0.9 * memory_gib / self.memory_gib)
            used = f"{self.memory_gib:.1f} of {memory_gib:.1f} GiB"
            lines.append(
                f"a batch of {self.batch_size} takes {used}: about {most} fit; "
                f"beyond that --set micro_batch={max(most // 2, 1)}"
            )
        return lines


def measure(config: PretrainConfig) -> Timing:
    """Measure on the data, backbone, views and batch of some settings.

    Raises:
        UserError: data or settings that cannot be used.
    """
    device, _ = choose_device(config)
    plan = make_plan(config.model_copy(update={"precision": "float32"}))
    rows = plan.rows[:SAMPLES].tolist()
    reading = _seconds(lambda: [plan.source[row] for row in rows], device) / len(rows)
    maker = plan.maker()
    dataset = ViewDataset(plan.source, maker)
    draws = [(0, row) for row in rows]
    both = _seconds(lambda: dataset.__getitems__(draws), device) / len(rows)
    size = plan.config.batch_size
    (drawn,) = KeyedBatches(plan.rows, batch_size=size, seed=0, steps=range(1))
    batch = whole(dataset.__getitems__(drawn))
    views = [batch[name] for name in ("global", "local") if name in batch]
    transfer = 0.0
    if device.type != "cpu":
        transfer = _seconds(lambda: [group.to(device) for group in views], device) / size
        batch |= {name: batch[name].to(device) for name in ("global", "local") if name in batch}
    steps = {"float32": _step(plan, batch)}
    if device.type != "cpu":
        bfloat16 = make_plan(config.model_copy(update={"precision": "bfloat16"}))
        steps["bfloat16"] = _step(bfloat16, batch)
    memory = None
    if device.type == "cuda":
        memory = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    in_ms = {name: round(1e3 * value, 3) for name, value in steps.items()}
    return Timing(
        reading=round(1e3 * reading, 3),
        views=round(1e3 * max(both - reading, 0.0), 3),
        transfer=round(1e3 * transfer, 3),
        step=in_ms,
        memory_gib=memory,
        batch_size=size,
    )


def device_memory(config: PretrainConfig) -> tuple[int, float | None, bool]:
    """Cores, GiB of the device, and whether that is the CPU: what `Timing.advice` asks for."""
    device, _ = choose_device(config)
    if device.type != "cuda":
        return available_cores(), None, device.type == "cpu"
    return available_cores(), torch.cuda.get_device_properties(device).total_memory / 2**30, False


def _step(plan: Plan, batch: dict[str, torch.Tensor]) -> float:
    """Seconds a sample of a step on a batch that is there already."""
    learn = Step(plan, RunState.start(plan))
    for _ in range(WARM):
        learn(batch)
    seconds = [_seconds(lambda: learn(batch), plan.device) for _ in range(STEPS)]
    return sorted(seconds)[STEPS // 2] / plan.config.batch_size


def _seconds(act: Callable[[], object], device: torch.device) -> float:
    """Of the clock, with what the device still has to do."""
    _finish(device)
    begun = time.perf_counter()
    act()
    _finish(device)
    return time.perf_counter() - begun


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
