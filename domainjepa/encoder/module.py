"""A pretrained backbone as a module of torch, for a decoder, a head or a loop of one's own."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import Layers, grids_of, resized
from domainjepa.domains.intensity import load_intensity
from domainjepa.encoder.artefact import EncoderCard
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.intensity_layer import IntensityLayer
from domainjepa.encoder.standardise import Standardise


class BackboneModule(nn.Module):
    """A backbone behind its own intensity and standardisation.

    All methods take (N, C, H, W), of an encoder of volumes (N, C, D, H, W) with voxels of
    `card.spacing` millimetres: stored values in their own unit, or, without the intensity, values
    on the 0..1 scale. Sides may differ from `card.size` unless the network takes that size alone.

    Attributes:
        card: what the encoder's file says.
        channels, strides: of the maps of `pyramid`; a stride is pixels from position to position.
        level_channels: of the maps of `levels`.
    """

    def __init__(self, card: EncoderCard, backbone: Backbone, intensity: bool) -> None:
        super().__init__()
        self.card = card
        self.intensity = (
            IntensityLayer(load_intensity(card.intensity)) if intensity else nn.Identity()
        )
        self.standardise = Standardise(card.mean, card.std, card.dimensions)
        self.backbone = backbone
        grids = grids_of(backbone.net, len(card.mean), card.size, card.dimensions)
        self.channels = tuple(grid.width for grid in grids)
        self.strides = tuple(grid.stride for grid in grids)
        own = dict(zip(self.strides, self.channels, strict=True))
        self.level_channels = tuple(own.get(s, len(card.mean)) for s in self._level_strides)

    def forward(self, images: Tensor) -> Tensor:
        """(N, D): the pooled features that `FrozenEncoder` gives."""
        return self.backbone.probe_features(self._seen(images))

    def forward_features(self, images: Tensor, layers: Layers = "last") -> Tensor:
        """(N, D, *positions): the map that is pooled, or other layers; see `FrozenEncoder`."""
        return self.backbone.feature_maps(self._seen(images), layers)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Maps of growing stride, finest first: (N, channels[i], *positions) each."""
        return self.backbone.pyramid(self._seen(images))

    def levels(self, images: Tensor) -> list[Tensor]:
        """A map for every power of two from 1 to the last stride, as U-shaped decoders take them.

        Where the pyramid has none, the input stands in, averaged down to that stride. Sides are
        multiples of the last stride, or decoders that double them do not come out at the same.
        """
        seen = self._seen(images)
        own = dict(zip(self.strides, self.backbone.pyramid(seen), strict=True))
        sides = seen.shape[2:]
        return [
            own[s] if s in own else resized(seen, [max(side // s, 1) for side in sides])
            for s in self._level_strides
        ]

    @property
    def _level_strides(self) -> list[int]:
        return [2**power for power in range(self.strides[-1].bit_length())]

    def _seen(self, images: Tensor) -> Tensor:
        seen: Tensor = self.standardise(self.intensity(images))
        return seen


def load_backbone(encoder: str | Path, *, intensity: bool = True) -> BackboneModule:
    """The backbone of a run as a module: every weight takes gradients, dropout and norms are off.

    Call `.train()` before training it, or `.requires_grad_(False)` to keep it as it is.

    Args:
        encoder: a run folder or an `encoder.safetensors`.
        intensity: whether its first layer takes stored values; else it takes the 0..1 scale.

    Raises:
        UserError: no encoder, or a network that does not show its feature maps.
    """
    frozen = FrozenEncoder(encoder)
    backbone, _ = frozen.network
    return BackboneModule(frozen.card, backbone.requires_grad_(True), intensity).eval()
