"""What a plan says of itself: a phrase for each line that is printed before a run."""

from __future__ import annotations

import numpy as np

from domainjepa.backbones import Backbone
from domainjepa.config import ObjectiveConfig, PretrainConfig, ViewsConfig
from domainjepa.data.parts.regions import RegionsSource
from domainjepa.data.source import Source


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
    return f"{views.num_global} global of {views.global_size} {unit}{local}{region}"


def backbone_note(backbone: Backbone) -> str:
    """Its name and its size."""
    weights = sum(p.numel() for p in backbone.parameters())
    stem = f", stem stride / {backbone.stem_reduction}" if backbone.stem_reduction > 1 else ""
    return f"{backbone.name}, {weights / 1e6:.1f} M weights, {backbone.dim} features{stem}"


def objective_note(chosen: ObjectiveConfig) -> str:
    """The loss."""
    return f"LeJEPA, lambda {chosen.lam}, {chosen.statistic}, {chosen.num_slices} slices"


def training_note(config: PretrainConfig, steps_an_epoch: int) -> str:
    """Steps, batch, rates; every setting resolved."""
    steps, rates = config.steps or 0, config.optimizer
    parts = f" in micro-batches of {config.micro_batch}" if config.micro_batch else ""
    layered = f" (x {rates.layer_decay:g} a layer)" if rates.layer_decay < 1 else ""
    return (
        f"{steps:,} steps of {config.batch_size}{parts} ({steps / steps_an_epoch:.1f} epochs), "
        f"lr {rates.lr:g}{layered}, weight decay {rates.weight_decay:g}"
    )
