"""One whole pretraining run, readable from top to bottom.

plan -> views -> backbone -> projector -> objective -> step, until the steps are done or a signal
asks to stop. A run is a pure function of its settings and its data: it can be killed at any moment
and resumed without a trace.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, closing
from pathlib import Path

from rich.console import Console

from domainjepa.config import PretrainConfig
from domainjepa.distributed import is_main, process_group, world_size
from domainjepa.encoder.places import FILE_NAME
from domainjepa.errors import ConfigError
from domainjepa.pretraining.batches import batches, next_batch
from domainjepa.pretraining.budget import as_begun, fit
from domainjepa.pretraining.checkpoint import load_checkpoint
from domainjepa.pretraining.machine import sharded, threads_of
from domainjepa.pretraining.memory import explain_memory
from domainjepa.pretraining.monitor import afterthoughts, metrics_line, note_unreadable, nuisances
from domainjepa.pretraining.notes import looks_for_shortcuts
from domainjepa.pretraining.plan import Plan, make_plan
from domainjepa.pretraining.progress import (
    Clock,
    Display,
    MetricsFile,
    show_notes,
    show_plan,
    show_warnings,
)
from domainjepa.pretraining.run_folder import RunFolder
from domainjepa.pretraining.same_data import (
    refuse_changed_data,
    refuse_others_elsewhere,
    same_as_before,
)
from domainjepa.pretraining.state import RunState
from domainjepa.pretraining.step import BadSteps, Step
from domainjepa.pretraining.tracked import tracked
from domainjepa.signals import StopSignal
from domainjepa.tracking.tracking import Tracking, make_trackers
from domainjepa.views.shortcuts import warnings_of
from domainjepa.waiting import stage


def pretrain(
    config: PretrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    begun: float | None = None,
) -> Path:
    """Pretrain a backbone and write the run folder.

    Args:
        config: the settings; `config.data.path` names the data.
        out: the run folder; must be new unless `resume`.
        resume: go on from the folder's newest checkpoint.
        console: where plan and progress are shown; `Console(quiet=True)` shows nothing.
        begun: when the command began, on `time.monotonic`; now by default. `budget` and `max_hours`
            count from then.

    Returns:
        The path of `encoder.safetensors`.

    Raises:
        UserError: data, settings or folder that cannot be used, or a loss that stays NaN.
        Stopped: SIGTERM, SIGUSR1, Ctrl-C, or `max_hours` have passed; a checkpoint is saved.
    """
    begun = time.monotonic() if begun is None else begun
    end = math.inf if config.max_hours is None else begun + 3600 * config.max_hours
    folder = RunFolder(Path(out))
    with process_group(config.device), folder.held(resume=resume), ExitStack() as stack:
        if config.devices > 1 and world_size() == 1:
            raise ConfigError(
                f"devices = {config.devices}, and this is one process. Start `domainjepa pretrain "
                f"--devices {config.devices}`, or this script by torchrun --nproc-per-node "
                f"{config.devices}."
            )
        console = console if console and is_main() else Console(quiet=not is_main())
        trackers = make_trackers(config.log.track) if is_main() else {}
        stage(console, "opening and measuring the data")
        kept = folder.initial if resume and folder.initial.is_file() else None
        fitted = fit(as_begun(config, folder.before()) if resume else config, begun)
        plan = make_plan(fitted.config, kept=kept)
        plan.notes.extend(fitted.notes)
        refuse_others_elsewhere(plan)
        if resume:
            folder.check_same(plan.config)
        warnings = [*plan.warnings, *folder.warnings]
        show_plan(console, f"pretrain into {folder.path.name}", plan.notes, warnings)
        try:
            stack.enter_context(threads_of(plan.config))
            state = RunState.start(plan)
            goes_on = resume and folder.to_go_on_from()
            if goes_on:
                packed = load_checkpoint(folder.checkpoints)
                show_warnings(console, same_as_before(packed, plan))
                state.load(packed)
            elif config.init.extend:
                state.go_on_from(load_checkpoint(Path(config.init.extend) / "checkpoints"))
            folder.open(plan.config, state.step)
            if not goes_on:
                folder.save_beginning(plan, state)
            if not goes_on and is_main() and looks_for_shortcuts(plan.config, plan.source):
                stage(console, "looking for shortcuts in the views")
                show_warnings(console, warnings_of(nuisances(plan)))
            if resume:
                console.print(f"going on after step {state.step} of {plan.steps}", highlight=False)
            told = tracked(plan, folder, state.step)
            with Tracking(trackers, told, lambda line: show_warnings(console, [line])) as tracking:
                run(plan, state, folder, console, tracking, end)
            folder.save_encoder(plan, state)
            if is_main() or sharded(plan.config):  # one rank alone cannot use divided weights
                notes = afterthoughts(plan, state)
            if is_main():
                show_notes(console, notes)
                folder.write_report(plan, [*plan.notes, *notes])
        except (MemoryError, RuntimeError) as error:
            explain_memory(error, plan)
            raise
        return folder.path / FILE_NAME


def run(
    plan: Plan,
    state: RunState,
    folder: RunFolder,
    console: Console,
    tracking: Tracking,
    end: float = math.inf,
) -> None:
    """The training loop, from the step of `state` to the last, or to `end` on `time.monotonic`."""
    learn = Step(plan, state)
    metrics_file = MetricsFile(folder.metrics, resume_at=state.step) if is_main() else None
    clock = Clock()

    with (
        StopSignal(end) as stop,
        Display(console, plan.steps, state.step) as display,
        closing(batches(plan, state.step)) as feed,  # its processes end before this one does
    ):
        bad_steps = BadSteps(plan, display)
        while state.step < plan.steps:
            with clock.of("wait"):
                batch = next_batch(feed, stop, plan.device)
            if batch is None:
                refuse_changed_data(plan, state.step)
                folder.save(plan, state, ends=True)
                raise stop.stopped(state.step, plan.steps)
            learned = learn(batch)
            bad_steps.watch(learned, state.step, batch)
            note_unreadable(plan, state, batch, display)
            state.step += 1
            clock.steps += 1
            done = state.step == plan.steps
            if done or state.step % plan.log_every == 0:
                metrics = metrics_line(plan, state, learned.outputs, clock)
                display.log(metrics)
                if metrics_file:
                    metrics_file.write(metrics)
                tracking.log(metrics)
            display.advance(state.step)
            if plan.keeps(state.step):
                folder.keep_encoder(plan, state)
            stop.look_at_the_clock()
            if done or state.step % plan.save_every == 0:
                refuse_changed_data(plan, state.step)
                folder.save(plan, state)
