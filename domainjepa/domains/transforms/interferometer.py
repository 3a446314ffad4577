"""What a radio interferometer does to a map: its beam, noise in the islands, the clip level.

Maps are often thresholded: everything below a few sigma is exactly zero. A pixel of exactly zero is
taken for one that was clipped, in every map, and noise and beam leave it so.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from domainjepa.domains.transforms.blur import FWHM
from domainjepa.domains.transforms.noise import NoiseField
from domainjepa.domains.transforms.unit import Floats, UnitTransform


class IslandNoise(NoiseField, UnitTransform):
    """Add Gaussian noise to what is not exactly zero; in a clipped map, what falls below goes."""

    def change(self, image: Floats, noise: Floats, sigma: float, **params: Any) -> Floats:
        clipped = image == 0
        noisy = image + np.float32(sigma) * noise
        if not clipped.any():
            return noisy
        noisy[clipped] = 0
        return np.maximum(noisy, np.minimum(image, 0))


class Beam(UnitTransform):
    """Convolve with an elliptical Gaussian beam of unit sum, which conserves the flux.

    The beam of an array is longer towards the horizon, at an angle that depends on the hour.

    Args:
        fwhm: of the minor axis, in pixels of the view, drawn uniformly from this range.
        ratio: major axis over minor, drawn uniformly from this range.
        p: probability.
    """

    def __init__(
        self,
        fwhm: tuple[float, float] = (0.5, 2.0),
        ratio: tuple[float, float] = (1.0, 1.8),
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.fwhm = fwhm
        self.ratio = ratio

    def get_params(self) -> dict[str, Any]:
        draw = self.py_random.uniform
        minor = draw(*self.fwhm) / FWHM
        return {"minor": minor, "major": minor * draw(*self.ratio), "angle": draw(0, math.pi)}

    def kernel(self, minor: float, major: float, angle: float) -> Floats:
        """(2 r + 1, 2 r + 1), of sum 1; standard deviations in pixels, the angle in radians."""
        reach = math.ceil(3.5 * major)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        along = x * math.cos(angle) + y * math.sin(angle)
        across = y * math.cos(angle) - x * math.sin(angle)
        beam = np.exp(-((along / major) ** 2 + (across / minor) ** 2) / 2)
        unit: Floats = (beam / beam.sum()).astype(np.float32)
        return unit

    def change(
        self, image: Floats, minor: float, major: float, angle: float, **params: Any
    ) -> Floats:
        kernel = self.kernel(minor, major, angle)
        seen: Floats = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        return seen.reshape(image.shape)


class Clip(UnitTransform):
    """Set to zero what lies below a share of the peak, as a shallower map would show it.

    Maps without a pixel of exactly zero were never clipped, and are left alone.

    Args:
        level: share of the peak of each band, drawn uniformly from this range.
        p: probability.
    """

    def __init__(self, level: tuple[float, float] = (0.01, 0.1), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.level = level

    def get_params(self) -> dict[str, Any]:
        return {"level": self.py_random.uniform(*self.level)}

    def change(self, image: Floats, level: float, **params: Any) -> Floats:
        if not (image == 0).any():
            return image.copy()
        return np.where(image < np.float32(level) * image.max(axis=(0, 1)), np.float32(0), image)
