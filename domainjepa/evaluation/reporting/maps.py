"""What an encoder sees where: its features position by position, and where it looks.

Dense features are those of the deepest layer that still has 8 positions a side. Their first three
principal components, over all images that are shown together, become red, green and blue: parts of
one colour are alike to the encoder (Oquab et al. 2023, arXiv:2304.07193, figure 1). Attention is
that of the class token to the patches in the last block, the mean over heads; a network without a
class token shows how alike each position is to the pooled feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import stages
from domainjepa.data.source import Image
from domainjepa.errors import UserError
from domainjepa.evaluation.probes.finetune import Prepare

Array = NDArray[np.float32]

POSITIONS = 8
"""A side that a layer must have to be looked at, where any has."""


@dataclass(frozen=True)
class Maps:
    """Of some images.

    Attributes:
        features: (N, h, w, D) dense features.
        focus: (N, h', w'), 0 to 1 in each image.
        focus_is: "attention", or "likeness" to the pooled feature.
    """

    features: Array
    focus: Array
    focus_is: str


@torch.inference_mode()
def look(backbone: Backbone, prepare: Prepare, images: Sequence[Image]) -> Maps | None:
    """Dense features and focus of an encoder over images.

    Args:
        backbone: of images (2-D).
        prepare: what turns images into its input.
        images: (H, W, C) each.

    Returns:
        None for a network that does not show its layers.
    """
    net = cast(Any, backbone.net)
    backbone.eval()
    batch = prepare(images)
    batch = batch.to(next(net.parameters(), batch).device)
    with _recorded_attention(net) as recorded:
        try:
            layers = stages(net, batch)
        except (UserError, RuntimeError, AssertionError, TypeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            return None  # a network that shows no layers, or not in timm's way
    deep = [layer for layer in layers if min(layer.shape[-2:]) >= POSITIONS]
    # The deepest of all, unless it is too coarse; else the finest there is.
    chosen: Tensor = deep[-1] if deep else max(layers, key=lambda layer: layer.shape[-1])
    features = chosen.permute(0, 2, 3, 1).float().cpu()
    if recorded:
        weights = recorded[-1].float().mean(1)[:, 0, -chosen[0, 0].numel() :]
        focus = weights.reshape(len(batch), *chosen.shape[-2:]).cpu().numpy()
        return Maps(features.numpy(), _scaled(focus), "attention")
    pooled = features.mean(dim=(1, 2), keepdim=True)
    likeness = functional.cosine_similarity(features, pooled, dim=-1, eps=1e-12)
    return Maps(features.numpy(), _scaled(likeness.numpy()), "likeness")


@contextmanager
def _recorded_attention(net: nn.Module) -> Iterator[list[Tensor]]:
    """Attention weights (N, heads, L, L) of the last block, where a ViT has a class token.

    The fused kernel never writes them down, so it is switched off for the while.
    """
    recorded: list[Tensor] = []
    blocks = getattr(net, "blocks", None)
    last: Any = blocks[-1] if blocks is not None and len(blocks) else None
    attention: Any = getattr(last, "attn", None)
    if getattr(net, "cls_token", None) is None or not hasattr(attention, "attn_drop"):
        yield recorded
        return
    fused = getattr(attention, "fused_attn", None)
    hook = attention.attn_drop.register_forward_pre_hook(
        lambda _, inputs: recorded.append(inputs[0])
    )
    attention.fused_attn = False
    try:
        yield recorded
    finally:
        attention.fused_attn = fused
        hook.remove()


def principal_colours(features: Array) -> NDArray[np.uint8]:
    """(N, h, w, D) dense features -> (N, h, w, 3), the first three components as colours.

    One colour means one thing in all N images. The sign of each component is set so that its
    largest weight is positive, or another library version could turn the colours round.
    """
    from sklearn.decomposition import PCA

    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    components = min(3, *flat.shape)
    model = PCA(components, svd_solver="full").fit(flat)
    largest = np.abs(model.components_).argmax(axis=1)
    signs = np.sign(model.components_[np.arange(components), largest])
    values = np.zeros((len(flat), 3))
    values[:, :components] = model.transform(flat) * np.where(signs == 0, 1, signs)
    low, high = np.percentile(values, (1, 99), axis=0)
    scaled = (values - low) / np.where(high > low, high - low, 1)
    colours: NDArray[np.uint8] = (scaled.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return colours.reshape(*features.shape[:-1], 3)


def _scaled(focus: NDArray[Any]) -> Array:
    """0 to 1 in each image; 0 where it is the same everywhere."""
    low = focus.min(axis=(1, 2), keepdims=True)
    high = focus.max(axis=(1, 2), keepdims=True)
    scaled: Array = ((focus - low) / np.maximum(high - low, 1e-12)).astype(np.float32)
    return scaled
