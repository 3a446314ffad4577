"""Plain vision transformers of volumes, named `vit3d_SIZE_patchN`, for views of any size.

As in two dimensions (Dosovitskiy et al. 2021, arXiv:2010.11929), with cubes of voxels in the place
of patches. Positions are computed, not learned: so a global view, a local one and a whole scan go
through the same weights, and none of them is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from timm.models import checkpoint
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from domainjepa.backbones.stem import Traits
from domainjepa.config import VOLUME_TRANSFORMERS, BackboneConfig
from domainjepa.errors import ConfigError, did_you_mean

PREFIX = VOLUME_TRANSFORMERS
_WIDTHS = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
"""Features and heads, as in DeiT (Touvron et al. 2021, arXiv:2012.12877) and ViT-B."""
_DEPTH = 12
_NAMES = {f"{PREFIX}{size}_patch{patch}": (size, patch) for patch in (8, 16) for size in _WIDTHS}
WAVES = 10_000.0
"""The longest of the waves that positions are told by is nearly this, times 2 pi patches (Vaswani
et al. 2017, arXiv:1706.03762)."""


def names() -> list[str]:
    """All of them."""
    return list(_NAMES)


def traits(name: str) -> Traits:
    """The traits of a network.

    Raises:
        ConfigError: no such network.
    """
    if name not in _NAMES:
        raise ConfigError(f"unknown backbone {name!r}.{did_you_mean(name, names())}")
    patch = _NAMES[name][1]
    return Traits(patch, transformer=True, patch=patch, dimensions=3)


def build(config: BackboneConfig, channels: int, reduction: int) -> nn.Module:
    """The network, (N, C, D, H, W) -> (N, dim), with the stride of its patches divided."""
    size, patch = _NAMES[config.name]
    width, heads = _WIDTHS[size]
    return VolumeViT(channels, patch // reduction, width, _DEPTH, heads, config.drop_path)


def positions(sides: Sequence[int], width: int, device: torch.device | str = "cpu") -> Tensor:
    """Sines and cosines of where each patch lies, counted in patches from the middle of the grid.

    A sixth of the features each: sine and cosine of d, of h and of w, at frequencies that fall from
    1 to nearly 1 / `WAVES` in equal ratios (MoCo v3: Chen et al. 2021, arXiv:2104.02057, with
    another axis); what does not divide by six is 0. A patch is as far from its neighbour in a small
    view as in a large one.

    Args:
        sides: (D, H, W) of the grid.
        width: features, 6 or more.
        device: where they are made.

    Returns:
        (D * H * W, width) float32, in the order of a flattened grid.
    """
    count = width // 6
    steps = torch.arange(count, dtype=torch.float32, device=device)
    frequencies = WAVES ** (-steps / count)
    told = []
    for axis, side in enumerate(sides):
        places = torch.arange(side, dtype=torch.float32, device=device) - (side - 1) / 2
        angles = places[:, None] * frequencies
        shape = [1, 1, 1, 2 * count]
        shape[axis] = side
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        told.append(waves.reshape(shape).expand(*sides, -1))
    told.append(torch.zeros(*sides, width - 6 * count, device=device))
    return torch.cat(told, dim=3).flatten(0, 2)


class Cubes(nn.Module):
    """Cubes of voxels to tokens: (N, C, D, H, W) -> (N, width, d, h, w)."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch_size = (patch,) * 3
        self.proj = nn.Conv3d(channels, width, patch, patch)

    def forward(self, volumes: Tensor) -> Tensor:
        patch = self.patch_size[0]
        if any(side % patch or not side for side in volumes.shape[2:]):
            sides = "x".join(map(str, volumes.shape[2:]))
            raise ValueError(f"it takes multiples of {patch} voxels a side, not {sides}")
        tokens: Tensor = self.proj(volumes)
        return tokens


class VolumeViT(nn.Module):
    """A pre-norm ViT of volumes whose CLS token is the feature vector.

    It speaks timm's language (`forward_intermediates`, `group_matcher`, …), so the rest of the
    house treats it as one of timm's.

    Args:
        channels: of the volumes.
        patch: voxels a side of a patch.
        width: features of a token.
        depth: blocks.
        heads: of the attention.
        drop_path: probability that the last block is skipped; earlier ones less, linearly (Huang et
            al. 2016, arXiv:1603.09382).
    """

    num_prefix_tokens = 1

    def __init__(
        self, channels: int, patch: int, width: int, depth: int, heads: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.patch_embed = Cubes(channels, patch, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        norm = cast(type[nn.Module], partial(nn.LayerNorm, eps=1e-6))  # timm asks for no more
        rates = [drop_path * block / max(depth - 1, 1) for block in range(depth)]
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, norm_layer=norm, drop_path=rate) for rate in rates
        )
        self.norm = norm(width)
        self.feature_info = [
            {"module": f"blocks.{block}", "num_chs": width, "reduction": patch}
            for block in range(depth)
        ]
        self.grad_checkpointing = False
        nn.init.normal_(self.cls_token, std=1e-6)
        for part in self.blocks.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)

    def forward(self, volumes: Tensor) -> Tensor:
        """(N, C, D, H, W) with sides that are multiples of the patch -> (N, width)."""
        return self.forward_features(volumes)[:, 0]

    def forward_features(self, volumes: Tensor) -> Tensor:
        """(N, 1 + patches, width): the CLS token first."""
        tokens = self._tokens(volumes)
        for block in self.blocks:
            tokens = self._through(block, tokens)
        normed: Tensor = self.norm(tokens)
        return normed

    def forward_intermediates(
        self,
        volumes: Tensor,
        indices: int | list[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = True,
    ) -> list[Any]:
        """What blocks yield, as timm's networks tell it.

        Args:
            volumes: (N, C, D, H, W).
            indices: blocks; the last so many where it is one number, all for None.
            return_prefix_tokens: pairs with the CLS tokens (N, 1, width).
            norm: by the norm behind the last block.
            output_fmt: `NCHW` for maps (N, width, d, h, w), `NLC` for tokens.
            intermediates_only: always; there for timm's callers.
        """
        every = range(len(self.blocks))
        if isinstance(indices, int):
            indices = list(every[-indices:])
        wanted = {every[index] for index in (every if indices is None else indices)}
        patch = self.patch_embed.patch_size[0]
        sides = [side // patch for side in volumes.shape[2:]]
        tokens, found = self._tokens(volumes), []
        for number, block in enumerate(self.blocks[: max(wanted) + 1]):
            tokens = self._through(block, tokens)
            if number in wanted:
                shown = self.norm(tokens) if norm else tokens
                patches: Tensor = shown[:, 1:]
                if output_fmt == "NCHW":
                    maps = patches.transpose(1, 2)
                    patches = maps.reshape(*maps.shape[:2], *sides)
                found.append((patches, shown[:, :1]) if return_prefix_tokens else patches)
        return found

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks are computed again in the backward pass."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which weights make a layer; see `domainjepa.backbones.layers`."""
        blocks = [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))]
        return {"stem": r"^cls_token|^patch_embed", "blocks": blocks}

    def no_weight_decay(self) -> set[str]:
        return {"cls_token"}

    def _tokens(self, volumes: Tensor) -> Tensor:
        cubes = self.patch_embed(volumes)
        places = positions(cubes.shape[2:], cubes.shape[1], cubes.device)
        # In the weights' precision: autocast leaves too few digits to tell places apart.
        patches = cubes.flatten(2).transpose(1, 2) + places.to(self.cls_token.dtype)
        return torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)

    def _through(self, block: nn.Module, tokens: Tensor) -> Tensor:
        again = self.grad_checkpointing and torch.is_grad_enabled()
        through: Tensor = checkpoint(block, tokens) if again else block(tokens)
        return through
