"""Stems for small images, in two and in three dimensions.

A stem made for photographs of 224 px divides the image by 4 to 16 before the first block and by 32
before the last. Of a 64 px galaxy a ResNet would keep 2 x 2 positions. The rule here: the stem's
stride is divided by 1, 2 or 4, the smallest that keeps at least 4 positions a side of a whole image
as it is seen by default: smaller views of it keep that stride and so are less work. Of volumes 2 a
side do, which are 8 positions: each halving multiplies the work by eight.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from domainjepa.config import BackboneConfig

MIN_POSITIONS = {2: 4, 3: 2}
"""Positions a side of the last feature map that the stem must leave of a global view, by dimensions
of the image."""


@dataclass(frozen=True)
class Traits:
    """What must be known of a network before the sizes of the views are.

    Attributes:
        stride: pixels of the image to one position of the last feature map.
        transformer: whether it is made of attention; decides the weight decay.
        patch: pixels a side of a patch token, 1 for networks that take any size.
        dimensions: 2 for images, 3 for volumes.
        stem: by what the rule may divide the stem's stride at most.
    """

    stride: int
    transformer: bool
    patch: int
    dimensions: int = 2
    stem: int = 4


def stem_reduction(config: BackboneConfig, stride: int, size: int, dimensions: int = 2) -> int:
    """By what the stem's stride is divided for images, or volumes, of this size."""
    if config.stem_reduction != "auto":
        return config.stem_reduction
    wanted = MIN_POSITIONS[dimensions] * stride
    return next((r for r in (1, 2) if size * r >= wanted), 4)


def thin_stem(net: nn.Module, reduction: int) -> None:
    """Divide the stem's stride: first its pooling goes, then its convolutions lose their stride."""
    if reduction > 1 and isinstance(getattr(net, "maxpool", None), nn.Module):
        net.maxpool = nn.Identity()
        reduction //= 2
    for part in net.modules():
        if reduction == 1:
            return
        if isinstance(part, (nn.Conv2d, nn.Conv3d)) and part.stride[0] > 1:
            step = min(reduction, part.stride[0])
            kernel, stride = part.kernel_size[0], part.stride[0] // step
            part.stride = (stride,) * len(part.stride)
            # Patch stems pad nothing: with overlapping patches the borders need it.
            padding = max(-(-(kernel - stride) // 2), 0)
            part.padding = (padding,) * len(part.stride)
            reduction //= step
