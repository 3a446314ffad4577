"""What a network computes position by position: its feature maps, whoever wrote the network.

A stage is what timm counts as one: a resolution of a convolutional or hierarchical network, a block
of a ViT, whose patch tokens are laid out as a map; class and register tokens are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from domainjepa.backbones import monai_networks
from domainjepa.errors import UserError

Layers = Literal["last"] | int | Sequence[int]
"""`last`, the map that the network pools; or stages, counted as Python does: -1 is the last."""

Read = Callable[[nn.Module, Tensor], list[Tensor]]
"""(network, images) -> maps (N, D, *positions)."""

LARGE = 256
"""Pixels a side of the image that a stride is measured on: a small one leaves 4 positions of 28
pixels to a stride of 8."""
LINEAR = {2: "bilinear", 3: "trilinear"}
_REFUSED = (RuntimeError, AssertionError, ValueError, IndexError, TypeError, AttributeError)


class Grid(NamedTuple):
    """The positions of a network's maps.

    Attributes:
        stride: pixels of the image from position to position.
        fixed: whether the network takes images of one size alone.
        width: features of a position.
        coarsest: the largest stride of the maps that were brought to one grid. They lie where they
            should in images whose sides are multiples of it.
    """

    stride: int
    fixed: bool
    width: int
    coarsest: int = 1


def feature_maps(net: nn.Module, images: Tensor, layers: Layers = "last") -> Tensor:
    """(N, C, H, W) or (N, C, D, H, W) standardised -> (N, D, h, w) or (N, D, d, h, w).

    Several stages are concatenated, in the network's order; coarser ones are brought to the finest
    grid linearly (hypercolumns: Hariharan et al. 2015, arXiv:1411.5752).

    Raises:
        UserError: a network that does not show its maps, or has no such stage.
    """
    return hypercolumn(_chosen(net, images, layers))


def _chosen(net: nn.Module, images: Tensor, layers: Layers) -> list[Tensor]:
    if layers == "last":
        return [_last(net, images)]
    return stages(net, images, [layers] if isinstance(layers, int) else list(layers))


def stages(net: nn.Module, images: Tensor, wanted: Sequence[int] | None = None) -> list[Tensor]:
    """The maps of some stages, or of all, in the network's order: (N, D_i, *positions) each.

    Raises:
        UserError: a network that does not show its maps, or has no such stage.
    """
    parts = cast(Any, net)
    if (shown := monai_networks.maps(net, images)) is not None:
        return [shown[stage] for stage in _counted(wanted, len(shown))]
    if not hasattr(parts, "forward_intermediates"):
        if not hasattr(parts, "forward_features"):
            raise UserError(
                f"{type(net).__name__} does not show its feature maps: give it a method "
                "forward_features(images) -> (N, D, *positions)."
            )
        _counted(wanted, 1)
        return [_last(net, images)]
    chosen = _counted(wanted, len(parts.feature_info))
    try:
        found = _intermediates(parts, images, chosen, norm=True)
    except AssertionError:  # a network whose last norm does not fit the earlier stages
        found = _intermediates(parts, images, chosen, norm=False)
    return found


def hypercolumn(maps: Sequence[Tensor]) -> Tensor:
    """(N, D_i, *positions) maps -> one on the finest grid, (N, sum of D_i, *positions)."""
    finest = max((one.shape[2:] for one in maps), key=math.prod)
    return torch.cat([resized(one, finest) for one in maps], dim=1)


def resized(maps: Tensor, sides: Sequence[int]) -> Tensor:
    """(N, D, *positions) -> (N, D, *sides): linear, and an average where it is made coarser.

    The outer edges coincide, so a position keeps its place in the image.
    """
    if maps.shape[2:] == tuple(sides):
        return maps
    if all(now % then == 0 for now, then in zip(maps.shape[2:], sides, strict=True)):
        kernel = tuple(now // then for now, then in zip(maps.shape[2:], sides, strict=True))
        pool = functional.avg_pool2d if len(kernel) == 2 else functional.avg_pool3d
        return cast(Callable[..., Tensor], pool)(maps, kernel)
    return functional.interpolate(
        maps, tuple(sides), mode=LINEAR[maps.ndim - 2], align_corners=False
    )


def pyramid(net: nn.Module, images: Tensor) -> list[Tensor]:
    """Feature maps of strides that grow by 2, the finest first: (N, C_i, *positions) each.

    Of stages with one stride the deepest is taken, as timm's `features_only` does. The blocks of a
    ViT all have the stride of its patches: those at a quarter, half, three quarters and all of its
    depth are resized to a quarter, half, one and two times that stride, without weights; no stride
    is below one pixel.

    Raises:
        UserError: a network that does not show its maps.
    """
    every = stages(net, images)
    sizes = [tuple(one.shape[2:]) for one in every]
    if len(set(sizes)) > 1 or len(every) < 4:
        last = dict(zip(sizes, every, strict=True))
        return sorted(last.values(), key=lambda one: -math.prod(one.shape[2:]))
    chosen = [every[math.ceil(len(every) * part / 4) - 1] for part in (1, 2, 3, 4)]
    patch = 2 ** round(math.log2(images.shape[-1] / sizes[0][-1]))
    strides = [patch // 4, patch // 2, patch, patch * 2]
    sides = [[max(side // max(s, 1), 1) for side in images.shape[2:]] for s in strides]
    return [
        resized(stage, to) for stage, to, s in zip(chosen, sides, strides, strict=True) if s >= 1
    ]


def grid_of(net: nn.Module, channels: int, size: int, dimensions: int, layers: Layers) -> Grid:
    """Where the positions of the chosen layers lie, side by side on the finest grid of them; see
    `grids_of`."""

    def read(net: nn.Module, images: Tensor) -> list[Tensor]:
        return _chosen(net, images, layers)

    grids = grids_of(net, channels, size, dimensions, read)
    strides = [one.stride for one in grids]
    fixed, width = any(one.fixed for one in grids), sum(one.width for one in grids)
    return Grid(min(strides), fixed, width, max(strides))


def grids_of(
    net: nn.Module, channels: int, size: int, dimensions: int, read: Read = pyramid
) -> list[Grid]:
    """Where the positions of maps lie, those of the pyramid unless others are read.

    Measured on images without content, for the stem of a network may have been thinned.

    Args:
        net: the network.
        channels: of its input.
        size: pixels a side of the images that it was made for.
        dimensions: 2 or 3.
        read: (network, images) -> maps.

    Raises:
        UserError: a network that does not show its maps, or has no such stage.
    """
    large = size * max(math.ceil(LARGE / size), 2)
    training = net.training
    net.eval()
    try:
        found = _shapes(net, [large, channels, dimensions], read, without_weights=True)
        fixed = found is None
        if found is None:
            large = size
            found = _shapes(net, [size, channels, dimensions], read, without_weights=False)
        shapes = cast(list[torch.Size], found)
        strides = [_nearest_stride(net, large / one[-1]) for one in shapes]
        return [
            Grid(stride, fixed, one[1], stride) for stride, one in zip(strides, shapes, strict=True)
        ]
    finally:
        net.train(training)


class _Reading(nn.Module):
    """What is read of a network as a module, for `functional_call`."""

    def __init__(self, net: nn.Module, read: Read) -> None:
        super().__init__()
        self.net, self.read = net, read

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.read(self.net, images)


@torch.no_grad()
def _shapes(
    net: nn.Module, image: list[int], read: Read, without_weights: bool
) -> list[torch.Size] | None:
    """The shapes of maps.

    Args:
        image: pixels a side, channels, dimensions.
        without_weights: on torch's meta device, where nothing is computed but shapes; None comes
            back where the network does not take the image, or the device.
    """
    pixels, channels, dimensions = image
    reading = _Reading(net, read)
    where = "meta" if without_weights else next(net.parameters()).device
    blank = torch.zeros(1, channels, *[pixels] * dimensions, device=where)
    if not without_weights:
        return [one.shape for one in reading(blank)]
    held = {**dict(reading.named_parameters()), **dict(reading.named_buffers())}
    empty = {name: torch.empty_like(one, device="meta") for name, one in held.items()}
    try:
        return [one.shape for one in torch.func.functional_call(reading, empty, (blank,))]
    except UserError:
        raise
    except _REFUSED:
        return None


def _nearest_stride(net: nn.Module, ratio: float) -> int:
    """The stride behind a ratio of sides, which borders change: a power of two, times patches."""
    own: Any = getattr(getattr(net, "patch_embed", None), "patch_size", None) or 1
    unit = int(own[-1] if isinstance(own, Sequence) else own)
    candidates: list[int] = [base * 2**power for base in (1, unit) for power in range(9)]
    return min(candidates, key=lambda one: abs(math.log(ratio / one)))


def _last(net: nn.Module, images: Tensor) -> Tensor:
    """What the network pools."""
    parts = cast(Any, net)
    if (shown := monai_networks.maps(net, images)) is not None:
        return shown[-1]
    if hasattr(parts, "forward_features") and not hasattr(parts, "num_prefix_tokens"):
        found = parts.forward_features(images)
        if isinstance(found, Tensor) and found.ndim == images.ndim:
            bands_last = getattr(parts, "output_fmt", "NCHW") == "NHWC"
            return found.movedim(-1, 1) if bands_last else found
    return stages(net, images, [-1])[0]


def _intermediates(net: Any, images: Tensor, chosen: list[int], norm: bool) -> list[Tensor]:
    return list(
        net.forward_intermediates(
            images, indices=chosen, norm=norm, output_fmt="NCHW", intermediates_only=True
        )
    )


def _counted(wanted: Sequence[int] | None, count: int) -> list[int]:
    """Stages from 0 on, in the network's order; all where none is named."""
    if wanted is None:
        return list(range(count))
    wrong = [stage for stage in wanted if not -count <= stage < count]
    if wrong or not wanted:
        raise UserError(
            f"layers={wrong or list(wanted)}: this network has {count} stages, 0 to {count - 1}, "
            f"or {-count} to -1 from the end; or choose layers='last', the map that it pools."
        )
    return sorted({stage % count for stage in wanted})
