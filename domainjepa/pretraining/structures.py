"""Whether what a data set's masks outline is wide enough for the positions of a backbone."""

from __future__ import annotations

import contextlib
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import grid_of
from domainjepa.config import ViewsConfig
from domainjepa.data.parts.regions import RegionsSource
from domainjepa.data.source import Source
from domainjepa.errors import DataError, UserError
from domainjepa.views.resampling import spacing_of

MASKS = 8
IGNORED = 255
"""No class where a mask has others: what is left out, by the custom of segmentation."""


def stride_warnings(
    source: Source, backbone: Backbone, channels: int, views: ViewsConfig
) -> list[str]:
    """A stride that is wider than a structure, whose patch features then hold its neighbours, too.

    Args:
        source: its masks, where it has some; nothing trains on them.
        backbone: the one to be pretrained.
        channels: that it takes.
        views: with size and spacing resolved.
    """
    whole = source.volumes if isinstance(source, RegionsSource) else source
    if whole.masks is None or not whole.masks.known.any():
        return []
    try:
        grid = grid_of(backbone.net, channels, views.global_size or 0, backbone.dimensions, "last")
    except UserError:  # a network without maps: nobody reads patches of it
        return []
    widths = structure_widths(whole)
    unit, stride = (
        ("mm", grid.stride * (views.spacing or 1)) if whole.volumetric else ("px", grid.stride)
    )
    narrow = {name: width for name, width in widths.items() if width < stride}
    if not narrow:
        return []
    told = ", ".join(f"{name} {width:.2g} {unit}" for name, width in list(narrow.items())[:4])
    return [
        f"the masks outline what is narrower than a position of {backbone.name} is wide, which is "
        f"{stride:.3g} {unit}: {told}. For segmentation take a larger --set "
        "backbone.stem_reduction, a ViT of small patches, or earlier stages or a larger scale of "
        "the features: docs/dense.md."
    ]


def structure_widths(source: Source) -> dict[str, float]:
    """Class -> how wide its widest place is, the median over masks: pixels, of volumes mm.

    That is the diameter of the largest ball inside; masks are a few, evenly spaced.
    """
    assert source.masks is not None
    known = np.flatnonzero(source.masks.known)
    found: dict[str, list[float]] = defaultdict(list)
    for row in known[np.linspace(0, len(known) - 1, min(len(known), MASKS)).astype(int)].tolist():
        with contextlib.suppress(DataError):  # told where masks are read for their own sake
            mask = source.masks[row]
            step = spacing_of(source, row) if source.volumetric else np.ones(2)
            names = source.masks.classes or {}
            for value, width in _widths(mask, step).items():
                found[names.get(value, f"class {value}")].append(width)
    return {name: float(np.median(widths)) for name, widths in found.items()}


def _widths(mask: NDArray[np.integer], step: NDArray[np.float64]) -> dict[int, float]:
    values = [int(value) for value in np.unique(mask) if value > 0]
    if len(values) > 1 and IGNORED in values:
        values.remove(IGNORED)
    widths = {}
    for value in values:
        inside = mask == value
        box = ndimage.find_objects(inside.astype(np.uint8))[0]
        inner = ndimage.distance_transform_edt(np.pad(inside[box], 1), sampling=step)
        # From the centre of the innermost pixel to that of the next one outside, less half a pixel.
        widths[value] = float(2 * inner.max() - step.min())
    return widths
