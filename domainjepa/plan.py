"""What a run is going to do, decided and printed before the first long step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domainjepa.backbones import Backbone, traits
from domainjepa.config import PretrainConfig
from domainjepa.data.quarantine import lenient, strict
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.distributed import world_size
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.measuring import measure_channels
from domainjepa.domains.proposal import propose_domain
from domainjepa.errors import ConfigError
from domainjepa.machine import (
    choose_device,
    machine_note,
    rank_warnings,
    refuse_unwritten_gradients,
    view_workers,
)
from domainjepa.objective import LeJEPALoss, SIGReg
from domainjepa.registry import DOMAINS, STATISTICS
from domainjepa.views import resolve_sizes
from domainjepa.volume_plan import (
    LARGEST_VOLUME,
    data_note,
    fit_together,
    open_samples,
    opened_as,
    plan_volumes,
    spacing_warnings,
    views_note,
)

PROBE_HOLDOUT = 10
"""A tenth of the rows never trains the online probe: its accuracy is measured on those."""


@dataclass(frozen=True)
class Plan:
    """A run with nothing left open.

    Attributes:
        config: the settings, every "auto" replaced by its value.
        source: the data.
        rows: (N,) the rows to learn from, ascending.
        domain, intensity, mean, std: how a row becomes views; measured on the rows alone.
        backbone: with its first weights.
        objective: the loss.
        fingerprint: of the source, taken once.
        held_out: (len(source),) bool, the rows that never train the online probe.
        steps, steps_an_epoch: of the optimiser.
        device: of this rank.
        log_every, save_every: steps from one log line, or checkpoint, to the next.
        notes: what was found and decided, one line each.
        warnings: what the user should look at, one line each.
    """

    config: PretrainConfig
    source: Source
    rows: NDArray[np.int64]
    domain: Domain
    intensity: Intensity
    mean: tuple[float, ...]
    std: tuple[float, ...]
    backbone: Backbone
    objective: LeJEPALoss
    fingerprint: str
    held_out: NDArray[np.bool_]
    steps: int
    steps_an_epoch: int
    device: torch.device
    log_every: int
    save_every: int
    notes: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """Classes that the online probe tells apart; 0 without labels or with the probe off."""
        labels = self.source.labels
        if labels is None or not self.config.log.probe or len(self.rows) == 0:
            return 0
        return int(labels[self.rows].max()) + 1


def make_plan(config: PretrainConfig, *, batches: bool = True) -> Plan:
    """Open the data, look at it, and settle every open question of the settings.

    Args:
        config: the settings.
        batches: whether there must be enough samples for a batch.

    Raises:
        UserError: data, domain or backbone that cannot be used; says what to do.
    """
    lejepa = build_objective(config)
    source = open_samples(config)
    nominal = traits(config.backbone.name)
    fit_together(source, nominal, config)
    views, shape, largest = config.views, source.shape, 224
    if source.volumetric:
        source, views, shape = plan_volumes(source, views, nominal, config.data.regions)
        largest = LARGEST_VOLUME
    rows, rows_note = pretraining_rows(source, config)
    skip = config.data.skip_unreadable
    source = lenient(source, rows, config.seed) if skip else strict(source)
    if batches and len(rows) < config.batch_size:
        more = ", or draw more of each volume by --set data.regions=…" if source.volumetric else ""
        raise ConfigError(
            f"a global batch of {config.batch_size} needs as many samples; there are {len(rows)} "
            f"to learn from. Set --batch-size {max(2, len(rows) // 2)} or lower{more}."
        )
    if config.batch_size < 2 * world_size():
        raise ConfigError(
            f"a global batch of {config.batch_size} leaves less than 2 samples for each of "
            f"{world_size()} ranks: raise --batch-size or lower --devices."
        )
    proposed, reason = propose_domain(source)
    if config.domain:
        reason = "as you said" if config.domain != proposed else "as you said, and as proposed"
    name = config.domain or proposed
    kind = DOMAINS.load(name)
    if not (isinstance(kind, type) and issubclass(kind, Domain)):
        raise ConfigError(f"domain = {name!r} is no Domain: see domainjepa.domains.domain.")
    domain = kind(
        keep_colour=config.views.keep_colour,
        without=config.views.without,
        settings=config.intensity,
    )
    intensity, mean, std = measure_channels(source, rows, domain, config.seed)
    channels = len(mean)  # the intensity may make several of one: the windows of a CT
    # First the global size, which the backbone is built for; then the local one, which it judges.
    wanted = views
    views = resolve_sizes(wanted, shape, nominal.stride, False, nominal.patch, largest)
    assert views.global_size is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.seed, "weights"))
        backbone = Backbone(config.backbone, channels, views.global_size)
    views = resolve_sizes(
        wanted,
        shape,
        nominal.stride,
        fixed_size=backbone.multiple == 0,
        multiple=max(backbone.multiple, 1),
        largest=largest,
    )
    device, precision = choose_device(config)
    if precision == "bfloat16" and device.type == "cpu":
        refuse_unwritten_gradients(backbone, views, channels)
    steps_an_epoch = max(len(rows) // config.batch_size, 1)
    steps = config.steps or config.epochs * steps_an_epoch
    weight_decay = config.optimizer.weight_decay
    if weight_decay is None:
        weight_decay = 5e-2 if backbone.transformer else 5e-4
    workers = view_workers(config)
    log_every = config.log.every_steps or min(50, max(1, steps // 100))
    save_every = config.checkpoint.every_steps or min(500, max(steps_an_epoch, 200))
    resolved = config.model_copy(
        update={
            "domain": name,
            "steps": steps,
            "views": views,
            "backbone": config.backbone.model_copy(
                update={"stem_reduction": backbone.stem_reduction}
            ),
            "optimizer": config.optimizer.model_copy(update={"weight_decay": weight_decay}),
            "data": config.data.model_copy(update={"workers": workers, **opened_as(source)}),
            "log": config.log.model_copy(update={"every_steps": log_every}),
            "checkpoint": config.checkpoint.model_copy(update={"every_steps": save_every}),
            "precision": precision,
            "device": device.type,
        }
    )
    labels = "none"
    if source.labels is not None:
        classes = len(np.unique(source.labels[source.labels >= 0]))
        labels = f"{classes} classes, used for monitoring only"
        if not config.log.probe:
            labels = "not used (log.probe is off)"
    weights = sum(p.numel() for p in backbone.parameters())
    objective = config.objective
    notes = [
        ("data", data_note(source)),
        ("", "; ".join(source.decisions)),
        ("rows", rows_note),
        ("labels", labels),
        ("domain", f"{name} ({reason}); {intensity.describe()}"),
        ("views", views_note(views, source)),
        (
            "backbone",
            f"{backbone.name}, {weights / 1e6:.1f} M weights, {backbone.dim} features"
            + (f", stem stride / {backbone.stem_reduction}" if backbone.stem_reduction > 1 else ""),
        ),
        (
            "objective",
            f"LeJEPA, lambda {objective.lam}, {objective.statistic}, {objective.num_slices} slices",
        ),
        (
            "training",
            f"{steps:,} steps of {config.batch_size} ({steps / steps_an_epoch:.1f} epochs), "
            f"lr {config.optimizer.lr:g}, weight decay {weight_decay:g}",
        ),
        ("machine", machine_note(device, precision, workers)),
    ]
    return Plan(
        config=resolved,
        source=source,
        rows=rows,
        domain=domain,
        intensity=intensity,
        mean=mean,
        std=std,
        backbone=backbone,
        objective=lejepa,
        fingerprint=source.fingerprint(),
        held_out=hold_out(source, config.seed),
        steps=steps,
        steps_an_epoch=steps_an_epoch,
        device=device,
        log_every=log_every,
        save_every=save_every,
        notes=[note for note in notes if note[1]],
        warnings=[*source.warnings, *spacing_warnings(source), *rank_warnings(device)],
    )


def build_objective(config: PretrainConfig) -> LeJEPALoss:
    """The loss of the settings.

    Raises:
        ConfigError: a statistic or a kind of directions that there is not.
    """
    chosen = config.objective
    statistic: str | Callable[[Tensor], Tensor] = chosen.statistic
    if ":" in chosen.statistic or chosen.statistic in STATISTICS.names():
        statistic = STATISTICS.load(chosen.statistic)
    try:
        sigreg = SIGReg(
            num_slices=chosen.num_slices,
            knots=chosen.knots,
            t_max=chosen.t_max,
            statistic=statistic,
            directions=chosen.directions,
            debias=chosen.debias,
            seed=config.seed,
        )
    except ValueError as error:
        raise ConfigError(f"objective: {error}") from error
    return LeJEPALoss(chosen.lam, sigreg)


def pretraining_rows(source: Source, config: PretrainConfig) -> tuple[NDArray[np.int64], str]:
    """The rows to learn from and why: test rows stay out unless asked for.

    Raises:
        ConfigError: there are none.
    """
    if source.split is None:
        return source.rows(), f"all {len(source):,}: the data has no split"
    counts = {name: int((source.split == name).sum()) for name in ("train", "val", "test")}
    if config.data.include_test:
        return source.rows(), f"all {len(source):,}, test rows included as asked"
    rows = source.rows("train", "val")
    if len(rows) == 0:
        raise ConfigError(
            f"none of the {len(source):,} samples is in the split train or val, {counts['test']:,} "
            "are in test, which pretraining leaves out. Learn from them, too, by --set "
            "data.include_test=true, or name another split by --set data.split=NAME."
        )
    return rows, (
        f"{len(rows):,} of the splits train ({counts['train']:,}) and val ({counts['val']:,}); "
        f"the {counts['test']:,} test rows stay out (data.include_test takes them in)"
    )


def hold_out(source: Source, seed: int) -> NDArray[np.bool_]:
    """A keyed tenth of the rows, whole groups where there are enough of them."""
    units = np.arange(len(source))
    if source.groups is not None and len(np.unique(source.groups)) >= PROBE_HOLDOUT:
        units = source.groups
    names, unit_of_row = np.unique(units, return_inverse=True)
    shuffled = np.random.default_rng(key(seed, "probe")).permutation(len(names))
    held: NDArray[np.bool_] = shuffled[unit_of_row] < max(len(names) // PROBE_HOLDOUT, 1)
    return held


def learning_rate(step: int, steps: int, peak: float, warmup: float, final: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine to `final` times the peak.

    A pure function of the step, so that a resumed run goes on as if it had never stopped.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(steps - rising - 1, 1)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
