"""Smooth fields over a picture: uneven gain, and light scattered from everywhere."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from domainjepa.domains.transforms.unit import Floats, UnitTransform

WIDTH = 0.2
"""Standard deviation of the scattered light, as a share of the picture's side."""


@functools.lru_cache(maxsize=64)
def _powers(side: int, order: int) -> Floats:
    """(order + 1, side): powers of a position that runs from -1 to 1."""
    return np.vander(np.linspace(-1, 1, side), order + 1, increasing=True).T.astype(np.float32)


@functools.lru_cache(maxsize=64)
def _scattering(side: int) -> Floats:
    """(k, side) W, with W' W the blur of a line of this length, reflected at its ends.

    A Gaussian blur weakens the cosines of the orthonormal cosine transform; so wide a one leaves
    the first few, and 1e-4 of what lies beyond.
    """
    k, i = np.ogrid[: min(side, 8), :side]
    waves: Floats = np.cos(np.pi * k * (i + 0.5) / side) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    return (waves * np.exp(-((np.pi * WIDTH * k) ** 2) / 4)).astype(np.float32)


class BiasField(UnitTransform):
    """Multiply by a smooth positive field, the exponential of a polynomial in the position.

    The usual model of the field of a receiver coil (Van Leemput et al. 1999, IEEE TMI 18, 885), and
    of uneven lighting. Its logarithm has mean zero; all bands see the same field.

    Args:
        strength: each coefficient is drawn uniformly from -strength to strength.
        order: highest power of the polynomial.
        down: along the rows alone, the same in every column.
        p: probability.
    """

    def __init__(
        self, strength: float = 0.3, order: int = 3, down: bool = False, p: float = 0.5
    ) -> None:
        super().__init__(p=p)
        self.strength = strength
        self.order = order
        self.down = down

    def get_params(self) -> dict[str, Any]:
        terms = np.arange(self.order + 1)
        drawn = [[self.py_random.uniform(-1, 1) for _ in terms] for _ in terms]
        coefficients = self.strength * np.array(drawn, np.float32)
        coefficients[terms[:, None] + terms > self.order] = 0
        if self.down:
            coefficients[:, 1:] = 0
        return {"coefficients": coefficients}

    def field(self, height: int, width: int, coefficients: Floats) -> Floats:
        """(height, width) factors; coefficients[i, j] belongs to y^i x^j."""
        rows, columns = _powers(height, self.order), _powers(width, self.order)
        exponent = rows.T @ coefficients @ columns
        field: Floats = np.exp(exponent - exponent.mean())
        return field

    def change(self, image: Floats, coefficients: Floats, **params: Any) -> Floats:
        height, width = image.shape[:2]
        changed: Floats = image * self.field(height, width, coefficients)[..., None]
        return changed


class Scatter(UnitTransform):
    """Move a share of the light of each pixel to a wide neighbourhood: scatter, veiling glare.

    (1 - share) x + share G x, with G a Gaussian blur by `WIDTH`, reflected at the border: contrast
    is lost, the mean stays.

    Args:
        share: drawn uniformly from this range.
        p: probability.
    """

    def __init__(self, share: tuple[float, float] = (0.0, 0.4), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.share = share

    def get_params(self) -> dict[str, Any]:
        return {"share": self.py_random.uniform(*self.share)}

    def change(self, image: Floats, share: float, **params: Any) -> Floats:
        down, across = _scattering(image.shape[0]), _scattering(image.shape[1])
        waves = np.einsum("kh,hwc,lw->klc", down, image, across, optimize=True)
        haze = np.einsum("kh,klc,lw->hwc", down, waves, across, optimize=True)
        mixed: Floats = np.float32(1 - share) * image + np.float32(share) * haze
        return mixed
