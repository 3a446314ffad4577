"""What an encoder has to beat.

A baseline is a function `(encoders, weights) -> list of encoders`; the registry names it.
`encoders` are those under evaluation, `weights` is what the user wrote after `NAME=`, or None.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import Image, Source
from domainjepa.encoder import FrozenEncoder, framed
from domainjepa.errors import UserError
from domainjepa.evaluation.features import Encoder
from domainjepa.registry import BASELINES


class Pixels:
    """The image itself as its features: the centre square, averaged down to `size` px a side.

    Integers are scaled by the range of their type, floats are left as they are.
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
        top = np.iinfo(image.dtype).max if image.dtype.kind in "ui" else 1
        pixels = image.astype(np.float32) / np.float32(top)
        return framed(pixels.reshape(*pixels.shape[:2], -1), size).ravel()


def pixels(encoders: Sequence[Encoder], weights: str | None = None) -> list[Encoder]:
    """Raw pixels."""
    if weights is not None:
        raise UserError(f"the baseline pixels has no weights: write pixels, not pixels={weights}")
    return [Pixels()]


def untrained(encoders: Sequence[Encoder], weights: str | None = None) -> list[Encoder]:
    """The same networks before pretraining: what the architecture alone is worth."""
    if weights is not None:
        raise UserError("the baseline untrained draws its own weights: write untrained alone")
    twins: dict[str, Encoder] = {}
    for encoder in encoders:
        if isinstance(encoder, FrozenEncoder):
            twin = encoder.untrained()
            twins.setdefault(twin.sha256, twin)
    return list(twins.values())


def baselines(wanted: Sequence[str], encoders: Sequence[Encoder]) -> list[Encoder]:
    """The baselines behind `NAME` or `NAME=WEIGHTS`.

    Raises:
        UserError: an unknown name, or weights that the baseline cannot take.
    """
    made: list[Encoder] = []
    for text in wanted:
        name, _, weights = text.partition("=")
        made += BASELINES.load(name)(encoders, weights or None)
    return made
