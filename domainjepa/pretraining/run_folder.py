"""The folder of a run: `config.toml`, `metrics.jsonl`, `checkpoints/`, the encoder, the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from domainjepa import settings
from domainjepa.config import PretrainConfig
from domainjepa.distributed import any_over_ranks, is_main
from domainjepa.encoder.artefact import FILE_NAME, EncoderCard, package_versions, save_encoder
from domainjepa.errors import ConfigError, UserError
from domainjepa.pretraining.checkpoint import MANIFEST, save_checkpoint
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.state import RunState
from domainjepa.writing import write_atomically

# What a resumed run may do otherwise: none of it changes what the model sees. Other conditions on
# the rows do, and the fingerprint of the data tells.
FREE_ON_RESUME = (
    "data.path",
    "data.root",
    "data.where",
    "data.workers",
    "device",
    "devices",
    "attention",
    "compile",
    "log.every_steps",
    "log.shortcuts",
    "checkpoint.",
)
INTACT = "What was saved before is intact."


class RunFolder:
    """Paths of one run, and the rule that a folder holds one run only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.config = path / "config.toml"

    def check(self, config: PretrainConfig, *, resume: bool) -> None:
        """Refuse a folder that is not this run's; nothing is written.

        Raises:
            UserError: it holds another run, or there is nothing to resume.
            ConfigError: the settings are not those the run began with.
        """
        _by_the_main_rank(lambda: self._check(config, resume=resume))

    def open(self, config: PretrainConfig) -> None:
        """Make the folder and write the settings, once it is certain that the run can begin.

        Raises:
            UserError: it cannot be written.
        """
        _by_the_main_rank(lambda: self._open(config))

    def _check(self, config: PretrainConfig, *, resume: bool) -> None:
        if resume:
            if not self.config.is_file():
                raise UserError(
                    f"nothing to resume: {self.path.name!r} holds no run. Start without --resume."
                )
            self._check_same(config)
        elif self.config.exists() or self.checkpoints.exists():
            raise UserError(
                f"{self.path.name!r} holds a run already. Go on with it by --resume, or choose "
                "another --out."
            )

    def _open(self, config: PretrainConfig) -> None:
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            text = settings.to_toml(config).encode()
            write_atomically(self.config, lambda file: file.write(text))
        except OSError as error:
            raise UserError(
                f"the run folder {self.path.name!r} cannot be written: {error.strerror}. Choose "
                "another --out."
            ) from error

    def _check_same(self, config: PretrainConfig) -> None:
        before = settings.flat(settings.resolve(settings.read_recipe(self.config)))
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

    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from; a run killed before it begins anew."""
        return (self.checkpoints / MANIFEST).is_file()

    def save(self, plan: Plan, state: RunState) -> None:
        """The encoder and a checkpoint, as long as all that they hold are numbers.

        Raises:
            UserError: they are not, or the files cannot be written.
        """
        if any_over_ranks(not state.finite()):
            raise UserError(
                f"weights or gradients were NaN or infinite by step {state.step}: they are not "
                f"saved. {INTACT} Begin a new run with another --out and a lower --set "
                "optimizer.lr."
            )
        if is_main():
            self.save_encoder(plan, state)
            keep = plan.config.checkpoint.keep
            save_checkpoint(self.checkpoints, state.pack(plan), state.step, keep)

    def save_encoder(self, plan: Plan, state: RunState) -> None:
        """The artefact, as of this step."""
        save_encoder(self.path / FILE_NAME, plan.backbone, encoder_card(plan, state.step))

    def write_report(self, notes: list[tuple[str, str]]) -> None:
        """`report.html`: the plan, the curves and the last figures of the run."""
        from domainjepa.pretraining.report import write_run_report

        write_run_report(self.path / "report.html", notes, read_metrics(self.metrics))


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
        config=settings.without_paths(config),
        versions=package_versions(plan.backbone.dimensions),
    )


def _by_the_main_rank(act: Callable[[], None]) -> None:
    """The main rank acts and decides for all: the others could find what it has just made."""
    refused: UserError | None = None
    if is_main():
        try:
            act()
        except UserError as error:
            refused = error
    if any_over_ranks(refused is not None):
        raise refused or UserError("the main rank refused the run folder")
