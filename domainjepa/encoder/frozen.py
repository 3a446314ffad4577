"""A pretrained encoder as a scikit-learn transformer.

It applies the intensity, the standardisation and the image size that its file holds, so it sees
exactly what the backbone saw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor

from domainjepa import devices
from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import Grid, Layers
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.encoder import passes
from domainjepa.encoder.artefact import (
    EncoderCard,
    parse_encoder,
    read_encoder,
    refuse_misfit,
    weights_digest,
)
from domainjepa.encoder.inputs import accepted, image_batches, volumes
from domainjepa.encoder.patches import Patches, PatchReader
from domainjepa.encoder.places import INITIAL, name_of, run_of
from domainjepa.encoder.samples import framed
from domainjepa.encoder.standardise import Standardise
from domainjepa.encoder.windows import window_batches, windows
from domainjepa.errors import DataError, UserError

NOT_SEEN = {"config", "data", "domain", "init", "sha256", "step"}
"""What a card says of the training alone."""


class FrozenEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A pretrained encoder as a scikit-learn transformer: images -> features.

    Stateless: `fit` only checks its input. Clone, pickle, grid-search and pipe it as any other.

    Args:
        encoder: a run folder, RUN@STEP for one that was kept on the way, an `encoder.safetensors`,
            or hf://OWNER/NAME[@REVISION], downloaded once; see `domainjepa.encoder.hub`.
        output: `pooled`, one vector a sample, or `patches`, one for each position of its map.
        batch_size: images a forward pass, at most: on the CPU smaller ones are chosen, which are
            faster there.
        device: `auto` takes the accelerator where there is one.
        weights: `untrained` draws fresh weights for the same network, keyed by the run's seed: the
            twin that pretraining has to beat.
        spacing: millimetres from voxel to voxel along D, H, W of volumes that come as arrays; 1
            with a warning where it is not given. A source knows its own.
        layers: of patches: `last`, the map that the network pools (of ViTs the patch tokens of the
            last block); a stage, or block, by its number, -1 the last; or several, concatenated.
        scale: of patches: images are resized by this first, and the voxels of volumes are those of
            pretraining divided by it; 1 takes pixels as they are.
        window: of patches: pixels a side of what goes through the network at once. None: the size
            of pretraining for transformers, at least 512 (of volumes 96) for the other networks.
        overlap: of patches: of neighbouring windows at least, as a share of their side.
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
        output: Literal["pooled", "patches"] = "pooled",
        layers: Layers = "last",
        scale: float = 1.0,
        window: int | None = None,
        overlap: float = 0.25,
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.device = device
        self.weights = weights
        self.spacing = spacing
        self.output = output
        self.layers = layers
        self.scale = scale
        self.window = window
        self.overlap = overlap

    def fit(self, images: Any, labels: object = None) -> FrozenEncoder:
        """Check the images and load the weights; nothing is learned."""
        self._load()
        if not isinstance(images, Source):
            accepted(self.card, images)
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
            (N, D) float32; of patches (N, h, w, D), of volumes (N, d, h, w, D).

        Raises:
            DataError: no images, another number of channels than the encoder's, or values far
                outside of the range that it was pretrained on; for patches, images that have not
                all the same number of positions.
            UserError: a parameter of the encoder that cannot be used.
        """
        self._ready()
        if self.output == "patches":
            return _stacked(self.patches(images))
        backbone, standardise = self._network_
        device = next(backbone.parameters()).device
        found = accepted(self._card, images)

        def read(batch: Tensor) -> Tensor:
            return backbone.probe_features(standardise(batch))

        if self._card.dimensions == 3:
            every = []
            for volume in volumes(self._card, found, self.spacing):
                cubes = windows(volume.extent, self._side, self._card.size)
                parts = passes.features(backbone, read, window_batches(volume, cubes), device)
                every.append(parts.mean(0, keepdims=True))
            return np.concatenate(every)
        size = self._card.size
        shape = (len(self._card.mean), size, size)
        count = passes.at_once(backbone, read, shape, self.batch_size, device)
        images_seen = (
            np.stack([framed(image, size) for image in batch])
            for batch in image_batches(self._card, found, count)
        )
        stacked = (torch.from_numpy(seen).permute(0, 3, 1, 2) for seen in images_seen)
        return passes.features(backbone, read, stacked, device)

    def patches(self, images: Source | ArrayLike) -> Iterator[Patches]:
        """The features of every position, image after image, of any sizes: see `Patches`.

        One image, or volume, is in memory at a time, and windows of a large one.

        Args:
            images: as `transform` takes them.

        Raises:
            DataError, UserError: as `transform` does.
        """
        self._ready()
        reader = PatchReader(
            self._card, *self._network_, self.layers, self.scale, self.window, self.overlap
        )
        return reader.read(images, batch_size=self.batch_size, spacing=self.spacing)

    def untrained(self) -> FrozenEncoder:
        """The same network, sizes and standardisation with fresh weights."""
        twin = self.__sklearn_clone__()
        twin.weights = "untrained"
        return twin

    def initial(self) -> FrozenEncoder | None:
        """What the run began with, where it was given weights and keeps them beside its encoder."""
        if self._carried or self.card.init is None:
            return None
        path = run_of(Path(self.encoder)) / INITIAL
        if not path.is_file():
            return None
        begun = self.__sklearn_clone__()
        begun.encoder = path
        return begun.called(f"{self.name} initial")

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
    def grid(self) -> Grid:
        """Of the patch features: the stride in pixels of what the network sees, and the width."""
        self._load()
        return PatchReader(self._card, *self._network_, self.layers).grid

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
        return name_of(Path(self.encoder))

    @property
    def sha256(self) -> str:
        """Of all that the features depend on besides the images; features are cached by it."""
        self._load()
        told: list[object] = []
        if self.spacing is not None and self._card.dimensions == 3:
            told.append(tuple(self.spacing))
        if self.output == "patches":
            layers = self.layers if isinstance(self.layers, str | int) else [*self.layers]
            told += ["patches", layers, self.scale, self.window, self.overlap]
        if not told:
            return self._sha256
        return hashlib.sha256(" ".join(map(str, [self._sha256, *told])).encode()).hexdigest()

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """(D,) names such as resnet34_0."""
        self._load()
        width = self._width
        if self.output == "patches":
            width = self.grid.width
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

    def _ready(self) -> None:
        """Load, and bring the network to its device.

        Raises:
            UserError: a parameter that cannot be used.
        """
        self._load()
        if self.batch_size < 1:
            raise UserError(f"batch_size={self.batch_size}: at least 1 image a forward pass")
        if self.output not in ("pooled", "patches"):
            raise UserError(f"output={self.output!r}: choose pooled or patches")
        for part in self._network_:
            part.to(devices.choose(self.device)).eval()

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
            seen = card.model_dump_json(exclude=NOT_SEEN)
            fresh = weights_digest(backbone.state_dict())
            digest = hashlib.sha256(f"{seen} {fresh}".encode()).hexdigest()
        backbone.eval().requires_grad_(False)
        self._card, self._sha256, self._loaded = card, digest, wanted
        self._network_ = (backbone, Standardise(card.mean, card.std, card.dimensions))
        with torch.inference_mode():
            probe = torch.zeros(1, len(card.mean), *[card.size] * card.dimensions)
            self._width = int(backbone.probe_features(probe).shape[1])

    @property
    def _side(self) -> float:
        """Millimetres a side of what the network sees of a volume at once."""
        return (self._card.spacing or 1.0) * self._card.size


def _stacked(found: Iterator[Patches]) -> NDArray[np.float32]:
    maps = [one.features for one in found]
    if len({one.shape for one in maps}) > 1:
        grids = " and ".join(sorted({"x".join(map(str, one.shape[:-1])) for one in maps})[:2])
        raise DataError(
            f"these images are of several sizes and have {grids} positions, which fit no one "
            "array: take them one by one from FrozenEncoder(…).patches(images)."
        )
    return np.stack(maps)
