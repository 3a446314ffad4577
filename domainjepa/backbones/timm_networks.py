"""Networks of images: every timm model."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from domainjepa.backbones.stem import Traits, thin_stem
from domainjepa.config import BackboneConfig
from domainjepa.errors import ConfigError, did_you_mean


def names() -> list[str]:
    """All of them."""
    return list(timm.list_models())


def traits(name: str) -> Traits:
    """The traits of a timm model, from its skeleton: no weights are made.

    Raises:
        ConfigError: no such model.
    """
    if not timm.is_model(name):
        raise ConfigError(
            f"unknown backbone {name!r}.{did_you_mean(name, timm.list_models())} "
            "`domainjepa list backbones` shows them all."
        )
    with torch.device("meta"):
        skeleton = timm.create_model(name, pretrained=False, num_classes=0)
    info = getattr(skeleton, "feature_info", None) or [{"reduction": 32}]
    stride = int(list(info)[-1]["reduction"])
    attention = any("attention" in type(part).__name__.lower() for part in skeleton.modules())
    plain_vit = hasattr(skeleton, "blocks") and hasattr(skeleton, "cls_token")
    return Traits(stride, transformer=attention, patch=stride if plain_vit else 1)


def build(
    config: BackboneConfig, channels: int, size: int, reduction: int, patch: int
) -> nn.Module:
    """The network with its stem's stride divided; timm's own arguments do it where they can."""
    common: dict[str, Any] = {"pretrained": False, "in_chans": channels, "num_classes": 0}
    if config.drop_path:
        common["drop_path_rate"] = config.drop_path
    attempts: list[dict[str, Any]]
    if patch > 1:
        tokens = {"patch_size": max(patch // reduction, 1)}
        attempts = [
            {"img_size": size, "dynamic_img_size": True, **tokens},
            {"img_size": size, **tokens},
            *([{"img_size": size}, {}] if reduction == 1 else []),
        ]
    else:
        attempts = [
            # Windowed transformers shrink their patches.
            {"img_size": size, "strict_img_size": False, "patch_size": 4 // reduction},
            # Networks built for one size are told a larger one, which the thinner stem delivers.
            {"img_size": size * reduction},
            {},
        ]
    for arguments in attempts:
        try:
            net = timm.create_model(config.name, **common, **arguments)
        except TypeError:  # an argument that this network does not have
            continue
        if "patch_size" not in arguments and patch == 1:
            thin_stem(net, reduction)
        return net
    raise ConfigError(
        f"the backbone {config.name!r} takes none of the ways to build it for {size} px"
        + (f" with drop_path {config.drop_path}" if config.drop_path else "")
    )
