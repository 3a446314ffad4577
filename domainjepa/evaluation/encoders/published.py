"""Published encoders by timm: DINOv2, DINOv3, a supervised ResNet-50, I-JEPA, `timm:NAME`.

Each sees images as its authors prepared them: timm's own transform, at the network's own size
unless `NAME@PIXELS` says otherwise. Its features are read as those of our own encoders are: pooled,
for ViTs the CLS token of the last two layers (`Backbone.probe_features`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import PIL.Image
import timm
import torch
from numpy.typing import NDArray
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from domainjepa import devices
from domainjepa.backbones import Backbone
from domainjepa.backbones.weights import Unavailable, digest_of, fill, locate
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.precision import as_float32
from domainjepa.domains.intensity import Intensity
from domainjepa.encoder import passes
from domainjepa.errors import UserError, did_you_mean
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.encoders.intensity import fitted_intensity

PREFIX = "timm:"
FITTED_ON = 256
"""Training images, at most, that the intensity of other than 8-bit pictures is fitted on."""

PUBLISHED = {
    "dinov2-small": "vit_small_patch14_dinov2.lvd142m",
    "dinov2-base": "vit_base_patch14_dinov2.lvd142m",
    "dinov2-large": "vit_large_patch14_dinov2.lvd142m",
    "dinov3-small": "vit_small_patch16_dinov3.lvd1689m",
    "dinov3-base": "vit_base_patch16_dinov3.lvd1689m",
    "dinov3-large": "vit_large_patch16_dinov3.lvd1689m",
    "dinov3-convnext-tiny": "convnext_tiny.dinov3_lvd1689m",
    "dinov3-convnext-small": "convnext_small.dinov3_lvd1689m",
    "dinov3-convnext-base": "convnext_base.dinov3_lvd1689m",
    "resnet50-imagenet": "resnet50.a1_in1k",
    "ijepa": "vit_huge_patch14_gap_224.in1k_ijepa",
}
"""DINOv2: Oquab et al. 2023, arXiv:2304.07193. DINOv3: Simeoni et al. 2025, arXiv:2508.10104.
ResNet-50 on ImageNet-1k: Wightman et al. 2021, arXiv:2110.00476. I-JEPA: Assran et al. 2023,
arXiv:2301.08243; its weights are a pickle on its authors' server: give them as a file."""


class Published(Backbone):
    """A network as its authors built it, read out as our own are."""

    def __init__(self, net: nn.Module, size: int) -> None:
        nn.Module.__init__(self)
        self.net = net
        self.name = str(cast(Any, net).pretrained_cfg.get("architecture", ""))
        self.dimensions = 2
        plain_vit = hasattr(net, "blocks") and hasattr(net, "cls_token")
        self.reads_layers = plain_vit and self._reads_layers(3, size)


def as_three_bands(image: NDArray[Any]) -> NDArray[Any]:
    """(H, W, C) -> (H, W, 3): one band is repeated, two are first, mean, second; of more than three
    the means of the first, middle and last third."""
    channels = image.shape[2]
    if channels == 3:
        return image
    if channels == 1:
        return np.repeat(image, 3, axis=2)
    values = as_float32(image)
    if channels == 2:
        return np.stack([values[..., 0], values.mean(axis=2), values[..., 1]], axis=2)
    thirds = np.array_split(values, 3, axis=2)
    return np.stack([third.mean(axis=2) for third in thirds], axis=2)


class TimmEncoder:
    """A timm network with published weights.

    8-bit pictures of one or three bands go through timm's transform as they are. All others first
    through the intensity of the domain that is proposed for the data, fitted on training images,
    cut at 0 and 1, brought to three bands, and then through the same transform as float tensors.

    Args:
        name: for tables.
        model: timm's name.
        weights: a file; None takes those of the hub.
        size: pixels a side of what the network sees; None takes its own.
        batch_size: images a forward pass, at most; see `domainjepa.encoder.passes`.
        device: `auto` takes the accelerator where there is one.

    Raises:
        UserError: timm has no such model.
    """

    def __init__(
        self,
        name: str,
        model: str,
        weights: Path | None = None,
        *,
        size: int | None = None,
        batch_size: int = 32,
        device: str = "auto",
    ) -> None:
        if not timm.is_model(model):
            hint = did_you_mean(model, timm.list_models())
            raise UserError(f"timm has no model {model!r}.{hint}")
        self.name = name
        self.model = model
        self.weights = weights
        self.size = size
        self.batch_size = batch_size
        self.device = device
        self._intensity: Intensity | None = None
        self._network: Published | None = None

    def adapt(self, source: Source, rows: NDArray[np.int64]) -> None:
        """Fit the intensity on some training images, where the images are no 8-bit pictures.

        Raises:
            Unavailable: volumes, or no weights.
        """
        if source.volumetric:
            raise Unavailable(f"it takes images; {source.public_name} holds volumes")
        self._intensity = None
        if source.dtype != np.uint8 or source.channels not in (1, 3):
            self._intensity = fitted_intensity(source, rows, FITTED_ON)
        self._load()

    def transform(self, images: Source | Sequence[Image]) -> NDArray[np.float32]:
        """(H, W, C) images -> (N, D) float32."""
        network = self._load()
        device = devices.choose(self.device)
        network.to(device).eval()
        read, shape = network.probe_features, (3, self._side, self._side)
        count = passes.at_once(network, read, shape, self.batch_size, device)
        batches = (self.prepare(batch) for batch in passes.cut(images, count))
        return passes.features(network, read, batches, device)

    def prepare(self, images: Sequence[Image]) -> Tensor:
        """What the network sees: (H, W, C) images -> (N, 3, S, S) float32."""
        self._load()
        inputs = torch.stack([self._steps(self._picture(np.asarray(image))) for image in images])
        # Bicubic resampling overshoots; of 8-bit pictures it is cut off on the way.
        return torch.clamp(inputs, self._black, self._white)

    def prepare_whole(self, image: Image) -> Tensor:
        """(H, W, C) -> (3, H, W) float32: colours as the network knows them, the size as it is."""
        self._load()
        found = self._picture(np.asarray(image))
        if not isinstance(found, Tensor):
            found = torch.from_numpy(np.array(found)).permute(2, 0, 1) / 255
        return self._black + found.float() * (self._white - self._black)

    @property
    def network(self) -> Published:
        """With its weights, in evaluation mode."""
        return self._load()

    @property
    def side(self) -> int:
        """Pixels a side of what the network sees."""
        self._load()
        return self._side

    def trainable(self) -> tuple[Backbone, Callable[[Sequence[Image]], Tensor]]:
        """A copy of the network to train, and what turns images into its input."""
        return copy.deepcopy(self._load()).cpu(), self.prepare

    @property
    def origin(self) -> str:
        """Where the weights came from."""
        self._load()
        return self._origin

    @property
    def preprocessing(self) -> str:
        """What the images went through."""
        self._load()
        before = f"{self._intensity.describe()}, cut at 0 and 1; " if self._intensity else ""
        return before + " ".join(repr(self._steps).split())

    @property
    def sha256(self) -> str:
        """Of all that the features depend on besides the images."""
        network = self._load()
        intensity = self._intensity.model_dump_json() if self._intensity else ""
        return digest_of(network, self.model, repr(self._steps), intensity)

    def _load(self) -> Published:
        if self._network is not None:
            return self._network
        # Before the network is built, which for the large ones takes a while.
        path, origin = locate(self.model, self.weights)
        try:
            sized: dict[str, Any] = {} if self.size is None else {"img_size": self.size}
            net = timm.create_model(self.model, pretrained=False, num_classes=0, **sized)
        except TypeError:  # a network that takes any size
            net = timm.create_model(self.model, pretrained=False, num_classes=0)
        except (AssertionError, ValueError) as error:
            raise UserError(f"{self.name}: {self.model} cannot be built: {error}") from error
        fill(net, self.model, path)
        self._origin = origin
        config: dict[str, Any] = resolve_model_data_config(net)  # type: ignore[no-untyped-call]
        if self.size is not None:
            config["input_size"] = (3, self.size, self.size)
        mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
        self._black, self._white = -mean / std, (1 - mean) / std
        self._steps = create_transform(**config, is_training=False)
        self._side = int(config["input_size"][-1])
        self._network = Published(net, self._side).requires_grad_(False).eval()
        return self._network

    def _picture(self, image: NDArray[Any]) -> PIL.Image.Image | Tensor:
        image = image[..., None] if image.ndim == 2 else image
        if image.dtype == np.uint8 and image.shape[2] in (1, 3):
            return PIL.Image.fromarray(as_three_bands(image))
        if self._intensity is not None:
            image = self._intensity(image)
        top = np.iinfo(image.dtype).max if image.dtype.kind in "ui" else 1
        shown = np.clip(as_three_bands(image.astype(np.float32) / np.float32(top)), 0, 1)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(shown, 2, 0)))


def sized(text: str) -> tuple[str, int | None]:
    """`NAME@PIXELS` -> name and size.

    Raises:
        UserError: the size is no number from 1 on.
    """
    name, mark, size = text.partition("@")
    if mark and not (size.isdecimal() and int(size) > 0):
        raise UserError(f"{text!r}: after @ comes the number of pixels a side, such as {name}@224")
    return name, int(size) if mark else None


def timm_encoder(text: str, weights: str | None = None) -> TimmEncoder:
    """The encoder behind `timm:NAME[@PIXELS]`, or behind a published name."""
    name, size = sized(text)
    model = PUBLISHED.get(name, name.removeprefix(PREFIX))
    return TimmEncoder(text, model, Path(weights) if weights else None, size=size)


def published(name: str) -> Callable[[Sequence[Encoder], str | None], list[Encoder]]:
    """The baseline of this published name, as the registry takes it."""

    def made(encoders: Sequence[Encoder], weights: str | None = None) -> list[Encoder]:
        return [timm_encoder(name, weights)]

    made.__doc__ = f"{PUBLISHED[name]} of timm."
    return made


BY_NAME = SimpleNamespace(**{name.replace("-", "_"): published(name) for name in PUBLISHED})
"""The baselines as attributes, so that the registry can name each of them."""
