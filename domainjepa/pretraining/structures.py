"""Whether the positions of a backbone are fine enough for what a data set's masks outline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import grid_of, grids_of, stages
from domainjepa.config import ViewsConfig
from domainjepa.data.parts.regions import RegionsSource
from domainjepa.data.source import Source
from domainjepa.encoder import grid_loss
from domainjepa.errors import UserError
from domainjepa.views.resampling import spacing_of

IGNORED = 255
"""No class where a mask has others than 0 and this: left out, by the custom of segmentation."""
MOST_CLASSES = 256
"""Masks of more values number single objects."""


def stride_warnings(
    source: Source, backbone: Backbone, channels: int, views: ViewsConfig
) -> list[str]:
    """A stride that is too wide for a structure, whose patch features then hold its neighbours.

    Args:
        source: its masks, where it has some; nothing trains on them.
        backbone: the one to be pretrained.
        channels: that it takes.
        views: with size and spacing resolved.
    """
    whole = source.volumes if isinstance(source, RegionsSource) else source
    if whole.masks is None or not whole.masks.known.any():
        return []
    size = views.global_size or 0
    try:
        last = grid_of(backbone.net, channels, size, backbone.dimensions, "last").stride
        every = grids_of(backbone.net, channels, size, backbone.dimensions, stages)
    except UserError:  # a network without maps: nobody reads patches of it
        return []
    masks = grid_loss.looked_at(np.flatnonzero(whole.masks.known), whole.masks.__getitem__)
    values = sorted(set().union(*(np.unique(mask).tolist() for mask in masks.values())))
    if IGNORED in values and set(values) - {0, IGNORED}:
        values.remove(IGNORED)
    if not 1 < len(values) <= MOST_CLASSES:
        return []
    step, unit = (views.spacing or 1.0, "mm") if whole.volumetric else (1.0, "px")

    def left(stride: int) -> NDArray[np.float64]:
        pitches = [(stride * step / _spacing(whole, row)).tolist() for row in masks]
        return grid_loss.grid_dice(zip(masks.values(), pitches, strict=True), values)

    found = left(last)
    if grid_loss.keeps(found):
        return []
    names = whole.masks.classes or {}
    lost = grid_loss.shown([names.get(value, f"value {value}") for value in values], found)
    return [
        f"positions of the last map of {backbone.name} are {last * step:.3g} {unit} apart, too far "
        f"for what the masks outline: brought to that grid and back, they keep a Dice of {lost}. "
        f"{_advice([one.stride for one in every], left, step, unit)}: docs/dense.md."
    ]


def _advice(
    strides: list[int], left: Callable[[int], NDArray[np.float64]], step: float, unit: str
) -> str:
    """From which stage on to read, or what else there is to do."""
    fine = [stage for stage, stride in enumerate(strides) if grid_loss.keeps(left(stride))]
    if not fine:
        return (
            "No stage of it keeps 90 %: take a larger --set backbone.stem_reduction, smaller "
            "patches, or a larger scale of the features"
        )
    return (
        f"Stage {fine[-1]}, every {strides[fine[-1]] * step:.3g} {unit}, keeps 90 %: for "
        f"segmentation read it and those after it, layers=range({fine[-1]}, {len(strides)}), as "
        "evaluate does by itself"
    )


def _spacing(source: Source, row: int) -> NDArray[np.float64]:
    """From pixel to pixel along each axis: mm of volumes, else 1."""
    return np.asarray(spacing_of(source, row)) if source.volumetric else np.ones(2)
