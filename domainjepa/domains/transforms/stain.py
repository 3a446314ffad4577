"""More or less of a stain in a picture of a slide."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.transforms.unit import Floats, Image, UnitTransform

HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
"""Optical densities in red, green and blue of unit length (Ruifrok and Johnston 2001, Anal. Quant.
Cytol. Histol. 23, 291)."""

DARKEST = 1 / 255


def stain_matrix() -> NDArray[np.float64]:
    """(3, 3): rows are the densities of haematoxylin, of eosin, and of what neither explains."""
    stains = np.array([HAEMATOXYLIN, EOSIN])
    rest = np.cross(*stains)
    rows = np.vstack([stains, rest])
    matrix: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return matrix


class StainJitter(UnitTransform):
    """Multiply the amount of each stain by a factor of its own.

    Light that passes a stain falls off exponentially (Beer and Lambert), so optical densities
    -log I are sums over stains. They are unmixed, scaled and mixed again: one linear map of log I.
    Glass, which has no stain, stays white; nothing is added, as some jitters do (Tellez et al.
    2019, Med. Image Anal. 58), for a slide without tissue has no colour to gain.

    Args:
        strength: each factor is drawn uniformly from 1 - strength to 1 + strength.
        p: probability.
    """

    def __init__(self, strength: float = 0.3, p: float = 0.8) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        low, high = 1 - self.strength, 1 + self.strength
        return {"factors": [self.py_random.uniform(low, high) for _ in range(3)]}

    def map(self, factors: list[float]) -> NDArray[np.float64]:
        """(3, 3): log I after = map @ log I before."""
        matrix = stain_matrix()
        mapped: NDArray[np.float64] = (np.linalg.inv(matrix) @ np.diag(factors) @ matrix).T
        return mapped

    def apply(self, img: Image, **params: Any) -> Image:
        if img.shape[2] != 3:
            raise ValueError(f"stains are unmixed from red, green and blue, not {img.shape[2]}")
        return super().apply(img, **params)

    def change(self, image: Floats, factors: list[float], **params: Any) -> Floats:
        logs = cv2.log(np.maximum(image, np.float32(DARKEST)))
        changed: Floats = cv2.exp(cv2.transform(logs, self.map(factors)))
        return changed
