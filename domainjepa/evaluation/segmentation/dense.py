"""Who gives patch features: our encoders, published ones, anyone's with a method `patches`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from domainjepa import devices
from domainjepa.backbones.feature_maps import Layers, grid_of, grids_of, stages
from domainjepa.data.source import Image, Source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.patches import Patches
from domainjepa.encoder.sliding import patches_of
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.encoders.published import TimmEncoder
from domainjepa.evaluation.protocol import PatchFeatures
from domainjepa.evaluation.segmentation.grid_check import keeps
from domainjepa.evaluation.segmentation.seen import Seen
from domainjepa.evaluation.splits import Rows
from domainjepa.views.resampling import spacing_of

LAST_BLOCKS = 4
"""Of transformers, as Oquab et al. (2023, arXiv:2304.07193) read DINOv2 for segmentation."""


class Dense(Protocol):
    """An encoder that answers patch by patch. Its maps are cached where it has a `sha256`."""

    @property
    def name(self) -> str:
        """As tables show it."""

    def patches(self, images: Any, /) -> Iterator[Patches]:
        """(H, W, C) images, or a source -> the features of each, in order."""


def dense(encoder: Encoder, reading: PatchFeatures, seen: Seen, train: Rows) -> Dense | None:
    """An encoder's patch features, read as a protocol says; None of one that has none.

    Args:
        seen: masks, by which the layers are chosen where the protocol leaves it to them.
        train: rows of the training images, whose masks alone are asked.
    """
    row = int(train[0])
    if isinstance(encoder, FrozenEncoder):
        card, scale = encoder.card, reading.scale or 1.0
        step = 1 / scale
        if card.spacing is not None:
            step *= card.spacing / float(np.median(spacing_of(seen.source, row)))
        net, channels = encoder.network[0].net, len(card.mean)
        layers = reading.layers
        if layers == "auto":
            layers = _stages(net, channels, card.size, card.dimensions, step, keeps(seen, train))
        twin = encoder.__sklearn_clone__()
        twin.set_params(output="patches", layers=layers, scale=scale)
        return twin
    if isinstance(encoder, TimmEncoder):
        side = encoder.side
        layers = reading.layers
        if layers == "auto":
            step = 1 / (reading.scale or max(side / min(seen.source.sides(row)), 1.0))
            layers = _stages(encoder.network.net, 3, side, 2, step, keeps(seen, train))
        return DenseTimm(encoder, layers, reading.scale)
    return encoder if hasattr(encoder, "patches") else None  # type: ignore[return-value]


def _stages(
    net: nn.Module,
    channels: int,
    size: int,
    dimensions: int,
    step: float,
    kept: Callable[[float], bool],
) -> tuple[int, ...]:
    """The coarsest stage whose grid keeps the masks, and all after it; the last four blocks of a
    network whose stages have one grid.

    Args:
        step: stored pixels in a pixel that the network sees.
    """
    strides = [one.stride for one in grids_of(net, channels, size, dimensions, stages)]
    number = len(strides)
    if len(set(strides)) == 1:
        return tuple(range(max(number - LAST_BLOCKS, 0), number))
    fine = [stage for stage, stride in enumerate(strides) if kept(stride * step)]
    return tuple(range(max(fine, default=0), number))


class DenseTimm:
    """The feature maps of a published network, of images prepared as its authors did.

    An image that is smaller than the network's own (`NAME@PIXELS`: of so many pixels a side) is
    enlarged to it on its shorter side; a larger one is seen as it is, through windows of that size.

    Args:
        encoder: the network.
        layers: see `domainjepa.backbones.feature_maps`.
        scale: by what images are enlarged, whatever their size.
    """

    def __init__(self, encoder: TimmEncoder, layers: Layers, scale: float | None = None) -> None:
        self.encoder, self.layers, self.scale = encoder, layers, scale
        self.name = encoder.name

    @property
    def sha256(self) -> str:
        """Of all that the features depend on besides the images."""
        return f"{self.encoder.sha256} {self.layers} {self.scale}"

    def patches(self, images: Source | Sequence[Image]) -> Iterator[Patches]:
        """(H, W, C) images -> the features of each."""
        network = self.encoder.network
        size = self.encoder.side
        grid = grid_of(network.net, 3, size, 2, self.layers)
        where = devices.choose("auto")
        network.to(where).eval()
        with torch.inference_mode():
            for place in range(len(images)):
                image = np.asarray(images[place])
                scale = self.scale or max(size / min(image.shape[:2]), 1.0)
                shown = enlarged(self.encoder.prepare_whole(image), scale).to(where)
                found = patches_of(
                    shown[None], lambda some: network.feature_maps(some, self.layers), grid, size
                )
                pitch = tuple(
                    side * grid.stride / now
                    for side, now in zip(image.shape[:2], shown.shape[1:], strict=True)
                )
                yield Patches(_last(found[0]), pitch)


def enlarged(image: Tensor, scale: float) -> Tensor:
    """(C, H, W) -> (C, H * scale, W * scale), bicubic."""
    if scale == 1:
        return image
    sides = [max(round(side * scale), 1) for side in image.shape[1:]]
    found = functional.interpolate(
        image[None], sides, mode="bicubic", align_corners=False, antialias=scale < 1
    )
    return found[0]


def _last(found: Tensor) -> NDArray[np.float32]:
    """(D, *positions) -> (*positions, D)."""
    return np.ascontiguousarray(found.float().movedim(0, -1).numpy())
