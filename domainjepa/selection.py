"""Which run is the best, by its training loss alone.

LeJEPA (arXiv:2511.08544) reports that the training loss foretells what a probe will read out of the
encoder, so that a laboratory without labels can choose among runs: runs with different lambda
become comparable when the loss is divided by lambda^alpha, alpha = 0.4. Where there are labels,
Spearman's correlation says how far that holds for these runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from domainjepa import settings
from domainjepa.data.source import Source
from domainjepa.encoder.artefact import load_encoder
from domainjepa.encoder.places import FILE_NAME, at_step, every_kept
from domainjepa.errors import UserError
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run_folder import RunFolder

ALPHA = 0.4
LAST = 0.05
"""Share of the steps over whose log lines a loss is averaged: single batches scatter."""
COMPARABLE = (
    *("objective.", "views.", "intensity.", "projector.out", "batch_size", "domain"),
    *("data.path", "data.images", "data.bands", "data.dimensions", "data.axis"),
    *("data.neighbours", "data.tile"),
)
"""Settings on which the size of the loss depends; lambda alone is corrected for."""


@dataclass(frozen=True)
class Ranked:
    """One run, or one step of it.

    Attributes:
        name: of the run's folder, with the step where that of one was asked for.
        backbone, lam: of its settings.
        step: whose loss it is.
        loss: mean of the log lines of the last 5 % of the steps up to this one.
        score: loss / lambda^alpha; the lower, the better.
        probe: accuracy of a linear probe, 0 to 1, or None without labels.
    """

    name: str
    backbone: str
    lam: float
    step: int
    loss: float
    score: float
    probe: float | None


@dataclass(frozen=True)
class Selection:
    """Runs from the best to the worst.

    Attributes:
        runs: by ascending score.
        alpha: of the score.
        by_score, by_loss: Spearman's correlation of accuracy with the score and with the plain
            loss, both taken negative so that 1 is perfect; None with fewer than 3 probes.
        warnings: readable lines.
    """

    runs: list[Ranked]
    alpha: float
    by_score: float | None
    by_loss: float | None
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def select(
    runs: Sequence[Path], *, alpha: float = ALPHA, probes: Mapping[str, float] | None = None
) -> Selection:
    """Rank runs, or single checkpoints of runs.

    Args:
        runs: run folders, RUN@STEP of encoders kept on the way (RUN@* are all of a run), or files
            of their `checkpoints/`.
        alpha: power of lambda; 0 ranks by the plain loss.
        probes: name -> accuracy, in place of the last accuracy of the online probe.

    Raises:
        UserError: no run there, nothing logged yet, or lambda 0, whose loss says nothing.
    """
    runs = [one for path in runs for one in every_kept(path)]
    every = [_rank(path, alpha, probes) for path in runs]
    names = [one.name for one in every]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two runs are called {', '.join(twice)}: rename one of the folders")
    ranked = [one for one in every if math.isfinite(one.loss)]
    warnings = _differences(runs)
    if diverged := [one.name for one in every if one not in ranked]:
        warnings.append(f"left out, since the loss is no longer a number: {', '.join(diverged)}")
    if len({one.step for one in ranked if not re.search(r"( step |@)\d+$", one.name)}) > 1:
        warnings.append("the runs have trained for different numbers of steps: more, lower loss")
    with_probe = [one for one in ranked if one.probe is not None]
    accuracies = [one.probe for one in with_probe if one.probe is not None]
    return Selection(
        sorted(ranked, key=lambda one: one.score),
        alpha,
        _spearman([-one.score for one in with_probe], accuracies),
        _spearman([-one.loss for one in with_probe], accuracies),
        warnings,
    )


def probe(runs: Sequence[Path], source: Source) -> dict[str, float]:
    """Name -> accuracy of a linear probe with all labels on the run's frozen features.

    Raises:
        UserError: a checkpoint among the runs, which is no encoder.
        DataError: no labels.
    """
    from domainjepa.encoder.frozen import FrozenEncoder
    from domainjepa.evaluation.protocol import read_protocol
    from domainjepa.evaluation.suite import evaluate

    for path in runs:
        if path.suffix == ".pt":
            raise UserError(
                f"{path.name} is a checkpoint: --data probes encoders, of finished runs or "
                "RUN@STEP. Leave --data out to compare by the online probe."
            )
    protocol = read_protocol("few-shot").model_copy(update={"shots": ("all",)})
    every = [one for path in runs for one in every_kept(path)]
    results = evaluate([FrozenEncoder(path) for path in every], source, [protocol])
    return {one["encoder"]: one["mean"] for one in results.summary if one["metric"] == "accuracy"}


def _rank(path: Path, alpha: float, probes: Mapping[str, float] | None) -> Ranked:
    root, at = _run_and_step(path)
    folder = RunFolder(root)
    if not folder.config.is_file():
        raise UserError(
            f"{path.name!r} is no run: give the folder that `domainjepa pretrain` wrote, or a file "
            "of its checkpoints."
        )
    config = settings.resolve(settings.read_recipe(folder.config))
    last = math.inf if at is None else at
    every = [line for line in read_metrics(folder.metrics) if "loss" in line]
    every = [line for line in every if line["step"] <= last]
    if not every:
        raise UserError(f"{root.name!r} has logged no loss yet: let it train for some steps.")
    lam = config.objective.lam
    if lam == 0:
        raise UserError(
            f"{root.name!r} was trained with objective.lam = 0: without SIGReg its loss falls by "
            "collapse and says nothing. Leave it out."
        )
    # A loss that was no number is written as null: of a batch now and then, or for good.
    lines = [line for line in every if line["loss"] is not None]
    end = int(every[-1]["step"])
    step = int(lines[-1]["step"]) if lines and lines[-1]["step"] > end * (1 - LAST) else end
    losses = [float(line["loss"]) for line in lines if line["step"] > step * (1 - LAST)]
    loss = sum(losses) / len(losses) if losses else math.nan
    name = root.resolve().name
    if at is not None:
        name += f" step {step}" if path.suffix == ".pt" else f"@{at}"
    probe = every[-1].get("probe_accuracy") if probes is None else probes.get(name)
    return Ranked(
        name=name,
        backbone=config.backbone.name,
        lam=lam,
        step=step,
        loss=loss,
        score=loss / lam**alpha,
        probe=probe,
    )


def _run_and_step(path: Path) -> tuple[Path, int | None]:
    """The run folder, and the step of a checkpoint or of RUN@STEP."""
    if found := re.fullmatch(r"step-(\d+)\.pt", path.name):
        return path.parent.parent, int(found[1])
    if found_at := at_step(path):
        return found_at[0], int(found_at[1])
    return path, None


def _spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    if len(one) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def _differences(runs: Sequence[Path]) -> list[str]:
    """Settings besides lambda, and data, that make losses incomparable."""
    folders = [_run_and_step(path)[0] for path in runs]
    each = [
        settings.flat(settings.resolve(settings.read_recipe(f / "config.toml"))) for f in folders
    ]
    differing = [
        name
        for name in each[0]
        if name.startswith(COMPARABLE)
        and name != "objective.lam"
        and len({repr(one[name]) for one in each}) > 1
    ]
    # A run that goes on has no artefact yet, which alone knows the content of the data.
    cards = [load_encoder(f)[0] for f in folders if (f / FILE_NAME).is_file()]
    if len({card.data.get("fingerprint") for card in cards}) > 1:
        differing.insert(0, "the content of their data")
    if not differing:
        return []
    return [
        f"the runs differ in {', '.join(differing)}: their losses do not measure the same, so the "
        "ranking may mean nothing. Compare runs that differ in lambda, backbone or optimiser alone."
    ]


def render(selection: Selection) -> Table:
    """The ranking for a terminal."""
    table = Table(title=f"by loss / lambda^{selection.alpha:g}, the lowest first")
    for head in ("", "run", "backbone", "lambda", "step", "loss", "score", "probe"):
        table.add_column(head, justify="left" if head in ("run", "backbone") else "right")
    for place, one in enumerate(selection.runs, 1):
        probe = "–" if one.probe is None else f"{100 * one.probe:.1f} %"
        table.add_row(
            str(place),
            escape(one.name),
            one.backbone,
            f"{one.lam:g}",
            f"{one.step:,}",
            f"{one.loss:.4f}",
            f"{one.score:.4f}",
            probe,
        )
    if selection.by_score is not None and selection.by_loss is not None:
        table.caption = (
            f"Spearman's correlation with the probe: {selection.by_score:.2f} for the score, "
            f"{selection.by_loss:.2f} for the plain loss (1 is perfect)"
        )
    return table
