"""Raw intensity with its neighbourhood: the floor that patch features have to beat."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from domainjepa.data.source import Source
from domainjepa.domains.intensity import Intensity
from domainjepa.encoder.patches import Patches
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.encoders.intensity import fitted_intensity
from domainjepa.views.resampling import unit_scale

FITTED_ON = 64
"""Training samples, at most, that the intensity is fitted on; of volumes a quarter."""


class Neighbourhood:
    """The intensity of each pixel and its Gaussian derivatives up to the second order.

    At scales of 1, 2 and 4 pixels, so 1 + 3 * 6 features a channel of images, 1 + 3 * 10 of
    volumes: the local jet (Koenderink and van Doorn 1987), each derivative times its scale to the
    power of its order (Lindeberg 1998). 8-bit values run from 0 to 1, others go through the
    intensity of the domain that is proposed for the data, fitted on training samples.
    """

    SCALES = (1.0, 2.0, 4.0)
    ORDERS = 2

    def __init__(self) -> None:
        self._intensity: Intensity | None = None

    @property
    def name(self) -> str:
        return "intensity"

    @property
    def sha256(self) -> str:
        """Of all that the features depend on besides the images."""
        fitted = self._intensity.model_dump_json() if self._intensity else ""
        return hashlib.sha256(f"jet {self.SCALES} {self.ORDERS} {fitted}".encode()).hexdigest()

    def adapt(self, source: Source, rows: NDArray[np.int64]) -> None:
        """Fit the intensity on some training samples, where they are not of 8 bits."""
        self._intensity = None
        if source.dtype == np.uint8:
            return
        most = FITTED_ON // 4 if source.volumetric else FITTED_ON
        self._intensity = fitted_intensity(source, rows, most)

    def transform(self, images: object) -> NDArray[np.float32]:
        raise UserError(
            "the baseline intensity tells pixels, not images: take it with --protocol segmentation,"
            " and pixels with others"
        )

    def patches(self, images: Source | Sequence[NDArray[np.generic]]) -> Iterator[Patches]:
        """(H, W, C) images, or (D, H, W, C) volumes -> features of every pixel."""
        for place in range(len(images)):
            image = np.asarray(images[place])
            shown = self._intensity(image) if self._intensity else image
            yield Patches(jet(unit_scale(shown), self.SCALES), (1.0,) * (image.ndim - 1))


def jet(image: NDArray[np.float32], scales: Sequence[float]) -> NDArray[np.float32]:
    """(..., C) -> (..., F): the image, and its derivatives up to the second order at each scale."""
    axes = range(image.ndim - 1)
    orders = [one for size in range(3) for one in combinations_with_replacement(axes, size)]
    channels = image.shape[-1]
    found = np.empty((*image.shape[:-1], channels * (1 + len(scales) * len(orders))), np.float32)
    found[..., :channels] = image
    place = channels
    for channel in range(channels):
        for scale, derived in product(scales, orders):
            order = [derived.count(axis) for axis in axes]
            smooth = ndimage.gaussian_filter(image[..., channel], scale, order=order)
            found[..., place] = smooth * np.float32(scale ** len(derived))
            place += 1
    return found


def intensity(encoders: Sequence[Encoder], weights: str | None = None) -> list[Encoder]:
    """Raw intensity and its derivatives, of every pixel."""
    if weights is not None:
        raise UserError("the baseline intensity has no weights: write intensity alone")
    return [Neighbourhood()]
