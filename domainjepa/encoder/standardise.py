"""Channel standardisation: the last step before the backbone, in a run and in a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Channel standardisation with the data set's own numbers, right before the backbone."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], dimensions: int = 2) -> None:
        """
        Args:
            mean: C numbers on the 0..1 scale (uint8 is divided by 255 first).
            std: likewise.
            dimensions: 2 for images, 3 for volumes.
        """
        super().__init__()
        shape = (-1, *[1] * dimensions)
        self.register_buffer("mean", torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(shape), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(..., C, H, W) or (..., C, D, H, W) uint8 or float -> float32, the same memory layout."""
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        return (images.float() - self.mean * scale) / (self.std * scale)
