"""An encoder from stored pixels to features as one module of torch, all of it traceable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domainjepa.domains.intensity import Asinh, Identity, Intensity, Linear, OwnScale
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.intensity_layer import IntensityLayer


class CentreSquare(nn.Module):
    """The centre square of images of any size at `size` pixels a side, as `FrozenEncoder` cuts it.

    Shrinking averages over the area of a pixel, fractions of pixels included; enlarging is bilinear
    between the centres of pixels (half-pixel, edges repeated): OpenCV's INTER_AREA and
    INTER_LINEAR. Both are linear in the image and separable, so a matrix along each axis does it,
    whatever the size turns out to be when the graph runs.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor, levels: bool = False) -> Tensor:
        """(N, C, H, W) float32, finite -> (N, C, size, size) float32.

        Args:
            images: of any height and width.
            levels: whether they are 8-bit ones divided by 255, which stay so; OpenCV rounds halves
                up where two pixels become one, else to even levels.
        """
        rows, columns = (
            torch.arange(length, dtype=torch.float32, device=images.device)
            for length in images.shape[2:]
        )
        side = torch.minimum(rows[-1], columns[-1]) + 1
        made = self._weights(rows, side) @ images @ self._weights(columns, side).T
        if not levels:
            return made
        made = made * 255
        halved = side == 2 * self.size
        return torch.where(halved, torch.floor(made + 0.5), torch.round(made)) / 255

    def _weights(self, pixels: Tensor, side: Tensor) -> Tensor:
        """(size, length): what each pixel of an axis adds to each pixel of the result.

        Args:
            pixels: (length,): 0, 1, 2 …
            side: of the square, in pixels; it lies in the middle.
        """
        place = (pixels - torch.floor((pixels[-1] + 1 - side) / 2))[None]
        made = torch.arange(self.size, dtype=torch.float32, device=pixels.device)[:, None]
        step = side / self.size
        covered = torch.minimum((made + 1) * step, place + 1) - torch.maximum(made * step, place)
        centre = ((made + 0.5) * step - 0.5).clamp(min=0).minimum(side - 1)
        return torch.where(
            step > 1, covered.clamp(min=0) / step, (1 - (centre - place).abs()).clamp(min=0)
        )


class RawImages(nn.Module):
    """(N, C, *sides) stored values -> (N, D) features; of an encoder of patches (N, D, *positions).

    Of an intensity that each image has for itself, see `OwnScale`, it takes the images after that.
    """

    def __init__(self, encoder: FrozenEncoder, intensity: Intensity) -> None:
        super().__init__()
        card = encoder.card
        own = isinstance(intensity, OwnScale)
        self.intensity = nn.Identity() if own else IntensityLayer(intensity)
        self.backbone, self.standardise = encoder.network
        self.layers = encoder.layers if encoder.output == "patches" else None
        framed = self.layers is None and card.dimensions == 2
        self.square = CentreSquare(card.size) if framed else None
        self.levels = isinstance(intensity, Identity)

    def forward(self, images: Tensor) -> Tensor:
        """Of dtype `input_dtype`."""
        seen = self.intensity(images)
        if self.square is not None:
            seen = self.square(seen, self.levels)
        seen = self.standardise(seen)
        if self.layers is None:
            return self.backbone.probe_features(seen)
        return self.backbone.feature_maps(seen, self.layers)


def input_dtype(intensity: Intensity) -> torch.dtype:
    """What a graph takes: uint8 where images are 8-bit renderings; float32, in which the encoder
    computes; float64 where its numbers need it."""
    if isinstance(intensity, Identity):
        return torch.uint8
    if isinstance(intensity, Linear | Asinh) and intensity.computed_in().itemsize == 8:
        return torch.float64
    return torch.float32
