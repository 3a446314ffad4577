"""Name -> network: every timm model, any number of channels, images of any size.

A stem made for photographs of 224 px divides the image by 4 to 16 before the first block and by 32
before the last. Of a 64 px galaxy a ResNet would keep 2 x 2 positions. The rule here: the stem's
stride is divided by 1, 2 or 4, the smallest that keeps at least 4 x 4 positions of a global view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from domainjepa.config import BackboneConfig
from domainjepa.errors import ConfigError, did_you_mean

MIN_POSITIONS = 4
"""Positions a side of the last feature map that the stem must leave of a global view."""


@dataclass(frozen=True)
class Traits:
    """What must be known of a network before the sizes of the views are.

    Attributes:
        stride: pixels of the image to one position of the last feature map.
        transformer: whether it is made of attention; decides the weight decay.
        patch: pixels a side of a patch token, 1 for networks that take any size.
    """

    stride: int
    transformer: bool
    patch: int


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


class Backbone(nn.Module):
    """A timm network that maps images to feature vectors.

    Attributes:
        dim: length of the features that the projector sees.
        reads_layers: probes read CLS tokens of the last two layers instead of the pooled output.
        stem_reduction: by what the stem's stride was divided.
        multiple: local views must have a multiple of this many pixels a side; 0 where the network
            takes one size only, so that local views are resized to the global size.
    """

    def __init__(self, config: BackboneConfig, channels: int, size: int) -> None:
        """
        Args:
            config: the name and the stem's rule.
            channels: of the images.
            size: pixels a side of a global view.

        Raises:
            ConfigError: unknown name, or a network that cannot be built for this size.
        """
        super().__init__()
        nominal = traits(config.name)
        self.name = config.name
        self.transformer = nominal.transformer
        # A stem with less stride than the rule asks for is thinned as far as it goes.
        wanted = stem_reduction(config, nominal.stride, size)
        fallbacks = [r for r in (4, 2, 1) if r < wanted and config.stem_reduction == "auto"]
        for reduction in [wanted, *fallbacks]:
            self.net = _build(config, channels, size, reduction, nominal.patch)
            error = self._run(channels, size)
            if error is None:
                break
        if error is not None:
            raise ConfigError(
                f"the backbone {self.name!r} cannot take images of {size} px: {error}. "
                "Set --set views.global_size=224, or choose another backbone."
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
        """(N, C, H, W) standardised float -> (N, dim), pooled as the network pools."""
        return cast(Tensor, self.net(images))

    def probe_features(self, images: Tensor) -> Tensor:
        """What probes and downstream models use: (N, D).

        Convolutional and hierarchical networks: the pooled output. ViTs: the CLS token (the mean of
        the patches where there is none) of the last two layers, concatenated (LeJEPA, section 6).
        """
        if not self.reads_layers:
            return self.forward(images)
        net = cast(Any, self.net)
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

    @torch.no_grad()
    def _reads_layers(self, channels: int, size: int) -> bool:
        """Whether the last two layers of a ViT can be read; hybrids yield their pooled output."""
        self.reads_layers = True
        try:
            self.net.eval()
            return self.probe_features(torch.zeros(1, channels, size, size)).ndim == 2
        except (RuntimeError, AssertionError, ValueError, IndexError, TypeError, AttributeError):
            return False
        finally:
            self.net.train()

    def exempt_from_decay(self) -> set[str]:
        """Names of the weights that timm exempts from weight decay."""
        names = getattr(self.net, "no_weight_decay", None)
        return set(names()) if names is not None else set()

    def strides_over_one_pixel(self, channels: int, size: int) -> bool:
        """Whether an image of this size leaves 1x1 positions before a convolution with a stride.

        The weight gradient of such a convolution in bfloat16 on the CPU is left unwritten by the
        library behind PyTorch (seen in torch 2.15): it is whatever the memory held before.
        """
        found: list[bool] = []

        def look(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(part, nn.Conv2d)
            lost = max(inputs[0].shape[-2:]) == 1 and max(part.stride) > 1
            found.append(lost and max(part.kernel_size) > 1)

        convolutions = [part for part in self.net.modules() if isinstance(part, nn.Conv2d)]
        hooks = [part.register_forward_hook(look) for part in convolutions]
        self._run(channels, size)
        for hook in hooks:
            hook.remove()
        return any(found)

    @torch.no_grad()
    def _run(self, channels: int, size: int) -> Exception | None:
        """Try one image of this size: what the network says is truer than any table of names."""
        self.net.eval()
        try:
            self._dim = int(self(torch.zeros(1, channels, size, size)).shape[1])
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            return error
        finally:
            self.net.train()
        return None


def stem_reduction(config: BackboneConfig, stride: int, size: int) -> int:
    """By what the stem's stride is divided for images of this size."""
    if config.stem_reduction != "auto":
        return config.stem_reduction
    return next((r for r in (1, 2) if size * r >= MIN_POSITIONS * stride), 4)


def _build(
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
            _thin_stem(net, reduction)
        return net
    raise ConfigError(
        f"the backbone {config.name!r} takes none of the ways to build it for {size} px"
        + (f" with drop_path {config.drop_path}" if config.drop_path else "")
    )


def _thin_stem(net: nn.Module, reduction: int) -> None:
    """Divide the stem's stride: first its pooling goes, then its convolutions lose their stride."""
    if reduction > 1 and isinstance(getattr(net, "maxpool", None), nn.Module):
        net.maxpool = nn.Identity()
        reduction //= 2
    for part in net.modules():
        if reduction == 1:
            return
        if isinstance(part, nn.Conv2d) and part.stride[0] > 1:
            step = min(reduction, part.stride[0])
            kernel, stride = part.kernel_size[0], part.stride[0] // step
            part.stride = (stride, stride)
            # Patch stems pad nothing: with overlapping patches the borders need it.
            padding = max(-(-(kernel - stride) // 2), 0)
            part.padding = (padding, padding)
            reduction //= step
