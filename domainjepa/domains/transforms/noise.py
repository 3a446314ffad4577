"""Noise: of electronics, of counted photons, of magnitudes; where its random numbers come from."""

from __future__ import annotations

import functools
import math
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.transforms.bands import WHITE
from domainjepa.domains.transforms.unit import Floats, Image, UnitTransform


@functools.cache
def _stretch() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(2**20, dtype=np.float32)


def normal_numbers(transform: A.BasicTransform, shape: tuple[int, ...]) -> Floats:
    """Standard normal numbers of this shape, for reading only.

    They are cut at a random place out of one long stretch that was drawn once: within a view they
    are independent, and at 224 px it takes a hundredth of the time of drawing them afresh.

    Args:
        transform: with its randomness set; decides the place.
        shape: of the result.
    """
    count, stretch = math.prod(shape), _stretch()
    if count > stretch.size:
        fresh: Floats = transform.random_generator.standard_normal(count, dtype=np.float32)
        return fresh.reshape(shape)
    start = transform.py_random.randrange(stretch.size - count + 1)
    return stretch[start : start + count].reshape(shape)


class NoiseField(A.ImageOnlyTransform):  # type: ignore[misc]
    """Draws what noise is made of: `noise`, standard normal numbers, and `sigma`, their scale.

    Args:
        sigma: standard deviation on the 0..1 scale, drawn uniformly from this range.
        p: probability.
    """

    def __init__(self, sigma: tuple[float, float], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.sigma = sigma

    def numbers(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of `noise` for an image (H, W, C)."""
        return shape

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "noise": normal_numbers(self, self.numbers(params["shape"])),
            "sigma": self.py_random.uniform(*self.sigma),
        }


class GaussianNoise(NoiseField):
    """Add Gaussian noise, independent from pixel to pixel and from band to band."""

    def apply(self, img: Image, noise: Floats, sigma: float, **params: Any) -> Image:
        depth = cv2.CV_8U if img.dtype == np.uint8 else cv2.CV_32F
        noisy = cv2.addWeighted(img, 1.0, noise, sigma * WHITE[img.dtype], 0.0, dtype=depth)
        return noisy.reshape(img.shape)


class PhotonNoise(UnitTransform):
    """Noise of counted photons: the variance of a pixel is its signal over the count at white.

    Poisson's mean and variance with a Gaussian's shape, which Poisson's is from a dozen photons
    on; a dark pixel has none. Below zero there are no photons, so no noise.

    Args:
        photons: expected at a pixel of value 1, drawn log-uniformly from this range.
        p: probability.
    """

    def __init__(self, photons: tuple[float, float] = (100.0, 2000.0), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.photons = photons

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        low, high = map(math.log, self.photons)
        return {
            "noise": normal_numbers(self, params["shape"]),
            "photons": math.exp(self.py_random.uniform(low, high)),
        }

    def change(self, image: Floats, noise: Floats, photons: float, **params: Any) -> Floats:
        spread: Floats = np.sqrt(np.maximum(image, 0) * np.float32(1 / photons))
        noisy: Floats = image + spread * noise
        return noisy


class RicianNoise(NoiseField, UnitTransform):
    """Noise of a magnitude: |signal + complex Gaussian noise| (Gudbjartsson and Patz 1995).

    `sigma` is that of each of the two parts. The mean of the square is signal^2 + 2 sigma^2: air,
    which has no signal, gets a grey level. A negative value is no magnitude; it gets the Gaussian
    noise of one channel.
    """

    def numbers(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (2, *shape)

    def change(self, image: Floats, noise: Floats, sigma: float, **params: Any) -> Floats:
        real = image + np.float32(sigma) * noise[0]
        imaginary = np.float32(sigma) * noise[1]
        magnitude: Floats = np.sqrt(real * real + imaginary * imaginary)
        np.copyto(magnitude, real, where=image < 0)
        return magnitude
