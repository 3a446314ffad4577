"""The folder of a run: `config.toml`, `metrics.jsonl`, `checkpoints/`, the encoder, the report."""

from __future__ import annotations

from pathlib import Path

from domainjepa import settings
from domainjepa.checkpoint import MANIFEST
from domainjepa.config import PretrainConfig
from domainjepa.distributed import any_over_ranks, is_main
from domainjepa.errors import ConfigError, UserError
from domainjepa.progress import read_metrics
from domainjepa.writing import write_atomically

# What a resumed run may do otherwise: none of it changes what the model sees.
FREE_ON_RESUME = (
    "data.path",
    "data.workers",
    "device",
    "devices",
    "compile",
    "log.",
    "checkpoint.",
)


class RunFolder:
    """Paths of one run, and the rule that a folder holds one run only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.config = path / "config.toml"

    def open(self, config: PretrainConfig, *, resume: bool) -> None:
        """Make the folder, or check that it is this run's.

        Raises:
            UserError: it holds another run, or there is nothing to resume.
            ConfigError: the settings are not those the run began with.
        """
        refused: UserError | None = None
        if is_main():
            try:
                self._open(config, resume=resume)
            except UserError as error:
                refused = error
        # The main rank decides for all: the others could find what it has just made.
        if any_over_ranks(refused is not None):
            raise refused or UserError("the main rank refused the run folder")

    def _open(self, config: PretrainConfig, *, resume: bool) -> None:
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

    def write_report(self, notes: list[tuple[str, str]]) -> None:
        """`report.html`: the plan, the curves and the last figures of the run."""
        from domainjepa.report import write_run_report

        write_run_report(self.path / "report.html", notes, read_metrics(self.metrics))
