"""The folder of a run: `config.toml`, `metrics.jsonl`, `checkpoints/`, the encoder, the report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from domainjepa import settings
from domainjepa.config import FREE_ON_RESUME, PretrainConfig
from domainjepa.distributed import any_over_ranks, by_the_main_rank
from domainjepa.encoder.artefact import EncoderCard, package_versions, save_state
from domainjepa.encoder.places import FILE_NAME, INITIAL, kept_at
from domainjepa.errors import ConfigError, UserError
from domainjepa.locking import Busy, LockedFile
from domainjepa.pretraining.checkpoint import MANIFEST, drop_others, save_checkpoint
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.state import RunState
from domainjepa.writing import UNFINISHED, flush_to_disk, write_atomically

REPORT_EVERY = 60.0
"""Seconds from one report to the next, while a run goes on."""
INTACT = "What was saved before is intact."


class RunFolder:
    """Paths of one run, and the rule that a folder holds one run only and has one writer.

    Whatever moment a run is killed at, its folder can be started or resumed: there is a run in it
    from the moment on that `config.toml` is, which is written before anything else.

    Attributes:
        warnings: what the user should know of the place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.config = path / "config.toml"
        self.initial = path / INITIAL
        self.warnings: list[str] = []
        self._reported = -math.inf

    @contextmanager
    def held(self, *, resume: bool) -> Iterator[None]:
        """Within the block no other process writes into the folder.

        It is made where it is missing, and gone again where nothing was written into it.

        Raises:
            UserError: another process writes into it, it holds another run, there is nothing to
                resume, or it cannot be written.
        """
        with ExitStack() as stack:
            by_the_main_rank(lambda: self._hold(stack, resume=resume))
            yield

    def _hold(self, stack: ExitStack, *, resume: bool) -> None:
        made = [one for one in (self.path, *self.path.parents) if not one.exists()]
        stack.callback(self._leave, self._locked(), made)
        self._look(resume=resume)

    @staticmethod
    def _leave(lock: LockedFile, made: list[Path]) -> None:
        lock.remove()
        with suppress(OSError):  # the first that is not empty
            for folder in made:
                folder.rmdir()

    def _locked(self) -> LockedFile:
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                lock = LockedFile(self.path / ".lock")
            except FileNotFoundError:  # a run that was refused has just taken its folder away
                continue
            except Busy:
                raise UserError(
                    f"another process is writing into {self.path.name!r}: let it finish, or choose "
                    "another --out."
                ) from None
            except OSError as error:
                raise self._unwritable(error) from error
            if not lock.certain:
                self.warnings.append(
                    f"the file system of {self.path.name!r} has no locks: nothing keeps a second "
                    "run from writing into it"
                )
            return lock

    def _look(self, *, resume: bool) -> None:
        begun = self.config.is_file()
        holds = f"{self.path.name!r} holds"
        if not begun and (self.has_checkpoint() or (self.path / FILE_NAME).exists()):
            raise UserError(f"{holds} a run without its config.toml: choose another --out.")
        if resume and not begun:
            raise UserError(f"nothing to resume: {holds} no run. Start without --resume.")
        if begun and not resume:
            raise UserError(
                f"{holds} a run already. Go on with it by --resume, or choose another --out."
            )

    def open(self, config: PretrainConfig, step: int = 0) -> None:
        """Write the settings, once it is certain that the run can begin, or go on after a step.

        What a run that was killed has left half done is removed.

        Raises:
            UserError: the folder cannot be written.
        """
        by_the_main_rank(lambda: self._open(config, step))

    def _open(self, config: PretrainConfig, step: int) -> None:
        text = settings.to_toml(config).encode()
        try:
            for unfinished in [*self.path.glob(UNFINISHED), *self.checkpoints.glob(UNFINISHED)]:
                unfinished.unlink()
            write_atomically(self.config, lambda file: file.write(text))
            self.checkpoints.mkdir(exist_ok=True)
            drop_others(self.checkpoints, step, config.checkpoint.keep)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"the run folder {self.path.name!r} cannot be written: {error.strerror}. Choose "
            "another --out."
        )

    def check_same(self, config: PretrainConfig) -> None:
        """Refuse to go on with other settings than the run began with; nothing is written.

        Raises:
            ConfigError: they differ where it matters.
        """
        by_the_main_rank(lambda: self._check_same(config))

    def _check_same(self, config: PretrainConfig) -> None:
        before = settings.flat(self.before())
        changed = [
            f"{name}: {before[name]!r} -> {value!r}"
            for name, value in settings.flat(config).items()
            if before.get(name) != value and not name.startswith(FREE_ON_RESUME)
        ]
        if changed:
            raise ConfigError(
                f"--resume with other settings than the run began with: {'; '.join(changed)}. "
                "Leave them out (a resumed run takes its own settings), or start a new run with "
                "another --out."
            )

    def to_go_on_from(self) -> bool:
        """Whether there is a checkpoint, asked by all ranks: each reads it.

        Raises:
            UserError: some see it and others do not.
        """
        found = self.has_checkpoint()
        if any_over_ranks(found) and any_over_ranks(not found):
            raise UserError(
                f"not all ranks see the checkpoint in {self.path.name!r}: put --out on a file "
                "system that all machines share."
            )
        return found

    def before(self) -> PretrainConfig:
        """The settings that the run began with."""
        return settings.resolve(settings.read_recipe(self.config))

    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from; a run killed before it begins anew."""
        return (self.checkpoints / MANIFEST).is_file()

    def save(self, plan: Plan, state: RunState, *, ends: bool = False) -> None:
        """The encoder and a checkpoint, as long as all that they hold are numbers. All ranks wait
        until they are on the disk: where one ends, a cluster may end the others.

        The report comes with the first checkpoint, is written again from time to time, and where
        the run `ends` here.

        Raises:
            UserError: they are not, or the files cannot be written.
        """
        _refuse_no_numbers(state)
        packed, weights = state.pack(plan), state.encoder()
        by_the_main_rank(lambda: self._save(plan, packed, weights, ends))

    def _save(
        self, plan: Plan, packed: dict[str, Any], weights: dict[str, Tensor], ends: bool
    ) -> None:
        flush_to_disk(self.metrics)  # a checkpoint is never ahead of the lines before it
        save_state(self.path / FILE_NAME, weights, encoder_card(plan, packed["step"]))
        keep = plan.config.checkpoint.keep
        save_checkpoint(self.checkpoints, packed, packed["step"], keep)
        if ends or time.monotonic() - self._reported > REPORT_EVERY:
            self.write_report(plan, plan.notes)

    def save_beginning(self, plan: Plan, state: RunState) -> None:
        """Weights that were given to a run, and before them the state that it took over from one
        that it extends: a resumed run that finds them needs nothing else."""
        if plan.beginning is not None:
            packed, weights = state.pack(plan), state.encoder()
            by_the_main_rank(lambda: self._save_beginning(plan, packed, weights))

    def _save_beginning(
        self, plan: Plan, packed: dict[str, Any], weights: dict[str, Tensor]
    ) -> None:
        if plan.config.init.extend:
            save_checkpoint(self.checkpoints, packed, 0, plan.config.checkpoint.keep)
        save_state(self.initial, weights, encoder_card(plan, 0))

    def keep_encoder(self, plan: Plan, state: RunState) -> None:
        """The artefact as of this step, to stay: RUN@STEP.

        Raises:
            UserError: weights that are no numbers, or the file cannot be written.
        """
        _refuse_no_numbers(state)
        weights = state.encoder()
        by_the_main_rank(lambda: self._keep_encoder(plan, weights, state.step))

    def _keep_encoder(self, plan: Plan, weights: dict[str, Tensor], step: int) -> None:
        path = kept_at(self.path, step)
        path.parent.mkdir(exist_ok=True)
        save_state(path, weights, encoder_card(plan, step))

    def save_encoder(self, plan: Plan, state: RunState) -> None:
        """The artefact, as of this step; every rank takes part."""
        weights, card = state.encoder(), encoder_card(plan, state.step)
        by_the_main_rank(lambda: save_state(self.path / FILE_NAME, weights, card))

    def write_report(self, plan: Plan, notes: list[tuple[str, str]]) -> None:
        """`report.html`: the plan, the curves and the last figures of the run, by the name of its
        folder and of a data set's card: a file may be named after a patient."""
        from domainjepa.pretraining.report import write_run_report

        title = f"{self.path.name}: {plan.data_name}"
        metrics = read_metrics(self.metrics)
        write_run_report(self.path / "report.html", title, plan.steps, notes, metrics)
        self._reported = time.monotonic()


def _refuse_no_numbers(state: RunState) -> None:
    if any_over_ranks(not state.finite()):
        raise UserError(
            f"weights or gradients were NaN or infinite by step {state.step}: they are not "
            f"saved. {INTACT} Begin a new run with another --out and a lower --set "
            "optimizer.lr."
        )


def encoder_card(plan: Plan, step: int) -> EncoderCard:
    """What the artefact says of itself: no path, no file name."""
    config = plan.config
    card = plan.source.card or {}
    return EncoderCard(
        backbone=config.backbone,
        channels=plan.source.channels,
        dtype=plan.source.dtype.name,
        size=cast(int, config.views.global_size),
        spacing=config.views.spacing if plan.source.volumetric else None,
        domain=cast(str, config.domain),
        intensity=plan.intensity.model_dump(),
        mean=plan.mean,
        std=plan.std,
        data={
            "card": card.get("name"),
            "samples": len(plan.rows),
            "fingerprint": plan.identity.fingerprint,
        },
        step=step,
        config=settings.learned_from(config),
        versions=package_versions(plan.backbone.dimensions),
        init=plan.beginning.card() if plan.beginning else None,
    )
