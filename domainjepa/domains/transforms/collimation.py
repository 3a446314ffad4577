"""The shutters of an X-ray tube."""

from __future__ import annotations

from typing import Any

import numpy as np

from domainjepa.domains.transforms.unit import Floats, UnitTransform


class Collimation(UnitTransform):
    """Black out a margin on each side, as collimator blades and display shutters do.

    Args:
        limit: a margin is drawn uniformly from 0 to this share of the side, for each side.
        p: probability.
    """

    def __init__(self, limit: float = 0.12, p: float = 0.2) -> None:
        super().__init__(p=p)
        self.limit = limit

    def get_params(self) -> dict[str, Any]:
        return {"margins": [self.py_random.uniform(0, self.limit) for _ in range(4)]}

    def change(self, image: Floats, margins: list[float], **params: Any) -> Floats:
        height, width = image.shape[:2]
        top, bottom = round(margins[0] * height), round((1 - margins[1]) * height)
        left, right = round(margins[2] * width), round((1 - margins[3]) * width)
        seen: Floats = np.zeros_like(image)
        seen[top:bottom, left:right] = image[top:bottom, left:right]
        return seen
