"""The weights of a network in another of its kind: other channels, image size or stem.

What has the same name and the same shape goes over as it is. Of another shape may be:

- a first convolution, where images have another number of channels: each of the C new channels gets
  the sum of the old kernels over their channels, divided by C. So a grey image looks the same,
  however many channels repeat it, and no channel is taken for red, green or blue.
- the kernel of patches, where the stem is another: resampled such that patches that are resampled
  likewise keep their tokens (FlexiViT, Beyer et al. 2023, arXiv:2212.08013, section 3.4).
- position embeddings, and tables of relative positions in a window: resampled to the new grid.

A convolutional stem whose stride was divided has the kernels that it had. Any other shape is
refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from timm.layers.patch_embed import resample_patch_embed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from torch import Tensor, nn

from domainjepa.errors import UserError


@dataclass(frozen=True)
class Fit:
    """What became of the tensors.

    Attributes:
        matched: how many went over as they are.
        adapted: those that changed their shape, and how.
        missing: those of the network that the weights do not have: they stay as they were drawn.
        unused: those of the weights that the network has no place for.
    """

    matched: int
    adapted: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def told(self) -> str:
        """In words, for a plan."""
        parts = [f"{self.matched} tensors as they are"]
        for what, names in (
            ("adapted", self.adapted),
            ("not there, so drawn at random", self.missing),
            ("without a place here", self.unused),
        ):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                parts.append(f"{what}: {', '.join(names[:3])}{more}")
        return "; ".join(parts)

    def plain(self) -> dict[str, Any]:
        """As plain data, for a card."""
        return {
            name: list(of) if isinstance(of, tuple) else of for name, of in asdict(self).items()
        }


@torch.no_grad()
def transfer(net: nn.Module, given: Mapping[str, Tensor], channels: int) -> Fit:
    """Put weights into a network, in place.

    Args:
        net: takes images of `channels` channels.
        given: name -> tensor, named as in `net`.
        channels: of the images.

    Raises:
        UserError: a tensor of another shape that no rule adapts, or nothing fits.
    """
    own = net.state_dict()
    weights = {name for name, _ in net.named_parameters()}
    fitting: dict[str, Tensor] = {}
    adapted: list[str] = []
    for name in own.keys() & given.keys():
        tensor, wanted = given[name], own[name].shape
        if tensor.shape == wanted:
            fitting[name] = tensor
        elif name in weights:
            fitting[name] = _adapted(net, name, tensor.float(), wanted, channels)
            adapted.append(f"{name} {_sides(tensor.shape)} -> {_sides(wanted)}")
        else:
            adapted.append(f"{name} made for this size")
    if not fitting.keys() & weights:
        raise UserError("none of the weights has a place in this network.")
    net.load_state_dict(fitting, strict=False)
    return Fit(
        matched=len(fitting.keys() & given.keys()) - sum("->" in one for one in adapted),
        adapted=tuple(sorted(adapted)),
        missing=tuple(sorted(own.keys() - given.keys())),
        unused=tuple(sorted(given.keys() - own.keys())),
    )


def over_channels(kernel: Tensor, channels: int) -> Tensor:
    """(O, old, ...) -> (O, channels, ...): the sum over the channels stays, shared alike."""
    return (kernel.sum(1, keepdim=True) / channels).expand(-1, channels, *kernel.shape[2:])


def _adapted(
    net: nn.Module, name: str, tensor: Tensor, wanted: torch.Size, channels: int
) -> Tensor:
    found = tensor
    if found.ndim >= 4 and len(wanted) == found.ndim and wanted[1] == channels != found.shape[1]:
        found = over_channels(found, channels)
    if name.endswith("patch_embed.proj.weight") and found.ndim == 4 == len(wanted):
        found = resample_patch_embed(found, list(wanted[2:]))
    elif name.endswith("pos_embed") and found.ndim == 3:
        found = _on_another_grid(net, found, wanted)
    elif name.endswith("relative_position_bias_table"):
        owner = cast(Any, net.get_submodule(name.rpartition(".")[0]))
        found = resize_rel_pos_bias_table(found, owner.window_size, tuple(wanted))
    if found.shape != wanted:
        raise UserError(
            f"{name} is {_sides(tensor.shape)} in the weights and {_sides(wanted)} in this "
            "network, and there is no rule that makes one of the other. Choose the image size "
            "(views.global_size) and the stem (backbone.stem_reduction) that they were made with."
        )
    return found


def _on_another_grid(net: nn.Module, embedding: Tensor, wanted: torch.Size) -> Tensor:
    """(1, tokens, D) of a square grid, any CLS and register tokens first."""
    grid = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if grid is None:
        return embedding
    prefix = wanted[1] - math.prod(grid)
    if prefix < 0 or math.isqrt(embedding.shape[1] - prefix) ** 2 != embedding.shape[1] - prefix:
        return embedding
    found: Tensor = resample_abs_pos_embed(embedding, list(grid), num_prefix_tokens=prefix)
    return found


def _sides(shape: torch.Size) -> str:
    return "x".join(map(str, shape))
