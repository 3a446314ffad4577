"""What an ultrasound scanner does to a picture: speckle, contact with the skin."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from domainjepa.domains.transforms.noise import normal_numbers
from domainjepa.domains.transforms.unit import Floats, UnitTransform


class Speckle(UnitTransform):
    """Multiply by a speckle pattern of mean 1.

    Fully developed speckle is the magnitude of a complex Gaussian field (Goodman 1975): Rayleigh,
    with a standard deviation of 0.52 of its mean, and grains as large as the resolution cell,
    which is wider across the beam than along it. The factor is 1 + strength (r - 1), with r that
    magnitude over its mean. All bands see the same pattern: a grey picture stays grey.

    Args:
        strength: drawn uniformly from this range; 1 is fully developed speckle.
        grain: standard deviation of the cell along the beam, in pixels, drawn uniformly from this
            range; across the beam it is 1.6 times as wide.
        p: probability.
    """

    def __init__(
        self,
        strength: tuple[float, float] = (0.0, 0.4),
        grain: tuple[float, float] = (0.5, 1.2),
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.strength = strength
        self.grain = grain

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        shape = params["shape"][:2]
        return {
            "parts": (normal_numbers(self, shape), normal_numbers(self, shape)),
            "grain": self.py_random.uniform(*self.grain),
            "strength": self.py_random.uniform(*self.strength),
        }

    def pattern(self, parts: tuple[Floats, Floats], grain: float) -> Floats:
        """(H, W): a Rayleigh magnitude over its mean, sqrt(pi / 2)."""
        down, across = (
            cv2.getGaussianKernel(2 * math.ceil(3 * sigma) + 1, sigma)
            for sigma in (grain, 1.6 * grain)
        )
        # Divided by the norms of the kernels, the blurred parts have variance 1 again.
        norm = float(np.linalg.norm(down) * np.linalg.norm(across))
        real, imaginary = (
            cv2.sepFilter2D(part, -1, across, down, borderType=cv2.BORDER_REFLECT) for part in parts
        )
        magnitude: Floats = np.sqrt(real * real + imaginary * imaginary)
        magnitude *= np.float32(1 / (norm * math.sqrt(math.pi / 2)))
        return magnitude

    def change(
        self,
        image: Floats,
        parts: tuple[Floats, Floats],
        grain: float,
        strength: float,
        **params: Any,
    ) -> Floats:
        factor = 1 + np.float32(strength) * (self.pattern(parts, grain) - 1)
        return image * factor[..., None]


class Contact(UnitTransform):
    """Darken columns from the skin down, where the probe has lost contact.

    The whole depth is darker: a shadow that begins at a lesion is a sign, and is left alone.

    Args:
        left: share of the signal that is left, drawn uniformly from this range.
        width: of the shadow as a share of the picture's, drawn uniformly from this range.
        p: probability.
    """

    def __init__(
        self,
        left: tuple[float, float] = (0.3, 0.8),
        width: tuple[float, float] = (0.1, 0.35),
        p: float = 0.2,
    ) -> None:
        super().__init__(p=p)
        self.left = left
        self.width = width

    def get_params(self) -> dict[str, Any]:
        draw = self.py_random.uniform
        return {"left": draw(*self.left), "width": draw(*self.width), "centre": draw(0, 1)}

    def change(
        self, image: Floats, left: float, width: float, centre: float, **params: Any
    ) -> Floats:
        across = np.linspace(0, 1, image.shape[1], dtype=np.float32)
        # Soft edges: the beam is as wide as a good part of the shadow.
        shadow = np.exp(-(((across - centre) / (width / 2)) ** 4))
        darker: Floats = image * (1 - np.float32(1 - left) * shadow)[None, :, None]
        return darker
