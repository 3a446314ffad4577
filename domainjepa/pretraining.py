"""One whole pretraining run, readable from top to bottom.

plan -> views -> backbone -> projector -> objective -> step, until the steps are done or a signal
asks to stop. A run is a pure function of its settings and its data: it can be killed at any moment
and resumed without a trace.
"""

from __future__ import annotations

import signal
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

from domainjepa.artefact import FILE_NAME
from domainjepa.batches import Batch, batches, next_batch, suspects
from domainjepa.checkpoint import load_checkpoint
from domainjepa.config import PretrainConfig
from domainjepa.data.sampling import key
from domainjepa.distributed import gather_over_ranks, is_main, process_group, rank, world_size
from domainjepa.errors import ConfigError, UserError
from domainjepa.monitor import metrics_line, nuisances, probe_loss
from domainjepa.network import Standardise
from domainjepa.plan import Plan, make_plan
from domainjepa.progress import Clock, Display, MetricsFile, show_plan
from domainjepa.run_folder import INTACT, RunFolder
from domainjepa.shortcuts import warnings_of
from domainjepa.signals import Stopped, StopSignal
from domainjepa.state import RunState, parallel

MAX_BAD_STEPS = 3


def pretrain(
    config: PretrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> Path:
    """Pretrain a backbone and write the run folder.

    Args:
        config: the settings; `config.data.path` names the data.
        out: the run folder; must be new unless `resume`.
        resume: go on from the folder's newest checkpoint.
        console: where plan and progress are shown; `Console(quiet=True)` shows nothing.

    Returns:
        The path of `encoder.safetensors`.

    Raises:
        UserError: data, settings or folder that cannot be used, or a loss that stays NaN.
        Stopped: SIGTERM, SIGUSR1 or Ctrl-C; a checkpoint is saved.
    """
    with process_group(config.device):
        if config.devices > 1 and world_size() == 1:
            raise ConfigError(
                f"devices = {config.devices}, and this is one process. Start `domainjepa pretrain "
                f"--devices {config.devices}`, or this script by torchrun --nproc-per-node "
                f"{config.devices}."
            )
        console = console if console and is_main() else Console(quiet=not is_main())
        plan = make_plan(config)
        folder = RunFolder(Path(out))
        folder.check(plan.config, resume=resume)
        show_plan(console, f"pretrain into {folder.path.name}", plan.notes, plan.warnings)
        try:
            state = RunState.start(plan)
            begun = resume and folder.has_checkpoint()
            if begun:
                state.load(load_checkpoint(folder.checkpoints), plan)
            folder.open(plan.config)
            if not begun and is_main() and plan.config.log.shortcuts:
                for warning in warnings_of(nuisances(plan)):
                    console.print(f"[yellow]warning[/yellow] {escape(warning)}", highlight=False)
            if resume:
                console.print(f"going on after step {state.step} of {plan.steps}", highlight=False)
            run(plan, state, folder, console)
            if is_main():
                folder.save_encoder(plan, state)
                folder.write_report([*plan.notes, *afterthoughts(plan, state, console)])
        except (MemoryError, RuntimeError) as error:
            explain_memory(error, plan)
            raise
        return folder.path / FILE_NAME


def run(plan: Plan, state: RunState, folder: RunFolder, console: Console) -> None:
    """The training loop, from the step of `state` to the last."""
    config = plan.config
    network = parallel(state.network, plan)
    standardise = Standardise(plan.mean, plan.std, plan.backbone.dimensions).to(plan.device)
    autocast = torch.autocast(
        plan.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
    )
    log_every, save_every = plan.log_every, plan.save_every
    metrics_file = MetricsFile(folder.metrics, resume_at=state.step) if is_main() else None
    clock = Clock()
    bad_steps = 0

    with StopSignal() as stop, Display(console, plan.steps, state.step) as display:
        feed = batches(plan, state.step)
        while state.step < plan.steps:
            with clock.of("wait"):
                batch = next_batch(feed, stop, plan.device)
            if batch is None:
                folder.save(plan, state)
                raise Stopped(
                    stop.number or signal.SIGTERM,
                    f"stopped after step {state.step} of {plan.steps}; everything is saved. "
                    "Go on with the same command and --resume.",
                )
            # Whatever is random inside the network (drop path) is keyed by the step, too.
            torch.manual_seed(key(config.seed, "network", state.step, rank()))
            groups = [
                standardise(batch[name].to(plan.device, non_blocking=True))
                for name in ("global", "local")
                if name in batch
            ]
            buffers = [buffer.clone() for buffer in state.buffers()]
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
            probe = probe_loss(outputs.logits, batch, plan, state)
            if torch.isfinite(terms.loss):
                bad_steps = 0
                state.update(terms.loss + probe, plan)
                state.meter.add(steps=1, **{n: v.item() for n, v in terms._asdict().items()})
            else:
                bad_steps += 1
                for buffer, before in zip(state.buffers(), buffers, strict=True):
                    buffer.copy_(before)
                explain_bad_step(bad_steps, state.step, batch, plan, display)
            note_unreadable(plan, state, batch, display)
            state.step += 1
            clock.steps += 1
            done = state.step == plan.steps
            if done or state.step % log_every == 0:
                metrics = metrics_line(plan, state, outputs, clock)
                display.log(metrics)
                if metrics_file:
                    metrics_file.write(metrics)
            display.advance(state.step)
            if done or state.step % save_every == 0:
                folder.save(plan, state)


def afterthoughts(plan: Plan, state: RunState, console: Console) -> list[tuple[str, str]]:
    """What only the trained encoder and the whole run can tell, for terminal and report."""
    notes = []
    if state.unreadable.rows:
        told = f"{len(state.unreadable.rows):,} samples, others stood in for them"
        notes.append(("unreadable", f"{told}: {state.unreadable.told()}"))
    if plan.config.log.shortcuts:
        found = nuisances(plan, state.network)
        learned = ", ".join(f"{one.name} {one.predicted:.2f}" for one in found)
        if learned:
            notes.append(("shortcuts", f"R2 of nuisances from the features: {learned}"))
    for name, text in notes:
        console.print(f"[bold cyan]{name}[/bold cyan]  {escape(text)}", highlight=False)
    return notes


def note_unreadable(plan: Plan, state: RunState, batch: Batch, display: Display) -> None:
    """Counts the samples that others stood in for, on all ranks.

    Raises:
        DataError: more than `data.skip_unreadable` allows.
    """
    if not plan.config.data.skip_unreadable:
        return
    lost = batch.get("unreadable", torch.zeros(0, dtype=torch.int64)).to(plan.device)
    new = state.unreadable.add(gather_over_ranks(lost).tolist())
    if new:
        rows = ", ".join(map(str, new))
        display.say(f"cannot be read, another sample stands in: row {rows}")


def explain_memory(error: Exception, plan: Plan) -> None:
    """Out of memory: advice, and never a smaller batch behind the user's back.

    Raises:
        UserError: the error was one of memory; else nothing is raised.
    """
    words = str(error).lower()
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not (
        "memory" in words and "alloc" in words
    ):
        return
    config = plan.config
    views = config.views
    raise UserError(
        f"out of memory on {plan.device.type} with a batch of {config.batch_size}, "
        f"{views.num_global} global views of {views.global_size} px and {views.num_local} local of "
        f"{views.local_size} px. Fewer views (--set views.num_local=4) or smaller change "
        "least; a smaller --batch-size changes what SIGReg measures. More --devices share it."
    ) from error


def explain_bad_step(bad_steps: int, step: int, batch: Batch, plan: Plan, display: Display) -> None:
    """A loss that is no number: nothing was learned from this batch.

    Raises:
        UserError: too many in a row.
    """
    rows = suspects(batch, plan.device)
    shown = ", ".join(map(str, rows[:8])) + (" …" if len(rows) > 8 else "")
    display.say(f"step {step}: the loss is NaN or infinite; no step taken. Rows: {shown}")
    if bad_steps >= MAX_BAD_STEPS:
        raise UserError(
            f"the loss was NaN or infinite {bad_steps} times in a row (last at step {step}, rows "
            f"{shown}). {INTACT} Look at those rows with `domainjepa inspect`, and begin a new run "
            "with another --out and a lower --set optimizer.lr."
        )
