"""A pretrained encoder as a scikit-learn transformer.

It applies the intensity, the standardisation and the image size that its file holds, so it sees
exactly what the backbone saw.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from domainjepa.backbones import Backbone
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.domains.intensity import Intensity, load_intensity
from domainjepa.encoder.artefact import (
    FILE_NAME,
    EncoderCard,
    parse_encoder,
    read_encoder,
    refuse_misfit,
    weights_digest,
)
from domainjepa.encoder.samples import as_images, as_stored, framed, refuse_far
from domainjepa.encoder.standardise import Standardise
from domainjepa.encoder.windows import window_batches, windows
from domainjepa.errors import DataError, UserError
from domainjepa.views.resampling import Volume, own_scale, own_scale_of_array

__all__ = ["FrozenEncoder", "as_stored", "framed"]


class FrozenEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A pretrained encoder as a scikit-learn transformer: images -> features.

    Stateless: `fit` only checks its input. Clone, pickle, grid-search and pipe it as any other.

    Args:
        encoder: a run folder or an `encoder.safetensors`.
        batch_size: images a forward pass.
        device: `auto` takes CUDA where there is one.
        weights: `untrained` draws fresh weights for the same network, keyed by the run's seed: the
            twin that pretraining has to beat.
        spacing: millimetres from voxel to voxel along D, H, W of volumes that come as arrays; 1
            with a warning where it is not given. A source knows its own.
    """

    __module__ = "domainjepa.encoder"  # what pickles and skops files say, wherever the file lies

    _carried: tuple[str, bytes] | None = None  # name and artefact of a copy without its file
    _called: str | None = None

    def __init__(
        self,
        encoder: str | Path,
        *,
        batch_size: int = 256,
        device: str = "auto",
        weights: Literal["trained", "untrained"] = "trained",
        spacing: Sequence[float] | None = None,
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.device = device
        self.weights = weights
        self.spacing = spacing

    def fit(self, images: Any, labels: object = None) -> FrozenEncoder:
        """Check the images and load the weights; nothing is learned."""
        self._load()
        if not isinstance(images, Source):
            as_images(images, self.card.channels, self.card.dimensions)
        return self

    def transform(self, images: Source | ArrayLike) -> NDArray[np.float32]:
        """Features of images, or of volumes where the encoder was pretrained on them.

        A volume is resampled to the encoder's spacing, and windows that cover it are embedded and
        their features averaged; see `domainjepa.encoder.windows`.

        Args:
            images: an opened source, or (N, H, W) or (N, H, W, C) of the dtype that the encoder was
                pretrained on (its intensity is applied), or a list of (H, W[, C]); volumes have D
                before H.

        Returns:
            (N, D) float32.

        Raises:
            DataError: no images, another number of channels than the encoder's, or values far
                outside of the range that it was pretrained on.
            UserError: a parameter of the encoder that cannot be used.
        """
        self._load()
        if self.batch_size < 1:
            raise UserError(f"batch_size={self.batch_size}: at least 1 image a forward pass")
        backbone, standardise = self._network_
        device = _device(self.device)
        backbone.to(device).eval()
        standardise.to(device)
        features = []
        with torch.inference_mode():
            if self._card.dimensions == 3:
                for volume in self._volumes(images):
                    cubes = windows(volume.extent, self._side, self._card.size)
                    parts = [
                        backbone.probe_features(standardise(batch.to(device))).float().cpu()
                        for batch in window_batches(volume, cubes)
                    ]
                    features.append(torch.cat(parts).mean(0, keepdim=True).numpy())
                return np.concatenate(features)
            for batch in self._batches(images):
                stacked = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2)
                features.append(backbone.probe_features(standardise(stacked)).float().cpu().numpy())
        return np.concatenate(features)

    def untrained(self) -> FrozenEncoder:
        """The same network, sizes and standardisation with fresh weights."""
        twin = self.__sklearn_clone__()
        twin.weights = "untrained"
        return twin

    @property
    def card(self) -> EncoderCard:
        """What the file says of itself."""
        self._load()
        return self._card

    @property
    def network(self) -> tuple[Backbone, Standardise]:
        """The backbone and the standardisation before it, in evaluation mode."""
        self._load()
        return self._network_

    @property
    def name(self) -> str:
        """A short name for tables: that of the folder, unless it is called otherwise."""
        called = self._called or self._folder
        return called if self.weights == "trained" else f"{called} untrained"

    def called(self, name: str) -> FrozenEncoder:
        """The same encoder by another name."""
        copy = self.__sklearn_clone__()
        copy._called = name
        return copy

    @property
    def _folder(self) -> str:
        if self._carried and self._carried[0] == self.encoder:
            return str(self.encoder)
        path = Path(self.encoder).resolve()
        if path.name == FILE_NAME:
            path = path.parent
        return path.name.removesuffix(".safetensors")

    @property
    def sha256(self) -> str:
        """Of all that the features depend on besides the images; features are cached by it."""
        self._load()
        if self.spacing is None or self._card.dimensions == 2:
            return self._sha256
        return hashlib.sha256(f"{self._sha256} {tuple(self.spacing)}".encode()).hexdigest()

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
        # A pickle or a skops file has to work where the artefact is not: it takes the bytes along,
        # and the folder's name for tables, but no path.
        name = self._folder
        return {**self.get_params(), "encoder": name, "_carried": (name, self._bytes())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __sklearn_clone__(self) -> FrozenEncoder:
        copy = FrozenEncoder(**self.get_params())
        copy._carried, copy._called = self._carried, self._called
        return copy

    def _bytes(self) -> bytes:
        if self._carried and self._carried[0] == self.encoder:
            return self._carried[1]
        return read_encoder(Path(self.encoder))

    def _load(self) -> None:
        wanted = (str(self.encoder), self.weights)
        if getattr(self, "_loaded", None) == wanted:
            return
        if self.weights not in ("trained", "untrained"):
            raise UserError(f"weights={self.weights!r}: choose trained or untrained")
        card, weights = parse_encoder(self._bytes(), Path(self.encoder).name)
        refuse_misfit(card, {name: weight.shape for name, weight in weights.items()})
        with torch.random.fork_rng():
            torch.manual_seed(key(card.config.get("seed", 0), "weights"))
            backbone = Backbone(card.backbone, len(card.mean), card.size)
        digest = card.sha256
        if self.weights == "trained":
            backbone.load_state_dict(weights)
        else:
            # Runs that differ in their training alone have one and the same twin.
            seen = card.model_dump_json(exclude={"config", "data", "domain", "sha256", "step"})
            fresh = weights_digest(backbone.state_dict())
            digest = hashlib.sha256(f"{seen} {fresh}".encode()).hexdigest()
        backbone.eval().requires_grad_(False)
        self._card, self._sha256, self._loaded = card, digest, wanted
        self._network_ = (backbone, Standardise(card.mean, card.std, card.dimensions))
        with torch.inference_mode():
            probe = torch.zeros(1, len(card.mean), *[card.size] * card.dimensions)
            self._width = int(backbone.probe_features(probe).shape[1])

    def _batches(self, images: Source | ArrayLike) -> Iterator[NDArray[Any]]:
        card = self._card
        intensity = load_intensity(card.intensity)
        found = self._found(images)
        for first in range(0, len(found), self.batch_size):
            last = min(first + self.batch_size, len(found))
            rows = range(first, last)
            batch = found.__getitems__(rows) if isinstance(found, Source) else found[first:last]
            stored = [as_stored(image, np.dtype(card.dtype)) for image in batch]
            refuse_far(stored, intensity)
            yield np.stack([framed(intensity(image), card.size) for image in stored])

    def _volumes(self, volumes: Source | ArrayLike) -> Iterator[Volume]:
        intensity, dtype = load_intensity(self._card.intensity), np.dtype(self._card.dtype)
        found = self._found(volumes)
        if isinstance(found, Source):
            refuse_far([as_stored(_middle(found), dtype)], intensity)
            for row in range(len(found)):
                own = own_scale(found, row, intensity)
                yield Volume.of_row(found, row, partial(_as_seen, own, dtype))
            return
        if self.spacing is None:
            warnings.warn(
                "the spacing of these volumes is not known: 1 mm is taken. Give "
                "FrozenEncoder(…, spacing=(d, h, w)) in millimetres, or an opened source.",
                stacklevel=3,
            )
        spacing = (1.0, 1.0, 1.0) if self.spacing is None else tuple(self.spacing)
        if len(spacing) != 3 or min(spacing) <= 0:
            raise UserError(f"spacing={self.spacing}: give three lengths in mm, along D, H and W")
        for array in found:
            stored = as_stored(array, dtype)
            refuse_far([stored], intensity)
            own = own_scale_of_array(stored, intensity)
            yield Volume.of_array(stored, spacing, own)

    @property
    def _side(self) -> float:
        """Millimetres a side of what the network sees of a volume at once."""
        return (self._card.spacing or 1.0) * self._card.size

    def _found(self, images: Source | ArrayLike) -> Source | Sequence[NDArray[Any]]:
        card = self._card
        if not isinstance(images, Source):
            return as_images(images, card.channels, card.dimensions)
        if images.channels != card.channels:
            raise DataError(
                f"the encoder takes {card.channels} channels; the images have {images.channels}"
            )
        if images.volumetric != (card.dimensions == 3):
            wanted = "volumes" if card.dimensions == 3 else "images"
            raise DataError(
                f"the encoder was pretrained on {wanted}; a sample here is "
                f"{'x'.join(map(str, images.shape))}. Open the data with --set "
                f"data.dimensions={card.dimensions}."
            )
        return images


def _middle(volumes: Source) -> NDArray[Any]:
    """What lies around the centre of the first volume."""
    centre = [side // 2 for side in volumes.sides(0)]
    start = [max(place - 16, 0) for place in centre]
    stop = [min(place + 16, side) for place, side in zip(centre, volumes.sides(0), strict=True)]
    return volumes.region(0, start, stop)


def _as_seen(intensity: Intensity, dtype: np.dtype[Any], part: NDArray[Any]) -> NDArray[Any]:
    return intensity(as_stored(part, dtype))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"device={name!r} cannot be used: {reason}. Choose auto, cpu or cuda."
        ) from error
