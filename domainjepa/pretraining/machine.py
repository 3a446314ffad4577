"""The machine that a run is on: device, precision, cores, and what it cannot do well."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from domainjepa import devices
from domainjepa.backbones import Backbone
from domainjepa.config import PretrainConfig, ViewsConfig
from domainjepa.distributed import local_rank, local_world_size, world_size
from domainjepa.errors import ConfigError

WITHOUT_BATCH_NORM = ("convnext_tiny", "vit_small_patch16_224")


def choose_device(config: PretrainConfig) -> tuple[torch.device, str]:
    """The device of this rank, and the precision: bfloat16 on accelerators that compute in it.

    Raises:
        UserError: a device was asked for and there is none, or less than one for each rank.
    """
    device = devices.of_rank(config.device, local_rank())
    precision = config.precision
    if precision == "auto":
        fast = device.type != "cpu" and devices.computes_bfloat16(device)
        precision = "bfloat16" if fast else "float32"
    return device, precision


def view_workers(config: PretrainConfig) -> int:
    """Processes that make views: the cores of this rank but one, 1 to 8, unless set."""
    if config.data.workers is not None:
        return config.data.workers
    return max(1, min(8, available_cores() // local_world_size() - 1))


def available_cores() -> int:
    """Cores that this process may use, which under Slurm or in a container are fewer than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads(NamedTuple):
    """Threads that compute on the processor.

    Attributes:
        number: of this rank; None on another device.
        busy: cores that other work held when that was found out; 0 where nobody asked.
    """

    number: int | None
    busy: int = 0


def busy_cores(seconds: float = 0.2) -> int:
    """Cores of the whole machine that other work holds while this process sleeps for a moment; 0
    where the system does not tell, which is elsewhere than on Linux."""
    try:
        before = _ticks()
        time.sleep(seconds)
        idle, every = (now - then for now, then in zip(_ticks(), before, strict=True))
    except (OSError, ValueError):
        return 0
    return round((os.cpu_count() or 1) * (1 - idle / max(every, 1)))


def _ticks() -> tuple[int, int]:
    """Of all cores since the machine began: idle ones, and all (proc_stat(5))."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def cpu_threads(config: PretrainConfig, device: torch.device) -> Threads:
    """Threads that compute on the CPU, for this rank.

    More threads than free cores wait for one another at every barrier: a step of SIGReg took up to
    30 times as long with one of two cores busy. How many there are decides how sums are rounded, so
    the number is a setting of the run, found once.
    """
    if config.threads or device.type != "cpu":
        return Threads(config.threads)
    if "OMP_NUM_THREADS" in os.environ:
        return Threads(torch.get_num_threads())
    cores, busy = available_cores(), busy_cores()
    free = min(cores, (os.cpu_count() or cores) - busy)
    return Threads(max(1, free // local_world_size()), busy)


@contextmanager
def threads_of(config: PretrainConfig) -> Iterator[None]:
    """Within the block, torch computes with the threads of a run."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def refuse_unwritten_gradients(backbone: Backbone, views: ViewsConfig, channels: int) -> None:
    """bfloat16 on the CPU must not meet a convolution whose gradient would be garbage.

    Raises:
        ConfigError: a view is so small that it would.
    """
    sizes = {views.global_size, views.local_size if views.num_local else views.global_size}
    for size in sizes:
        if size and backbone.leaves_gradients_unwritten(channels, size):
            raise ConfigError(
                f"views of {size} px shrink to so few positions inside {backbone.name} that "
                "PyTorch's bfloat16 gradients on the CPU are undefined. Set --set "
                "precision=float32, larger views, or views.num_local=0."
            )


def rank_warnings(config: PretrainConfig, device: torch.device) -> list[str]:
    """What several ranks do otherwise than one."""
    if world_size() == 1:
        return ["shard=full divides nothing: there is one rank"] if config.shard == "full" else []
    if device.type != "cpu":
        return []
    return [
        f"{world_size()} ranks on the CPU: BatchNorm sees each rank's share of the batch (on GPUs "
        "its statistics are of the whole batch), so weights differ a little from those of one rank."
    ]


def sharded(config: PretrainConfig) -> bool:
    """Whether weights are divided over the ranks; one rank has nothing to divide."""
    return config.shard == "full" and world_size() > 1


def refuse_with_sharding(config: PretrainConfig) -> None:
    """What was never made to work on divided weights.

    Raises:
        ConfigError: it is asked for.
    """
    other = "compile" if config.compile else "objective.average_weights"
    if config.shard == "full" and (config.compile or config.objective.average_weights):
        raise ConfigError(f"shard = 'full' and {other} do not go together: leave one of them out.")


def micro_batch_warnings(config: PretrainConfig, backbone: Backbone) -> list[str]:
    """What a batch in parts does otherwise than a whole one."""
    share = -(-config.batch_size // world_size())
    if config.micro_batch is None:
        return []
    if config.micro_batch >= share:
        return [f"micro_batch={config.micro_batch} divides nothing: a device has {share} samples"]
    if not backbone.batch_statistics:
        return []
    return [
        f"micro_batch={config.micro_batch}: BatchNorm in {backbone.name} takes its statistics of "
        f"each micro-batch, not of {share} samples, so this is not the training of the undivided "
        f"batch. Backbones without BatchNorm, such as {' and '.join(WITHOUT_BATCH_NORM)}, train "
        "the same."
    ]


def machine_note(device: torch.device, precision: str, workers: int, threads: Threads) -> str:
    """A phrase for the plan."""
    where = devices.called(device)
    ranks = f"{world_size()} x " if world_size() > 1 else ""
    cores = ""
    if threads.number:
        busy = f", {threads.busy} of {os.cpu_count()} cores are busy" if threads.busy else ""
        cores = f" ({threads.number} thread{'s' if threads.number != 1 else ''}{busy})"
    return f"{ranks}{where}{cores}, {precision}, {workers} worker{'s' if workers != 1 else ''}"
