"""One whole pretraining run, readable from top to bottom.

plan -> views -> backbone -> projector -> objective -> step, until the steps are done or a signal
asks to stop. A run is a pure function of its settings and its data: it can be killed at any moment
and resumed without a trace.
"""

from __future__ import annotations

import copy
import math
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from domainjepa import config as settings
from domainjepa.checkpoint import load_checkpoint, save_checkpoint
from domainjepa.config import PretrainConfig
from domainjepa.data.sampling import KeyedBatches, key
from domainjepa.distributed import (
    any_over_ranks,
    gather_over_ranks,
    is_main,
    process_group,
    rank,
    sum_over_ranks,
    world_size,
)
from domainjepa.encoder import FILE_NAME, EncoderCard, package_versions, save_encoder
from domainjepa.errors import DataError, UserError
from domainjepa.network import Network, Outputs, Standardise
from domainjepa.objective.diagnostics import distance_from_gaussian, effective_rank
from domainjepa.plan import Plan, learning_rate, make_plan
from domainjepa.progress import Clock, Display, Meter, MetricsFile, show_plan
from domainjepa.run_folder import RunFolder
from domainjepa.views import ViewDataset, ViewMaker, whole

MAX_BAD_STEPS = 3
PROBE_LR = 1e-2
PROBE_HOLDOUT = 10
"""Every tenth row never trains the online probe: its accuracy is measured on those."""


class Stopped(Exception):
    """A signal asked for an end; everything is saved."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = 128 + (
            signal.SIGINT if signal_number == signal.SIGINT else signal.SIGTERM
        )


def pretrain(
    config: PretrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    quiet: bool = False,
) -> Path:
    """Pretrain a backbone and write the run folder.

    Args:
        config: the settings; `config.data.path` names the data.
        out: the run folder; must be new unless `resume`.
        resume: go on from the folder's newest checkpoint.
        console: where plan and progress are shown.
        quiet: show no progress.

    Returns:
        The path of `encoder.safetensors`.

    Raises:
        UserError: data, settings or folder that cannot be used, or a loss that stays NaN.
        Stopped: SIGTERM, SIGUSR1 or Ctrl-C; a checkpoint is saved.
    """
    with process_group():
        console = console if console and is_main() else Console(quiet=quiet or not is_main())
        plan = make_plan(config)
        folder = RunFolder(Path(out))
        folder.open(plan.config, resume=resume)
        show_plan(console, f"pretrain into {folder.path.name}", plan.notes, plan.warnings)
        state = RunState.start(plan)
        if resume:
            state.load(load_checkpoint(folder.checkpoints), plan)
            console.print(f"going on after step {state.step} of {plan.steps}", highlight=False)
        run(plan, state, folder, console)
        if is_main():
            folder.write_report(plan.notes)
        return folder.path / FILE_NAME


def run(plan: Plan, state: RunState, folder: RunFolder, console: Console) -> None:
    """The training loop, from the step of `state` to the last."""
    config = plan.config
    network = parallel(state.network, plan)
    standardise = Standardise(plan.mean, plan.std).to(plan.device)
    autocast = torch.autocast(
        plan.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
    )
    metrics_file = MetricsFile(folder.metrics, resume_at=state.step) if is_main() else None
    clock = Clock()
    bad_steps = 0

    def save() -> None:
        if is_main():
            save_checkpoint(
                folder.checkpoints, state.pack(plan), state.step, config.checkpoint.keep
            )
            save_encoder(folder.path / FILE_NAME, plan.backbone, encoder_card(plan, state.step))

    with StopSignal() as stop, Display(console, plan.steps, state.step) as display:
        batches = iter(batch_loader(plan, state.step))
        while state.step < plan.steps:
            with clock.of("wait"):
                batch = next_batch(batches)
            # Whatever is random inside the network (drop path) is keyed by the step, too.
            torch.manual_seed(key(config.seed, "network", state.step, rank()))
            groups = [
                standardise(batch[name].to(plan.device, non_blocking=True))
                for name in ("global", "local")
                if name in batch
            ]
            with autocast:
                outputs = network(groups)
                center = state.center(groups)
            terms = plan.objective(
                outputs.embeddings,
                config.views.num_global,
                state.step,
                center=center,
                predicted=outputs.predicted,
            )
            probe_loss, correct, counted = probe_step(outputs.logits, batch, plan)
            if not torch.isfinite(terms.loss):
                bad_steps += 1
                explain_bad_step(bad_steps, state.step, batch, display)
            else:
                bad_steps = 0
                update(state, terms.loss + probe_loss, plan)
            state.step += 1
            state.meter.add(
                steps=1,
                loss=terms.loss.item(),
                prediction=terms.prediction.item(),
                sigreg=terms.sigreg.item(),
                correct=correct,
                counted=counted,
            )
            stopping = any_over_ranks(stop.number is not None)
            if state.step % config.log.every_steps == 0 or state.step == plan.steps:  # type: ignore[operator]
                with clock.of("log"):
                    metrics = measure(plan, state, outputs, clock)
                    display.log(metrics)
                    if metrics_file:
                        metrics_file.write(metrics)
            display.advance(state.step)
            if (
                stopping
                or state.step % config.checkpoint.every_steps == 0  # type: ignore[operator]
                or state.step == plan.steps
            ):
                with clock.of("save"):
                    save()
            if stopping and state.step < plan.steps:
                raise Stopped(
                    stop.number or signal.SIGTERM,
                    f"stopped after step {state.step} of {plan.steps}; everything is saved. "
                    "Go on with the same command and --resume.",
                )


@dataclass
class RunState:
    """All that a run changes: what a checkpoint holds.

    Attributes:
        network: backbone, projector, probe.
        optimizer: of all of them.
        averaged: the averaged weights that yield the centre, None unless asked for.
        meter: sums since the last log line.
        step: steps done.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    averaged: Network | None
    decay: float
    meter: Meter = field(default_factory=Meter)
    step: int = 0

    @classmethod
    def start(cls, plan: Plan) -> RunState:
        """The state before the first step; all weights are keyed by the seed."""
        config = plan.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(config.seed, "projector"))
            network = Network(
                plan.backbone,
                config.projector,
                predictor=config.objective.predictor,
                classes=plan.classes,
            )
        network.to(plan.device, memory_format=torch.channels_last)
        decay = config.objective.average_weights
        averaged = copy.deepcopy(network).requires_grad_(False) if decay else None
        return cls(network, build_optimizer(network, config, plan.device), averaged, decay)

    def center(self, groups: list[Tensor]) -> Tensor | None:
        """The centre from averaged weights, (N, K), or None where the views' own mean serves."""
        if self.averaged is None:
            return None
        with torch.no_grad():
            return self.averaged(groups[:1]).embeddings.float().mean(0)

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights towards the newest ones."""
        if self.averaged is None:
            return
        pairs = zip(self.averaged.parameters(), self.network.parameters(), strict=True)
        for old, new in pairs:
            old.lerp_(new, 1 - self.decay)

    def pack(self, plan: Plan) -> dict[str, Any]:
        """Plain tensors and numbers for a checkpoint."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "meter": dict(self.meter.sums),
            "fingerprint": plan.source.fingerprint(),
        }

    def load(self, packed: dict[str, Any], plan: Plan) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: it was made on other data.
        """
        if packed["fingerprint"] != plan.source.fingerprint():
            raise UserError(
                "the data is not what this run began with: its fingerprint differs. Give the same "
                "--data, or start a new run with another --out."
            )
        self.step = packed["step"]
        self.network.load_state_dict(packed["network"])
        self.optimizer.load_state_dict(packed["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(packed["averaged"])
        self.meter.sums = dict(packed["meter"])


def build_optimizer(
    network: Network, config: PretrainConfig, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW; biases and norms (one-dimensional weights) are not decayed, the probe has its own lr."""
    probe = set() if network.probe is None else set(network.probe.parameters())
    encoder = [weight for weight in network.parameters() if weight not in probe]
    decay = config.optimizer.weight_decay
    groups = [
        {"params": [w for w in encoder if w.ndim > 1], "weight_decay": decay},
        {"params": [w for w in encoder if w.ndim <= 1], "weight_decay": 0.0},
    ]
    if probe:
        groups.append({"params": list(probe), "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=config.optimizer.lr, fused=True)
    for group, scale in zip(optimizer.param_groups, [1.0, 1.0, PROBE_LR], strict=False):
        group["peak"] = config.optimizer.lr if scale == 1.0 else scale
    return optimizer


def update(state: RunState, loss: Tensor, plan: Plan) -> None:
    """One step of the optimiser at the learning rate of this step."""
    chosen = plan.config.optimizer
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(
            state.step, plan.steps, group["peak"], chosen.warmup, chosen.final_lr
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    state.average()


def parallel(network: Network, plan: Plan) -> nn.Module:
    """The network as it runs: compiled if asked for, its gradients averaged over ranks if several."""
    if plan.config.compile:
        network.backbone.compile()
    if world_size() == 1:
        return network
    if plan.device.type == "cuda":
        # One batch statistic over all ranks, as on one device.
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return DistributedDataParallel(network, device_ids=[plan.device.index])
    return DistributedDataParallel(network)


def batch_loader(plan: Plan, start: int) -> DataLoader[dict[str, Tensor]]:
    """Batches of views from step `start` on, made by worker processes ahead of time."""
    config = plan.config
    maker = ViewMaker(plan.domain, plan.intensity, config.views, config.seed)
    workers = config.data.workers or 0
    context = None
    if workers:
        # Forked copies of a process with threads and open files are unsafe; these are clean.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["domainjepa.views"])
    return DataLoader(
        ViewDataset(plan.source, maker),
        batch_sampler=KeyedBatches(
            plan.rows,
            batch_size=config.batch_size,
            seed=config.seed,
            steps=range(start, plan.steps),
            rank=rank(),
            world_size=world_size(),
        ),
        collate_fn=whole,
        num_workers=workers,
        multiprocessing_context=context,
        worker_init_fn=leave_signals_to_the_parent,
        pin_memory=plan.device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )


def leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C and Slurm signal every process; only the run itself decides what to do about it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def next_batch(batches: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The next batch of views.

    Raises:
        DataError: a sample cannot be read.
        UserError: a worker process died.
    """
    try:
        return next(batches)
    except DataError as error:
        # A worker's traceback comes along in the text; the last line is the message.
        raise DataError(str(error).strip().splitlines()[-1].partition("DataError: ")[2] or str(error)) from None
    except RuntimeError as error:
        if "worker" not in str(error):
            raise
        raise UserError(
            f"a worker process that makes views died ({str(error).splitlines()[0]}). Often it ran "
            "out of memory: try --set data.workers=1. Go on with --resume."
        ) from error


def probe_step(
    logits: Tensor | None, batch: dict[str, Tensor], plan: Plan
) -> tuple[Tensor | float, float, float]:
    """The online probe: its loss, and its hits among the held-out samples it never learns from."""
    if logits is None:
        return 0.0, 0.0, 0.0
    labels = batch["labels"].to(plan.device)
    held_out = (batch["rows"] % PROBE_HOLDOUT == 0).to(plan.device)
    views = len(logits)
    flat = logits.flatten(0, 1)
    targets = torch.where(held_out, -100, labels).repeat(views)
    loss = functional.cross_entropy(flat.float(), targets, ignore_index=-100, reduction="sum")
    loss = loss / (~held_out).sum().clamp(min=1) / views
    hits = (logits.argmax(-1) == labels)[:, held_out].sum()
    return loss, hits.item(), views * held_out.sum().item()


def explain_bad_step(
    bad_steps: int, step: int, batch: dict[str, Tensor], display: Display
) -> None:
    """A loss that is no number: nothing was learned from this batch.

    Raises:
        UserError: too many in a row.
    """
    rows = batch["rows"].tolist()
    shown = ", ".join(map(str, rows[:8])) + (" …" if len(rows) > 8 else "")
    display.say(f"step {step}: the loss is NaN or infinite; no step taken. Rows: {shown}")
    if bad_steps >= MAX_BAD_STEPS:
        raise UserError(
            f"the loss was NaN or infinite {bad_steps} times in a row (last at step {step}, rows "
            f"{shown}). The last checkpoint is intact. Look at those rows with `domainjepa inspect`, "
            "or lower --set optimizer.lr=…, then --resume."
        )


@torch.no_grad()
def measure(plan: Plan, state: RunState, outputs: Outputs, clock: Clock) -> dict[str, Any]:
    """One line of `metrics.jsonl`; every rank takes part in its reductions."""
    sums = state.meter.take()
    steps = sums.pop("steps")
    hits = torch.tensor([sums.pop("correct"), sums.pop("counted")], device=plan.device)
    correct, counted = sum_over_ranks(hits).tolist()
    views = plan.config.views.num_global
    features = gather_over_ranks(outputs.features[:views].float().flatten(0, 1))
    embeddings = outputs.embeddings[:views].float()
    finite = bool(torch.isfinite(features).all())
    seconds, shares = clock.take()
    return {
        "step": state.step,
        "epoch": state.step / plan.steps_an_epoch,
        **{name: value / steps for name, value in sums.items()},
        "gaussian_distance": float(distance_from_gaussian(embeddings, state.step)),
        "effective_rank": float(effective_rank(features)) if finite else math.nan,
        "probe_accuracy": correct / counted if counted else None,
        "lr": state.optimizer.param_groups[0]["lr"],
        "samples_per_s": steps * plan.config.batch_size / seconds,
        "wait": shares.get("wait", 0.0) / seconds,
    }


def encoder_card(plan: Plan, step: int) -> EncoderCard:
    """What the artefact says of itself: no path, no file name."""
    config = plan.config
    card = plan.source.card or {}
    return EncoderCard(
        backbone=config.backbone,
        channels=plan.source.shape[2],
        size=cast(int, config.views.global_size),
        domain=cast(str, config.domain),
        intensity=plan.intensity.model_dump(),
        mean=plan.mean,
        std=plan.std,
        data={
            "card": card.get("name"),
            "samples": len(plan.rows),
            "fingerprint": plan.source.fingerprint(),
        },
        step=step,
        config=settings.without_paths(config),
        versions=package_versions(),
    )


class StopSignal:
    """Within its block SIGTERM, SIGUSR1 and Ctrl-C only raise a flag, read at the end of a step."""

    _NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self) -> None:
        self.number: int | None = None

    def __enter__(self) -> StopSignal:
        self._before: dict[int, Any] = {}
        try:
            for number in self._NUMBERS:
                self._before[number] = signal.signal(number, self._raise_flag)
        except ValueError:
            pass  # not the main thread: somebody else owns the signals
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _raise_flag(self, number: int, frame: object) -> None:
        self.number = number
