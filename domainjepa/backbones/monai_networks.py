"""Networks of volumes: MONAI's, pooled to one vector, named `monai:…`."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from domainjepa.backbones.stem import Traits, thin_stem
from domainjepa.config import MONAI_NETWORKS, BackboneConfig
from domainjepa.errors import ConfigError, MissingExtra, did_you_mean

PREFIX = MONAI_NETWORKS
_RESNETS = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_DENSENETS = ("densenet121", "densenet169", "densenet201")
_NETWORKS = (*_RESNETS, *_DENSENETS, "swinunetr", "vit")


def names() -> list[str]:
    """All of them, installed or not."""
    return [PREFIX + name for name in _NETWORKS]


def traits(name: str) -> Traits:
    """The traits of a network.

    Raises:
        ConfigError: no such network.
    """
    short = name.removeprefix(PREFIX)
    if short not in _NETWORKS:
        raise ConfigError(f"unknown backbone {name!r}.{did_you_mean(name, names())}")
    if short == "vit":
        return Traits(16, transformer=True, patch=16, dimensions=3)
    if short == "swinunetr":
        # Its patches are 2 voxels already; with 1 there were eight times as many tokens.
        return Traits(32, transformer=True, patch=1, dimensions=3, stem=1)
    return Traits(32, transformer=False, patch=1, dimensions=3)


def build(config: BackboneConfig, channels: int, size: int, reduction: int) -> nn.Module:
    """The network, (N, C, D, H, W) -> (N, dim), with its stem's stride divided.

    Raises:
        MissingExtra: without MONAI.
        ConfigError: drop path for a network that has none.
    """
    short = config.name.removeprefix(PREFIX)
    try:
        from monai.networks import nets

        if short == "swinunetr":
            import einops  # noqa: F401  (MONAI asks for it in the first forward pass alone)
    except ImportError as error:
        missing = (error.name or "monai").partition(".")[0]
        raise MissingExtra(missing, "volumes", f"the backbone {config.name}") from error
    if config.drop_path and short != "swinunetr":
        raise ConfigError(
            f"backbone.drop_path = {config.drop_path}: {config.name} has none; of MONAI's networks "
            "monai:swinunetr does. Leave it out."
        )
    net: nn.Module
    if short in _RESNETS:
        # A stride of 2 as in two dimensions and in MedicalNet; MONAI's own default is 1.
        net = getattr(nets, short)(
            n_input_channels=channels, conv1_t_stride=2, feed_forward=False, spatial_dims=3
        )
        thin_stem(net, reduction)
    elif short in _DENSENETS:
        net = getattr(nets, short)(spatial_dims=3, in_channels=channels, out_channels=1)
        parts = cast(Any, net)
        parts.class_layers.out = nn.Identity()
        if reduction > 1:
            parts.features.pool0 = nn.Identity()
            thin_stem(net, reduction // 2)
    elif short == "swinunetr":
        swin = nets.swin_unetr.SwinTransformer
        net = PooledSwin(swin, channels, 2 // reduction, config.drop_path)
    else:
        net = PooledViT(nets.vit.ViT, channels, size, 16 // reduction)
    return net


def maps(net: nn.Module, volumes: Tensor) -> list[Tensor] | None:
    """(N, C, D, H, W) -> the feature maps of all stages, finest first; the last one is pooled.

    Returns:
        None for a network that is none of MONAI's.
    """
    parts = cast(Any, net)
    if isinstance(net, PooledSwin | PooledViT):
        return net.maps(volumes)
    if not type(net).__module__.startswith("monai."):
        return None
    if hasattr(parts, "layer4"):
        found = [parts.act(parts.bn1(parts.conv1(volumes)))]
        now = found[0] if parts.no_max_pool else parts.maxpool(found[0])
        for layer in (parts.layer1, parts.layer2, parts.layer3, parts.layer4):
            now = layer(now)
            found.append(now)
        return found
    found, now = [], volumes
    for name, part in parts.features.named_children():
        now = part(now)
        if name in ("relu0", "denseblock1", "denseblock2", "denseblock3"):
            found.append(now)
    return [*found, parts.class_layers.relu(now)]


class PooledSwin(nn.Module):
    """The encoder of Swin UNETR (Tang et al. 2022, arXiv:2111.14791), its last map averaged."""

    def __init__(self, network: Any, channels: int, patch: int, drop_path: float) -> None:
        if patch < 1:
            raise ConfigError("backbone.stem_reduction: monai:swinunetr takes 1 or 2.")
        super().__init__()
        self.swin = network(
            in_chans=channels,
            embed_dim=48,
            window_size=(7, 7, 7),
            patch_size=(patch,) * 3,
            depths=(2, 2, 2, 2),
            num_heads=(3, 6, 12, 24),
            drop_path_rate=drop_path,
            spatial_dims=3,
        )

    def forward(self, volumes: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, 768)."""
        return self.maps(volumes)[-1].mean((2, 3, 4))

    def maps(self, volumes: Tensor) -> list[Tensor]:
        """Of the patches and of the four stages: five maps (N, 48 to 768, *positions)."""
        return cast(list[Tensor], self.swin(volumes))

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters() if "position_bias" in name}


class PooledViT(nn.Module):
    """A ViT-B of volumes of one size, the mean of its tokens."""

    def __init__(self, network: Any, channels: int, size: int, patch: int) -> None:
        super().__init__()
        self.vit = network(channels, img_size=size, patch_size=patch, spatial_dims=3)
        self.size = size

    def forward(self, volumes: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, 768).

        Raises:
            ValueError: another size than that of its position embedding, which MONAI would spread
                over a single token without a word.
        """
        self._refuse_other_sizes(volumes)
        return cast(Tensor, self.vit(volumes)[0].mean(1))

    def two_layers(self, volumes: Tensor) -> Tensor:
        """(N, 2 * 768): the means of the tokens of the last two layers."""
        layers = self.vit(volumes)[1][-2:]
        return torch.cat([self.vit.norm(layer).mean(1) for layer in layers], dim=1)

    def maps(self, volumes: Tensor) -> list[Tensor]:
        """The tokens of all layers as maps (N, 768, *positions), normalised as the last one is."""
        self._refuse_other_sizes(volumes)
        tokens = [self.vit.norm(layer).transpose(1, 2) for layer in self.vit(volumes)[1]]
        side = round(tokens[0].shape[-1] ** (1 / 3))
        return [one.unflatten(2, (side,) * 3) for one in tokens]

    def _refuse_other_sizes(self, volumes: Tensor) -> None:
        if volumes.shape[2:] != (self.size,) * 3:
            raise ValueError(f"it takes {self.size} voxels a side alone")

    def no_weight_decay(self) -> set[str]:
        return {"vit.patch_embedding.position_embeddings"}
