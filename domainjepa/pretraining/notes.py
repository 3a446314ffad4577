"""What a plan says of itself: a phrase for each line that is printed before a run."""

from __future__ import annotations

import numpy as np

from domainjepa.backbones import Backbone, Traits
from domainjepa.backbones.stem import MIN_POSITIONS
from domainjepa.config import ObjectiveConfig, PretrainConfig, ViewsConfig
from domainjepa.data.parts.regions import RegionsSource
from domainjepa.data.source import Source
from domainjepa.views.shortcuts import FEWEST, VIEWS


def data_note(source: Source) -> str:
    """A phrase for the plan."""
    shape = "x".join(map(str, source.shape))
    if not isinstance(source, RegionsSource):
        return f"{len(source):,} images, {shape} {source.dtype}"
    volumes = source.volumes
    millimetres = "of unknown spacing"
    if volumes.spacings is not None:
        median = np.median(volumes.spacings, axis=0)
        millimetres = "x".join(f"{side:.3g}" for side in median) + " mm"
    return (
        f"{len(volumes):,} volume{'s' if len(volumes) != 1 else ''}, {shape} {source.dtype}, "
        f"{millimetres}; {source.regions} regions of each in an epoch"
    )


def views_note(views: ViewsConfig, source: Source) -> str:
    """A phrase for the plan."""
    unit, region = "px", ""
    if source.volumetric:
        unit, spacing = "voxels", views.spacing or 1.0
        side = spacing * (views.global_size or 0)
        region = f", in regions of {side:.3g} mm at {spacing:.3g} mm a voxel"
    local = f" + {views.num_local} local of {views.local_size} {unit}" if views.num_local else ""
    fewer = ""
    if views.channel_dropout:
        fewer = f"; each does without {100 * views.channel_dropout:g} % of its channels, one stays"
    return f"{views.num_global} global of {views.global_size} {unit}{local}{region}{fewer}"


def backbone_note(backbone: Backbone, size: int, nominal: Traits) -> str:
    """Its name and its size; what its stem costs, and what would cost less or see more.

    Args:
        backbone: of the run.
        size: of a global view.
        nominal: traits of the backbone with the stem that it was made with.
    """
    weights = sum(p.numel() for p in backbone.parameters())
    said = f"{backbone.name}, {weights / 1e6:.1f} M weights, {backbone.dim} features"
    less, dimensions = backbone.stem_reduction, backbone.dimensions
    cost = less**dimensions

    def positions(reduction: int) -> int:
        return max(size * reduction // nominal.stride, 1)

    def grid(reduction: int) -> str:
        return "x".join([str(positions(reduction))] * dimensions)

    if less > 1:
        said += (
            f"; stem stride / {less}: up to {cost} times the work, for {grid(less)} positions of a "
            f"global view. backbone.stem_reduction=1 has {grid(1)} for as little as a {cost}th; "
            "smaller views keep this stride and cost less"
        )
    if positions(less) < MIN_POSITIONS[dimensions] and less < nominal.stem:
        said += (
            f"; a global view has {grid(less)} positions, which is few: backbone.stem_reduction="
            f"{2 * less} has {grid(2 * less)} for up to {2**dimensions} times the work"
        )
    return said


def objective_note(chosen: ObjectiveConfig) -> str:
    """The loss."""
    return f"LeJEPA, lambda {chosen.lam}, {chosen.statistic}, {chosen.num_slices} slices"


def affordable_samples(config: PretrainConfig) -> int:
    """Samples that shortcuts are looked for in, before and after: together a tenth of the views
    that the run makes. Counted, not timed: what is found depends on settings alone."""
    views = config.views.num_global + config.views.num_local
    return (config.steps or 0) * config.batch_size * views // (10 * 2 * VIEWS)


def looks_for_shortcuts(config: PretrainConfig, source: Source) -> bool:
    """Whether a run looks for shortcuts in its views, before and after."""
    affordable = affordable_samples(config) >= FEWEST
    return config.log.shortcuts and affordable and not source.volumetric


def shortcuts_note(config: PretrainConfig, source: Source) -> str:
    """That a short run does not look for shortcuts; nothing where it does, or was told not to."""
    if source.volumetric or not config.log.shortcuts or looks_for_shortcuts(config, source):
        return ""
    return (
        "not looked for: it would take longer than a tenth of this run. `domainjepa inspect "
        "--views` does"
    )


def training_note(config: PretrainConfig, steps_an_epoch: int) -> str:
    """Steps, batch, rates; every setting resolved."""
    steps, rates = config.steps or 0, config.optimizer
    parts = f" in micro-batches of {config.micro_batch}" if config.micro_batch else ""
    layered = f" (x {rates.layer_decay:g} a layer)" if rates.layer_decay < 1 else ""
    return (
        f"{steps:,} steps of {config.batch_size}{parts} ({steps / steps_an_epoch:.1f} epochs), "
        f"lr {rates.lr:g}{layered}, weight decay {rates.weight_decay:g}"
    )
