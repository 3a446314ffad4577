"""A backbone: what every part of a run sees of a network, whoever wrote it."""

from __future__ import annotations

from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from domainjepa.backbones import (
    feature_maps,
    monai_networks,
    own_networks,
    timm_networks,
    volume_transformers,
)
from domainjepa.backbones.feature_maps import Layers
from domainjepa.backbones.layers import layers
from domainjepa.backbones.stem import Traits, stem_reduction
from domainjepa.config import BackboneConfig
from domainjepa.errors import ConfigError


def names() -> list[str]:
    """Every backbone that has a name."""
    rooms = (timm_networks, monai_networks, volume_transformers, own_networks)
    return [name for room in rooms for name in room.names()]


def traits(name: str) -> Traits:
    """The traits of a network; no weights are made.

    Raises:
        ConfigError: no such network.
    """
    if name.startswith(monai_networks.PREFIX):
        return monai_networks.traits(name)
    if name.startswith(volume_transformers.PREFIX):
        return volume_transformers.traits(name)
    return own_networks.traits(name) if name in own_networks.names() else timm_networks.traits(name)


def _build(
    config: BackboneConfig, channels: int, size: int, reduction: int, nominal: Traits
) -> nn.Module:
    """The network of this name, with its stem's stride divided where the stem is not another's."""
    if config.name.startswith(volume_transformers.PREFIX):
        return volume_transformers.build(config, channels, reduction)
    if config.name in own_networks.names():
        return own_networks.build(config, channels, size)
    if nominal.dimensions == 3:
        return monai_networks.build(config, channels, size, reduction)
    return timm_networks.build(config, channels, size, reduction, nominal.patch)


class Backbone(nn.Module):
    """A network that maps images, or volumes, to feature vectors.

    Attributes:
        dimensions: 2 for images, 3 for volumes.
        dim: length of the features that the projector sees.
        reads_layers: probes read CLS tokens of the last two layers instead of the pooled output.
        stem_reduction: by what the stem's stride was divided.
        frozen: names of parts that are never in training mode: their running statistics stay.
        multiple: local views must have a multiple of this many pixels a side; 0 where the network
            takes one size only, so that local views are resized to the global size.
    """

    def __init__(
        self, config: BackboneConfig, channels: int, size: int, whole: int | None = None
    ) -> None:
        """
        Args:
            config: the name and the stem's rule.
            channels: of the images.
            size: pixels a side of a global view.
            whole: pixels a side that views of these images have by default, which the rule of the
                stem looks at: smaller ones keep its stride and so cost less.

        Raises:
            ConfigError: unknown name, or a network that cannot be built for this size.
        """
        super().__init__()
        nominal = traits(config.name)
        self.name = config.name
        self.frozen: list[str] = []
        self.dimensions = nominal.dimensions
        self.transformer = nominal.transformer
        # A stem with less stride than the rule asks for is thinned as far as it goes.
        ruling = max(size, whole or size)
        wanted = stem_reduction(config, nominal.stride, ruling, nominal.dimensions)
        if config.stem_reduction == "auto":
            wanted = min(wanted, nominal.stem)
        others = [r for r in (4, 2, 1) if r < wanted] + [
            r for r in (2, 4) if wanted < r <= nominal.stem and ruling > size
        ]
        for reduction in [wanted, *(others if config.stem_reduction == "auto" else ())]:
            self.net = _build(config, channels, size, reduction, nominal)
            error = self._run(channels, size)
            if error is None:
                break
        if error is not None:
            usual = 224 if nominal.dimensions == 2 else 64
            raise ConfigError(
                f"the backbone {self.name!r} cannot take images of {size} px: {error}. "
                f"Set --set views.global_size={usual}, or choose another backbone."
            )
        self.stem_reduction = reduction
        self.dim = self._dim
        self.reads_layers = nominal.patch > 1 and self._reads_layers(channels, size)
        smaller = max(size * 7 // 16, 8)
        multiples = (
            (nominal.patch,) if nominal.patch > 1 else (1, max(nominal.stride // reduction, 1))
        )
        self.multiple = next(
            (m for m in multiples if self._run(channels, max(round(smaller / m), 1) * m) is None), 0
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) or (N, C, D, H, W) standardised float -> (N, dim), pooled as it pools."""
        return cast(Tensor, self.net(images))

    def probe_features(self, images: Tensor) -> Tensor:
        """What probes and downstream models use: (N, D).

        Convolutional and hierarchical networks: the pooled output. ViTs: the CLS token (the mean of
        the patches where there is none) of the last two layers, concatenated (LeJEPA, section 6).
        """
        if not self.reads_layers:
            return self.forward(images)
        net = cast(Any, self.net)
        if hasattr(net, "two_layers"):
            return cast(Tensor, net.two_layers(images))
        has_cls = getattr(net, "cls_token", None) is not None
        layers = net.forward_intermediates(
            images,
            indices=2,
            norm=True,
            output_fmt="NLC",
            return_prefix_tokens=has_cls,
            intermediates_only=True,
        )
        tokens = [layer[1][:, 0] if has_cls else layer.mean(1) for layer in layers]
        return torch.cat(tokens, dim=1)

    def feature_maps(self, images: Tensor, layers: Layers = "last") -> Tensor:
        """What the network sees position by position: (N, D, *positions).

        Raises:
            UserError: a network that does not show its maps, or has no such layers.
        """
        return feature_maps.feature_maps(self.net, images, layers)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Feature maps of growing stride, (N, C_i, *positions) each: see `feature_maps.pyramid`."""
        return feature_maps.pyramid(self.net, images)

    @torch.no_grad()
    def _reads_layers(self, channels: int, size: int) -> bool:
        """Whether the last two layers of a ViT can be read; hybrids yield their pooled output."""
        self.reads_layers = True
        try:
            self.net.eval()
            return self.probe_features(self._blank(channels, size)).ndim == 2
        except (RuntimeError, AssertionError, ValueError, IndexError, TypeError, AttributeError):
            return False
        finally:
            self.net.train()

    def layers(self) -> dict[str, int]:
        """Name of each weight -> its layer, 0 for the stem; see `domainjepa.backbones.layers`."""
        return {f"net.{name}": layer for name, layer in layers(self.net).items()}

    def freeze(self, share: float) -> tuple[int, int]:
        """Keep the first layers as they are, whatever a run does.

        Args:
            share: of the layers, from the stem on, rounded to whole ones; the last one learns.

        Returns:
            The frozen layers, and all.
        """
        layer_of = self.layers()
        count = max(layer_of.values()) + 1
        still = min(round(share * count), count - 1)
        for name, weight in self.named_parameters():
            weight.requires_grad_(layer_of[name] >= still)
        self.frozen = [
            name
            for name, part in self.named_modules()
            if (own := list(part.parameters())) and not any(weight.requires_grad for weight in own)
        ]
        self.train(self.training)
        return still, count

    def keep_statistics(self) -> None:
        """From now on BatchNorm normalises by the running statistics that it has, in training as
        afterwards; its weights and biases learn."""
        self.frozen += [name for name, _ in self._batch_norms()]
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Frozen parts are never in training mode: no statistic of theirs moves, nothing drops."""
        super().train(mode)
        # By name: synchronised BatchNorm takes the place of the parts that were there.
        for name in self.frozen if hasattr(self, "frozen") else ():
            self.get_submodule(name).eval()
        return self

    def exempt_from_decay(self) -> set[str]:
        """Names of the weights that the network's authors exempt from weight decay."""
        names = getattr(self.net, "no_weight_decay", None)
        return set(names()) if names is not None else set()

    def checkpoint_activations(self) -> None:
        """From now on activations are computed again in the backward pass, block by block (Chen et
        al. 2016, arXiv:1604.06174).

        Raises:
            ConfigError: the network cannot do it.
        """
        try:
            cast(Any, self.net).set_grad_checkpointing(True)
        except (AttributeError, AssertionError, NotImplementedError) as error:
            raise ConfigError(
                f"activation_checkpointing: {self.name!r} cannot do it; timm's ViTs, ConvNeXts, "
                "ResNets and EfficientNets can. Leave it out, or set micro_batch, which every "
                "network can do."
            ) from error

    @property
    def batch_statistics(self) -> bool:
        """Whether what it makes of an image in training depends on the batch that it is in."""
        return any(name not in self.frozen for name, _ in self._batch_norms())

    @property
    def has_batch_norm(self) -> bool:
        """Whether there is BatchNorm in it, whatever it normalises by."""
        return bool(self._batch_norms())

    def _batch_norms(self) -> list[tuple[str, nn.Module]]:
        # PyTorch has no public name for what all kinds of BatchNorm have in common.
        kind = nn.modules.batchnorm._BatchNorm
        return [(name, part) for name, part in self.named_modules() if isinstance(part, kind)]

    def leaves_gradients_unwritten(self, channels: int, size: int) -> bool:
        """Whether an image of this size meets a convolution whose gradient in bfloat16 is garbage.

        On the CPU the library behind PyTorch leaves the gradient of a convolution's weight as the
        memory was before (seen in torch 2.14 and 2.15) where it has a stride and sees one position,
        and in three dimensions where it has none and sees 2x2x2.
        """
        found: list[bool] = []

        def look(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(part, (nn.Conv2d, nn.Conv3d))
            side, strided = max(inputs[0].shape[2:]), max(part.stride) > 1
            lost = side == 1 if strided else side == 2 and isinstance(part, nn.Conv3d)
            found.append(lost and max(part.kernel_size) > 1)

        kinds = (nn.Conv2d, nn.Conv3d)
        convolutions = [part for part in self.net.modules() if isinstance(part, kinds)]
        hooks = [part.register_forward_hook(look) for part in convolutions]
        self._run(channels, size)
        for hook in hooks:
            hook.remove()
        return any(found)

    def _blank(self, channels: int, size: int) -> Tensor:
        return torch.zeros(1, channels, *[size] * self.dimensions)

    @torch.no_grad()
    def _run(self, channels: int, size: int) -> Exception | None:
        """Try one image of this size: what the network says is truer than any table of names."""
        self.net.eval()
        try:
            self._dim = int(self(self._blank(channels, size)).shape[1])
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            return error
        finally:
            self.net.train()
        return None
