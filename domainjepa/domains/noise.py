"""Noise of counted photons and of magnitudes, and where random numbers for pixels come from."""

from __future__ import annotations

import functools
import math
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.unit import Floats, UnitTransform


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


class RicianNoise(UnitTransform):
    """Noise of a magnitude: |signal + complex Gaussian noise| (Gudbjartsson and Patz 1995).

    The mean of the square is signal^2 + 2 sigma^2: air, which has no signal, gets a grey level.
    A negative value is no magnitude; it gets the Gaussian noise of one channel.

    Args:
        sigma: of each of the two parts, on the 0..1 scale, drawn uniformly from this range.
        p: probability.
    """

    def __init__(self, sigma: tuple[float, float] = (0.0, 0.04), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.sigma = sigma

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "parts": (
                normal_numbers(self, params["shape"]),
                normal_numbers(self, params["shape"]),
            ),
            "sigma": self.py_random.uniform(*self.sigma),
        }

    def change(
        self, image: Floats, parts: tuple[Floats, Floats], sigma: float, **params: Any
    ) -> Floats:
        real = image + np.float32(sigma) * parts[0]
        imaginary = np.float32(sigma) * parts[1]
        magnitude: Floats = np.sqrt(real * real + imaginary * imaginary)
        np.copyto(magnitude, real, where=image < 0)
        return magnitude
