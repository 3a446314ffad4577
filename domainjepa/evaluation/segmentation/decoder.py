"""A light U-shaped decoder over the feature maps of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import resized

WIDTH = 64
"""Channels of the decoder at every resolution."""
GROUPS = 8
"""Of GroupNorm (Wu and He 2018): crops of volumes leave too few to a batch for BatchNorm."""


class Decoder(nn.Module):
    """Feature maps -> class scores on the finest of their grids.

    From the coarsest map on, each is brought to the grid of the next, joined with it, and convolved
    once (U-Net: Ronneberger et al. 2015, with the lateral projections of Lin et al. 2017).

    Args:
        channels: of the maps, finest first.
        classes: how many there are.
        dimensions: 2 or 3.
    """

    def __init__(self, channels: Sequence[int], classes: int, dimensions: int) -> None:
        super().__init__()
        convolution: Any = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.lateral = nn.ModuleList(convolution(one, WIDTH, 1) for one in channels)
        self.joined = nn.ModuleList(
            nn.Sequential(
                convolution(2 * WIDTH, WIDTH, 3, padding=1, bias=False),
                nn.GroupNorm(GROUPS, WIDTH),
                nn.ReLU(inplace=True),
            )
            for _ in channels[1:]
        )
        self.scores = convolution(WIDTH, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, C_i, *positions) finest first -> (N, K, *positions of the finest)."""
        known = [lateral(one) for lateral, one in zip(self.lateral, maps, strict=True)]
        now = known[-1]
        for finer, block in zip(known[-2::-1], self.joined, strict=True):
            now = block(torch.cat([resized(now, finer.shape[2:]), finer], dim=1))
        return cast(Tensor, self.scores(now))


class Segmenter(nn.Module):
    """An encoder and a decoder: images -> class scores of every pixel.

    Args:
        backbone: with `pyramid`.
        sample: (1, C, *sides) an input that it takes.
        classes: how many there are.
        frozen: whether the encoder stays as it is, its running statistics among it.
    """

    def __init__(self, backbone: Backbone, sample: Tensor, classes: int, frozen: bool) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(not frozen)
        self.frozen = frozen
        with torch.no_grad():
            maps = backbone.eval().pyramid(sample)
        self.multiple = max(round(sample.shape[-1] / one.shape[-1]) for one in maps)
        self.decoder = Decoder([one.shape[1] for one in maps], classes, sample.ndim - 2)

    def train(self, mode: bool = True) -> Segmenter:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, *sides) -> (N, K, *sides); sides that the strides do not divide are padded."""
        sides = images.shape[2:]
        short = [-side % self.multiple for side in sides]
        if any(short):
            pads = [pad for one in reversed(short) for pad in (0, one)]
            images = functional.pad(images, pads, mode="replicate")
        scores = resized(self.decoder(self.backbone.pyramid(images)), images.shape[2:])
        where: Any = (..., *(slice(side) for side in sides))
        return scores[where]
