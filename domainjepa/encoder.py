"""The artefact of a run: one `encoder.safetensors`, and the scikit-learn transformer that reads it.

The file holds the backbone's weights and, as JSON, all that is needed to use them: the network, the
image size, the intensity and the standardisation with their numbers. A frozen encoder so sees
exactly what the backbone saw. It holds no path, no file name and no label.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor

from domainjepa.backbones import Backbone
from domainjepa.checkpoint import write_atomically
from domainjepa.config import BackboneConfig
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.domains.intensity import load_intensity
from domainjepa.errors import DataError, UserError
from domainjepa.network import Standardise

FILE_NAME = "encoder.safetensors"
MAX_HEADER = 16 * 2**20


class EncoderCard(BaseModel):
    """What must be known to use the weights.

    Attributes:
        backbone: as built: the stem's reduction is a number, never "auto".
        channels: of the images.
        size: pixels a side of the image that the backbone sees.
        domain: name of the domain.
        intensity: the domain's intensity with its numbers.
        mean, std: C numbers each, on the 0..1 scale.
        data: the dataset card's name if there was one, the number of samples, the fingerprint.
        step: optimiser steps that the weights have seen.
        config: the settings of the run.
        versions: of the packages that made it.
        sha256: of the weights; written by `save_encoder`, checked by `load_encoder`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    backbone: BackboneConfig
    channels: int
    size: int
    domain: str
    intensity: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: dict[str, Any]
    step: int
    config: dict[str, Any]
    versions: dict[str, str]
    sha256: str = ""


def package_versions() -> dict[str, str]:
    """Versions of what shapes the weights."""
    return {name: version(name) for name in ("domainjepa", "torch", "timm", "albumentations")}


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_encoder(path: Path, backbone: Backbone, card: EncoderCard) -> None:
    """Write the artefact, whole or not at all."""
    weights = {name: value.cpu().contiguous() for name, value in backbone.state_dict().items()}
    # One key alone: safetensors writes several in a random order, and equal runs give equal bytes.
    signed = card.model_copy(update={"sha256": weights_digest(weights)})
    data = safetensors.torch.save(weights, {"domainjepa": signed.model_dump_json()})
    write_atomically(path, lambda file: file.write(data))


def load_encoder(path: Path) -> tuple[EncoderCard, dict[str, Tensor], str]:
    """The card, the weights and their SHA-256.

    Raises:
        UserError: no such file, no encoder of this project, or bytes that are not those saved.
    """
    if path.is_dir():
        path = path / FILE_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"no encoder at {path.parent.name}/{path.name}: {error.strerror}. Give a run folder or "
            f"an {FILE_NAME}."
        ) from error
    try:
        card = EncoderCard.model_validate_json(_metadata(data)["domainjepa"])
        weights = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, ValidationError, struct.error) as error:
        raise UserError(
            f"{path.name} is no encoder of domainjepa, or a damaged one: {type(error).__name__}"
        ) from error
    digest = weights_digest(weights)
    if digest != card.sha256:
        raise UserError(
            f"{path.name} is damaged: the SHA-256 of its weights is {digest[:12]}…, not "
            f"{card.sha256[:12]}…. Copy it anew from where it was made."
        )
    return card, weights, digest


def _metadata(data: bytes) -> dict[str, str]:
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER:
        raise ValueError("the header is too long")
    return cast(dict[str, str], json.loads(data[8 : 8 + length])["__metadata__"])


def framed(image: NDArray[Any], size: int) -> NDArray[Any]:
    """The centre square of an image at `size` px a side: (H, W, C) -> (size, size, C)."""
    height, width, channels = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    if side == size:
        return square
    # Averaging over area when shrinking: anything else aliases.
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    # OpenCV resizes at most 4 channels at a time.
    parts = [
        cv2.resize(square[..., first : first + 4], (size, size), interpolation=how)
        for first in range(0, channels, 4)
    ]
    return np.concatenate([part.reshape(size, size, -1) for part in parts], axis=2)


class FrozenEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A pretrained encoder as a scikit-learn transformer: images -> features.

    Stateless: `fit` only checks its input. Clone, pickle, grid-search and pipe it as any other.

    Args:
        encoder: a run folder or an `encoder.safetensors`.
        batch_size: images a forward pass.
        device: `auto` takes CUDA where there is one.
        weights: `untrained` draws fresh weights for the same network, keyed by the run's seed: the
            twin that pretraining has to beat.
    """

    def __init__(
        self,
        encoder: str | Path,
        *,
        batch_size: int = 256,
        device: str = "auto",
        weights: Literal["trained", "untrained"] = "trained",
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.device = device
        self.weights = weights

    def fit(self, images: Any, labels: object = None) -> FrozenEncoder:
        """Check the images and load the weights; nothing is learned."""
        self._load()
        if not isinstance(images, Source):
            _as_images(images, self.card.channels)
        return self

    def transform(self, images: Source | ArrayLike) -> NDArray[np.float32]:
        """Features of images.

        Args:
            images: an opened source, or (N, H, W) or (N, H, W, C) of the dtype that the encoder was
                pretrained on (its intensity is applied), or a list of (H, W[, C]).

        Returns:
            (N, D) float32.

        Raises:
            DataError: no images, or another number of channels than the encoder's.
        """
        self._load()
        backbone, standardise = self._network_
        device = _device(self.device)
        backbone.to(device).eval()
        standardise.to(device)
        features = []
        with torch.inference_mode():
            for batch in self._batches(images):
                stacked = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2)
                features.append(backbone.probe_features(standardise(stacked)).float().cpu().numpy())
        return np.concatenate(features)

    def untrained(self) -> FrozenEncoder:
        """The same network, sizes and standardisation with fresh weights."""
        return FrozenEncoder(
            self.encoder, batch_size=self.batch_size, device=self.device, weights="untrained"
        )

    @property
    def card(self) -> EncoderCard:
        """What the file says of itself."""
        self._load()
        return self._card

    @property
    def name(self) -> str:
        """A short name for tables."""
        path = Path(self.encoder)
        name = path.parent.name if path.name == FILE_NAME else path.stem
        return name if self.weights == "trained" else f"{name} untrained"

    @property
    def sha256(self) -> str:
        """Of all that the features depend on besides the images; features are cached by it."""
        card = self.card
        seen = card.model_dump(include={"backbone", "size", "intensity", "mean", "std"})
        return hashlib.sha256(f"{self._sha256} {seen}".encode()).hexdigest()

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """(D,) names such as resnet34_0."""
        self._load()
        width = self._width
        return np.array([f"{self.card.backbone.name}_{i}" for i in range(width)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True  # the weights are in the file

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # A pickle has to work where the file is not: take the weights along, on the CPU.
        self._load()
        for part in self._network_:
            part.cpu()
        return cast(dict[str, Any], super().__getstate__())

    def _load(self) -> None:
        wanted = (str(self.encoder), self.weights)
        if getattr(self, "_loaded", None) == wanted:
            return
        if self.weights not in ("trained", "untrained"):
            raise UserError(f"weights={self.weights!r}: choose trained or untrained")
        card, weights, digest = load_encoder(Path(self.encoder))
        with torch.random.fork_rng():
            torch.manual_seed(key(card.config.get("seed", 0), "weights"))
            backbone = Backbone(card.backbone, card.channels, card.size)
        if self.weights == "trained":
            backbone.load_state_dict(weights)
        else:
            digest = weights_digest(backbone.state_dict())
        backbone.eval().requires_grad_(False)
        self._card, self._sha256, self._loaded = card, digest, wanted
        self._network_ = (backbone, Standardise(card.mean, card.std))
        with torch.inference_mode():
            probe = torch.zeros(1, card.channels, card.size, card.size)
            self._width = int(backbone.probe_features(probe).shape[1])

    def _batches(self, images: Source | ArrayLike) -> Iterator[NDArray[Any]]:
        card = self._card
        intensity = load_intensity(card.intensity)
        found = images if isinstance(images, Source) else _as_images(images, card.channels)
        if isinstance(found, Source) and found.shape[2] != card.channels:
            raise DataError(
                f"the encoder takes {card.channels} channels; the images have {found.shape[2]}"
            )
        for first in range(0, len(found), self.batch_size):
            last = min(first + self.batch_size, len(found))
            rows = range(first, last)
            batch = found.__getitems__(rows) if isinstance(found, Source) else found[first:last]
            yield np.stack([framed(intensity(image), card.size) for image in batch])


def _as_images(images: ArrayLike, channels: int) -> Sequence[NDArray[Any]]:
    """Images as (H, W, C) arrays.

    Raises:
        DataError: not images, or not of this number of channels.
    """
    try:
        array = np.asarray(images)
        found = list(array) if array.dtype != object else [np.asarray(image) for image in images]  # type: ignore[union-attr]
    except ValueError:
        found = [np.asarray(image) for image in images]  # type: ignore[union-attr]
    if not found:
        raise DataError("no images: 0 samples, where at least 1 is required")
    found = [image[..., None] if image.ndim == 2 else image for image in found]
    for image in found:
        if image.ndim != 3 or image.dtype.kind not in "uif":
            raise DataError(
                "images are (N, H, W) or (N, H, W, C) numbers; found samples of shape "
                f"{image.shape} and dtype {image.dtype}"
            )
        if image.shape[2] != channels:
            raise DataError(
                f"the encoder takes {channels} channels; found samples of shape {image.shape}"
                + (
                    ". One image alone needs a first axis: image[None]."
                    if image.shape[1] == channels
                    else ""
                )
            )
    return found


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
