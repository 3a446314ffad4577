"""Characteristic curves: how a display or a detector turns signal into grey."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from domainjepa.domains.transforms.unit import Floats, Image, UnitTransform


class Gamma(UnitTransform):
    """Raise to a power, which keeps 0, 1 and the order of all values; the sign stays.

    Args:
        limits: of the exponent, drawn log-uniformly.
        p: probability.
    """

    def __init__(self, limits: tuple[float, float] = (0.7, 1.4), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.limits = limits

    def get_params(self) -> dict[str, Any]:
        low, high = map(math.log, self.limits)
        return {"exponent": math.exp(self.py_random.uniform(low, high))}

    def apply(self, img: Image, **params: Any) -> Image:
        if img.dtype == np.uint8:
            exponent = params["exponent"]
            levels = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
            return np.take(levels, img)
        return super().apply(img, **params)

    def change(self, image: Floats, exponent: float, **params: Any) -> Floats:
        flat = np.ascontiguousarray(image).reshape(len(image), -1)
        raised: Floats = cv2.pow(np.abs(flat), exponent).reshape(image.shape)
        return np.copysign(raised, image)
