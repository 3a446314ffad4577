"""Anyone's network as an encoder: torchvision's, Hugging Face's, MONAI's, your own.

A baseline of your own is a function `(encoders, weights) -> encoders` that gives a `Network`;
`--baseline module:function` takes it, and docs/evaluation.md shows three.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domainjepa import devices
from domainjepa.backbones import Backbone
from domainjepa.backbones.weights import digest_of
from domainjepa.data.source import Image, Source
from domainjepa.domains.intensity import Intensity
from domainjepa.encoder import passes
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.intensity import fitted_intensity
from domainjepa.evaluation.encoders.published import as_three_bands

Read = Callable[[nn.Module, Tensor], Tensor]

FITTED_ON = 256
"""Training samples, at most, that the intensity is fitted on."""
FITTED_ON_VOLUMES = 16


class Network:
    """A network as an encoder of images or volumes.

    Integers of 8 bits become 0 to 1. Other values go through the intensity of the domain that is
    proposed for the data, fitted on training samples, and are cut at 0 and 1.

    Args:
        name: for tables.
        network: its output, or what `read` makes of it, is (N, D).
        prepare: (C, H, W) or (C, D, H, W) float32 from 0 to 1 -> what the network takes of one
            sample, all of one shape.
        bands: 3 repeats or averages bands to three; None leaves those of the data.
        read: (network, batch) -> (N, D) or (N, D, positions...), which are averaged.
        described: what `prepare` and `read` do, in words. Features are kept from one evaluation to
            the next only where it is given, since they depend on it; change it when they change.
        batch_size: samples a forward pass, at most; see `domainjepa.encoder.passes`.
        device: `auto` takes the accelerator where there is one.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        prepare: Callable[[Tensor], Tensor] = lambda sample: sample,
        *,
        bands: int | None = 3,
        read: Read | None = None,
        described: str = "",
        batch_size: int = 32,
        device: str = "auto",
    ) -> None:
        if bands not in (None, 3):
            raise UserError(f"{name}: bands={bands}; 3, or None for those of the data")
        self.name = name
        self.network = network.eval().requires_grad_(False)
        self.prepare_one, self.bands = prepare, bands
        self.described = described
        self.batch_size, self.device = batch_size, device
        self._read = _reading(name, read or (lambda net, batch: net(batch)))
        self._intensity: Intensity | None = None
        if described:
            self.preprocessing = described

    def adapt(self, source: Source, rows: NDArray[np.int64]) -> None:
        """Fit the intensity on some training samples, where they are not of 8 bits."""
        self._intensity = None
        if source.dtype == np.uint8:
            return
        most = FITTED_ON_VOLUMES if source.volumetric else FITTED_ON
        self._intensity = fitted_intensity(source, rows, most)

    def transform(self, images: Source | Sequence[Image]) -> NDArray[np.float32]:
        """(H, W, C) images or (D, H, W, C) volumes -> (N, D) float32."""
        where = devices.choose(self.device)
        network = self.network.to(where).eval()

        def read(batch: Tensor) -> Tensor:
            return self._read(network, batch)

        shape = self.prepare([images[0]])[0].shape
        count = passes.at_once(network, read, shape, self.batch_size, where)
        batches = (self.prepare(batch) for batch in passes.cut(images, count))
        return passes.features(network, read, batches, where)

    def prepare(self, images: Sequence[Image]) -> Tensor:
        """What the network sees of some samples."""
        return torch.stack([self.prepare_one(self._shown(np.asarray(one))) for one in images])

    def trainable(self) -> tuple[Backbone, Callable[[Sequence[Image]], Tensor]] | None:
        """A copy of the network to fine-tune, and what turns images into its input."""
        return _Trainable(copy.deepcopy(self.network).cpu(), self._read), self.prepare

    @property
    def sha256(self) -> str | None:
        """Of all that the features depend on besides the images; None where that is not known."""
        if not self.described:
            return None
        intensity = self._intensity.model_dump_json() if self._intensity else ""
        return digest_of(self.network, self.name, self.described, self.bands, intensity)

    def _shown(self, image: NDArray[Any]) -> Tensor:
        if self._intensity is not None:
            image = np.clip(self._intensity(image), 0, 1)
        elif image.dtype.kind in "ui":
            image = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
        if self.bands == 3:
            image = as_three_bands(image)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0), np.float32))


def _reading(name: str, read: Read) -> Read:
    """What is read of a network, checked, and averaged over positions."""

    def checked(network: nn.Module, batch: Tensor) -> Tensor:
        found = read(network, batch)
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(batch):
            raise UserError(
                f"{name} gave {type(found).__name__} {tuple(getattr(found, 'shape', ()))} for "
                f"a batch of {len(batch)}; a tensor (N, D) is needed. Say what to read of the "
                "output: Network(..., read=lambda network, batch: ...)"
            )
        return found if found.ndim == 2 else found.flatten(2).mean(2)

    return checked


class _Trainable(Backbone):
    """A network, read out as its `Network` reads it."""

    def __init__(self, net: nn.Module, read: Read) -> None:
        nn.Module.__init__(self)
        self.net, self.read = net, read
        self.name, self.dimensions = "", 2
        self.reads_layers = False

    def forward(self, images: Tensor) -> Tensor:
        return self.read(self.net, images)

    def probe_features(self, images: Tensor) -> Tensor:
        return cast(Tensor, self(images))
