"""What an encoder has to beat.

A baseline is a function `(encoders, weights) -> list of encoders`; the registry names it.
`encoders` are those under evaluation, `weights` is what the user wrote after `NAME=`, or None.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.precision import as_float32
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.samples import framed
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.encoders.published import PREFIX, PUBLISHED, sized, timm_encoder
from domainjepa.registry import BASELINES


def _top(dtype: np.dtype[Any]) -> float:
    """The largest value of a type of integers, 1 of floats."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


class Pixels:
    """The image itself as its features: the centre square, averaged down to `size` px a side.

    Integers are scaled by the range of their type, floats are left as they are; what is not finite
    is 0, as it is to encoders.
    """

    def __init__(self, size: int = 16) -> None:
        self.size = size

    @property
    def name(self) -> str:
        return "pixels"

    @property
    def sha256(self) -> str:
        """Of all that the features depend on besides the images."""
        return hashlib.sha256(f"pixels {self.size}".encode()).hexdigest()

    def transform(self, images: Source | Sequence[Image]) -> NDArray[np.float32]:
        """(H, W, C) images -> (N, D) float32, D = size * size * C for images of at least `size`.

        The first image says how large the features are, so that smaller images are not blown up.
        """
        found = images.__getitems__(range(len(images))) if isinstance(images, Source) else images
        size = min(self.size, *np.shape(found[0])[:2])
        return np.stack([self._features(np.asarray(image), size) for image in found])

    @staticmethod
    def _features(image: Image, size: int) -> NDArray[np.float32]:
        pixels = as_float32(image) / np.float32(_top(image.dtype))
        pixels = np.where(np.isfinite(pixels), pixels, np.float32(0))
        return framed(pixels.reshape(*pixels.shape[:2], -1), size).ravel()


class Histograms:
    """How often each level of each band occurs; of three bands also each colour.

    32 levels a band and 4 x 4 x 4 colours, as shares of the pixels, square roots taken (Hellinger),
    without which empty sky is all that counts. 8-bit values run from 0 to 255; all others from the
    0.1 to the 99.9 percentile of training images, band by band, the ends taking what is beyond.
    """

    LEVELS = 32
    COLOURS = 4
    FITTED_ON = 256

    def __init__(self) -> None:
        self._range: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    @property
    def name(self) -> str:
        return "histograms"

    @property
    def sha256(self) -> str:
        """Of all that the features depend on besides the images."""
        numbers = [] if self._range is None else [of.tolist() for of in self._range]
        return hashlib.sha256(
            f"histograms {self.LEVELS} {self.COLOURS} {numbers}".encode()
        ).hexdigest()

    def adapt(self, source: Source, rows: NDArray[np.int64]) -> None:
        """Take the ranges of the bands from some training images."""
        self._range = None
        if source.dtype == np.uint8:
            return
        draw = np.random.default_rng(key("baseline", "histograms", len(source)))
        chosen = np.sort(draw.permutation(rows)[: self.FITTED_ON]).tolist()
        flat = [image.reshape(-1, source.channels) for image in source.__getitems__(chosen)]
        pixels = np.concatenate([one[:: 1 + len(one) // 4096] for one in flat]).astype(np.float64)
        pixels[~np.isfinite(pixels)] = np.nan
        low, high = np.nanpercentile(pixels, (0.1, 99.9), axis=0)
        self._range = low, np.where(high > low, high, low + 1)

    def transform(self, images: Source | Sequence[Image]) -> NDArray[np.float32]:
        """(H, W, C) images -> (N, 32 C) float32, 64 more for three bands."""
        found = images.__getitems__(range(len(images))) if isinstance(images, Source) else images
        return np.stack([self._features(np.asarray(image)) for image in found])

    def _features(self, image: Image) -> NDArray[np.float32]:
        channels = image.shape[-1]
        pixels = image.reshape(-1, channels).astype(np.float64)
        low, high = self._range if self._range is not None else (0.0, _top(image.dtype))
        share = np.clip((pixels - low) / (high - low), 0, 1 - 1e-9)
        share = share[np.isfinite(share).all(axis=1)]
        counts = [
            np.bincount((band * self.LEVELS).astype(np.int64), minlength=self.LEVELS)
            for band in share.T
        ]
        if channels == 3:
            colour = (share * self.COLOURS).astype(np.int64) @ [self.COLOURS**2, self.COLOURS, 1]
            counts.append(np.bincount(colour, minlength=self.COLOURS**3))
        return np.sqrt(np.concatenate(counts) / max(len(share), 1)).astype(np.float32)


def pixels(encoders: Sequence[Encoder], weights: str | None = None) -> list[Encoder]:
    """Raw pixels."""
    return [_without_weights("pixels", Pixels(), weights)]


def histograms(encoders: Sequence[Encoder], weights: str | None = None) -> list[Encoder]:
    """Colour and intensity histograms."""
    return [_without_weights("histograms", Histograms(), weights)]


def _without_weights(name: str, made: Encoder, weights: str | None) -> Encoder:
    if weights is not None:
        raise UserError(f"the baseline {name} has no weights: write {name}, not {name}=FILE")
    return made


def untrained(encoders: Sequence[Encoder], weights: str | None = None) -> list[Encoder]:
    """The same networks before pretraining: what the architecture alone is worth, and what the
    weights are that a run began with where it was given some."""
    if weights is not None:
        raise UserError("the baseline untrained draws its own weights: write untrained alone")
    twins: dict[str, Encoder] = {}
    evaluated = {encoder.sha256 for encoder in encoders if isinstance(encoder, FrozenEncoder)}
    for encoder in encoders:
        if isinstance(encoder, FrozenEncoder):
            twin = encoder.untrained()
            for before in (encoder.initial(), twin):
                if before is not None and before.sha256 not in evaluated:
                    twins.setdefault(before.sha256, before)
    return list(twins.values())


def baselines(wanted: Sequence[str], encoders: Sequence[Encoder]) -> list[Encoder]:
    """The baselines behind `NAME[@PIXELS]` or `NAME[@PIXELS]=WEIGHTS`, `timm:NAME` among them.

    Published weights are asked for when they are needed, not here.

    Raises:
        UserError: an unknown name, or weights that the baseline cannot take.
    """
    made: list[Encoder] = []
    for text in wanted:
        name, _, weights = text.partition("=")
        if name.startswith(PREFIX) or sized(name)[0] in PUBLISHED:
            made.append(timm_encoder(name, weights or None))
        else:
            made += _made(name, BASELINES.load(name)(encoders, weights or None))
    return made


def _made(name: str, given: Any) -> list[Encoder]:
    """What a baseline's function gives: an encoder, or several."""
    found = list(given) if isinstance(given, Sequence) else [given]
    for one in found:
        if not isinstance(getattr(one, "name", None), str) or not hasattr(one, "transform"):
            raise UserError(
                f"the baseline {name} gave a {type(one).__name__}: an encoder has a name and "
                "transform(images). domainjepa.Network makes one of any network"
            )
    return found


def encoder(text: str, called: str | None = None) -> Encoder:
    """The encoder behind a run folder, an `encoder.safetensors`, or `timm:NAME[=WEIGHTS]`.

    Args:
        text: what the user wrote.
        called: its name in tables; by default that of the folder.

    Raises:
        UserError: there is none.
    """
    if not text.startswith(PREFIX):
        return FrozenEncoder(text).called(called) if called else FrozenEncoder(text)
    name, _, weights = text.partition("=")
    found = timm_encoder(name, weights or None)
    found.name = called or found.name
    return found
