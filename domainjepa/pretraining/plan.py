"""What a run is going to do, decided and printed before the first long step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domainjepa.backbones import Backbone, Traits, traits
from domainjepa.config import PretrainConfig, Settings, ViewsConfig
from domainjepa.data.checks.quarantine import lenient, readable, strict
from domainjepa.data.files.identity import Identity
from domainjepa.data.metadata.targets import Target
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.measuring import measure_channels
from domainjepa.domains.proposal import propose_domain
from domainjepa.errors import ConfigError
from domainjepa.objective import LeJEPALoss, SIGReg
from domainjepa.pretraining.beginning import Beginning, begin, begun_with
from domainjepa.pretraining.machine import (
    choose_device,
    cpu_threads,
    machine_note,
    micro_batch_warnings,
    rank_warnings,
    refuse_unwritten_gradients,
    refuse_with_sharding,
    view_workers,
)
from domainjepa.pretraining.notes import (
    backbone_note,
    data_note,
    objective_note,
    shortcuts_note,
    training_note,
    views_note,
)
from domainjepa.pretraining.rows import (
    divided_groups,
    hold_out,
    pretraining_rows,
    refuse_dropping_the_only_channel,
    refuse_small_batches,
)
from domainjepa.pretraining.structures import stride_warnings
from domainjepa.pretraining.told import probe_target
from domainjepa.pretraining.volume_plan import (
    LARGEST_VOLUME,
    fit_together,
    open_samples,
    opened_as,
    plan_volumes,
    reads_note,
    spacing_warnings,
)
from domainjepa.registry import DOMAINS, STATISTICS
from domainjepa.views.related import Siblings, find_siblings, related_note, related_warnings
from domainjepa.views.sizes import LARGEST_IMAGE, resolve_sizes
from domainjepa.views.views import ViewMaker

LR = 5e-4
LR_OF_GIVEN = LR / 5


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
        identity: of the source, taken once.
        target: what the online probe tells; None without labels, or where it is off.
        held_out: (len(source),) bool, the rows that never train the online probe.
        siblings: of whom other views of a row than the first are; None where of the row alone.
        beginning: the weights that the backbone was given; None where they are random.
        steps, steps_an_epoch: of the optimiser.
        device: of this rank.
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
    identity: Identity
    target: Target | None
    held_out: NDArray[np.bool_]
    steps: int
    steps_an_epoch: int
    device: torch.device
    siblings: Siblings | None = None
    beginning: Beginning | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def log_every(self) -> int:
        """Steps from one log line to the next."""
        return self.config.log.every_steps or 1

    @property
    def save_every(self) -> int:
        """Steps from one checkpoint to the next."""
        return self.config.checkpoint.every_steps or 1

    @property
    def data_name(self) -> str:
        """What artefacts call the data, as they were when the run began."""
        return self.source.named_by(self.identity.fingerprint)

    def keeps(self, step: int) -> bool:
        """Whether the encoder of a step stays: RUN@STEP."""
        every = self.config.checkpoint.encoders_every
        return every is not None and step % every == 0

    def draw(self, step: int) -> int:
        """The number of a step in the keys of its draws: those of an extended run lie behind it."""
        return self.config.init.first_step + step

    def maker(self) -> ViewMaker:
        """What makes the views of the run."""
        views, seed = self.config.views, self.config.seed
        return ViewMaker(self.domain, self.intensity, views, seed, self.siblings)

    @property
    def classes(self) -> int:
        """Classes, or labels, that the online probe tells; 0 without any or with the probe off."""
        if self.target is None or len(self.rows) == 0:
            return 0
        if self.target.kind == "multi-label":
            return len(self.target.classes)
        return int(self.target.values[self.rows].max()) + 1


def make_plan(config: PretrainConfig, *, batches: bool = True, kept: Path | None = None) -> Plan:
    """Open the data, look at it, and settle every open question of the settings.

    Args:
        config: the settings.
        batches: whether there must be enough samples for a batch.
        kept: the file of a resumed run that holds the weights that it began with.

    Raises:
        UserError: data, domain or backbone that cannot be used; says what to do.
    """
    refuse_with_sharding(config)
    objective = build_objective(config)
    source = open_samples(config)
    nominal = traits(config.backbone.name)
    fit_together(source, nominal, config)
    refuse_dropping_the_only_channel(source, config.views)
    wanted, shape, largest = config.views, source.shape, LARGEST_IMAGE
    skip = config.data.skip_unreadable
    if source.volumetric:
        source = readable(source, skip) if skip else strict(source)
        source, wanted, shape = plan_volumes(source, wanted, nominal, config.data.regions)
        largest = LARGEST_VOLUME
    rows, rows_note = pretraining_rows(source, config)
    if not source.volumetric:
        source = lenient(source, rows, config.seed) if skip else strict(source)
    target, labels_said = probe_target(source, rows, config)
    if batches:
        refuse_small_batches(config, len(rows), source.volumetric)
    domain, name, reason = choose_domain(source, config)
    siblings, wanted = related_views(source, rows, wanted, domain)
    steps_an_epoch = max(len(rows) // config.batch_size, 1)
    steps = config.steps or config.epochs * steps_an_epoch
    intensity, mean, std = measure_channels(
        source, rows, domain, config.seed, most=steps * config.batch_size // 2
    )
    channels = len(mean)  # the intensity may make several of one: the windows of a CT
    backbone, views = build_backbone(config, wanted, shape, channels, nominal, largest)
    device, precision = choose_device(config)
    threads = cpu_threads(config, device)
    if precision == "bfloat16" and device.type == "cpu":
        refuse_unwritten_gradients(backbone, views, channels)
    beginning = begin(backbone, config, channels, steps_an_epoch, kept)
    resolved = config.model_copy(
        update={
            "domain": name,
            "steps": steps,
            "views": views,
            "precision": precision,
            "device": device.type,
            "init": begun_with(config, beginning),
            "threads": threads.number,
            **_inner_settings(config, source, backbone, steps, steps_an_epoch),
        }
    )
    reads, dear = reads_note(
        source, ViewMaker(domain, intensity, views, config.seed, siblings), rows
    )
    notes = [
        ("data", data_note(source)),
        ("", "; ".join(source.decisions)),
        ("rows", rows_note),
        ("labels", labels_said),
        ("domain", f"{name} ({reason}); {intensity.describe()}"),
        ("views", views_note(views, source)),
        ("reads", reads),
        ("related", related_note(siblings, rows, views.related_crops) if siblings else ""),
        ("backbone", backbone_note(backbone, views.global_size or 0, nominal)),
        ("begins with", beginning.told() if beginning else ""),
        ("objective", objective_note(config.objective)),
        ("training", training_note(resolved, steps_an_epoch)),
        ("shortcuts", shortcuts_note(resolved, source)),
        ("machine", machine_note(device, precision, resolved.data.workers or 0, threads)),
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
        objective=objective,
        identity=Identity.of(source),
        target=target,
        held_out=hold_out(source, config.seed),
        steps=steps,
        steps_an_epoch=steps_an_epoch,
        device=device,
        siblings=siblings,
        beginning=beginning,
        notes=[note for note in notes if note[1]],
        warnings=[
            *source.warnings,
            *dear,
            *divided_groups(source, rows),
            *(related_warnings(siblings, source, rows, config.seed) if siblings else []),
            *spacing_warnings(source),
            *rank_warnings(resolved, device),
            *micro_batch_warnings(resolved, backbone),
            *stride_warnings(source, backbone, len(mean), resolved.views),
        ],
    )


def choose_domain(source: Source, config: PretrainConfig) -> tuple[Domain, str, str]:
    """The domain that was asked for or that suits the data, its name as asked for, the reason.

    Raises:
        ConfigError: what was asked for is no domain.
    """
    proposed, reason = propose_domain(source)
    if config.domain:
        reason = "as you said" if config.domain != proposed else "as you said, and as proposed"
    name = config.domain or proposed
    kind = DOMAINS.load(name)
    if not (isinstance(kind, type) and issubclass(kind, Domain)):
        raise ConfigError(f"domain = {name!r} is no Domain: see domainjepa.domains.domain.")
    views = config.views
    domain = kind(keep_colour=views.keep_colour, without=views.without, settings=config.intensity)
    return domain, name, reason


def related_views(
    source: Source, rows: NDArray[np.int64], views: ViewsConfig, domain: Domain
) -> tuple[Siblings | None, ViewsConfig]:
    """Who belongs together, and the settings with a place for their crops.

    Raises:
        ConfigError, DataError: as `find_siblings`.
    """
    if views.related is None:
        return None, views
    siblings = find_siblings(source, rows, views.related)
    grid = domain.registered_slices and views.related.startswith("z:")
    crops = views.related_crops or ("together" if grid else "free")
    return siblings, views.model_copy(update={"related_crops": crops})


def build_backbone(
    config: PretrainConfig,
    wanted: ViewsConfig,
    shape: tuple[int, ...],
    channels: int,
    nominal: Traits,
    largest: int,
) -> tuple[Backbone, ViewsConfig]:
    """The backbone with its first weights, keyed by the seed, and the sizes of its views.

    Args:
        config: the settings.
        wanted: of the views; sizes that are set stay.
        shape: of a sample, (H, W, C) or (D, H, W, C).
        channels: after the intensity.
        nominal: traits of the backbone.
        largest: global size by default.
    """
    # First the global size, which the backbone is built for; then the local one, which it judges.
    usual, views = (
        resolve_sizes(sizes, shape, nominal.stride, False, nominal.patch, largest)
        for sizes in (ViewsConfig(), wanted)
    )
    assert views.global_size is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.seed, "weights"))
        backbone = Backbone(config.backbone, channels, views.global_size, usual.global_size)
    if config.activation_checkpointing:
        backbone.checkpoint_activations()
    views = resolve_sizes(
        wanted,
        shape,
        nominal.stride,
        fixed_size=backbone.multiple == 0,
        multiple=max(backbone.multiple, 1),
        largest=largest,
    )
    return backbone, views


def _inner_settings(
    config: PretrainConfig, source: Source, backbone: Backbone, steps: int, steps_an_epoch: int
) -> dict[str, Settings]:
    """The groups of settings with every "auto" in them replaced by its value."""
    lr, weight_decay = config.optimizer.lr, config.optimizer.weight_decay
    if lr is None:
        lr = LR_OF_GIVEN if config.init.given else LR
    if weight_decay is None:
        weight_decay = 5e-2 if backbone.transformer else 5e-4
    log_every = config.log.every_steps or min(50, max(1, steps // 100))
    save_every = config.checkpoint.every_steps or min(500, max(steps_an_epoch, 200))
    found = {"workers": view_workers(config), **opened_as(source)}
    return {
        "backbone": config.backbone.model_copy(update={"stem_reduction": backbone.stem_reduction}),
        "optimizer": config.optimizer.model_copy(update={"lr": lr, "weight_decay": weight_decay}),
        "data": config.data.model_copy(update=found),
        "log": config.log.model_copy(update={"every_steps": log_every}),
        "checkpoint": config.checkpoint.model_copy(update={"every_steps": save_every}),
    }


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
