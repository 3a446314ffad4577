"""The base of changes that are computed in float32, whatever the dtype of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
Floats = NDArray[Any]
"""float32."""


class UnitTransform(A.ImageOnlyTransform):  # type: ignore[misc]
    """A change of an image on the scale on which 1 is white.

    8-bit values are divided by 255 before, and multiplied, rounded and saturated after; float32
    values go through as they are, negative ones and those beyond 1 too.
    """

    change: Callable[..., Floats]
    """(H, W, C) float32 and the parameters by name -> the same shape; leaves the image alone."""

    def apply(self, img: Image, **params: Any) -> Image:
        if img.dtype != np.uint8:
            return self.change(img, **params).astype(np.float32, copy=False)
        changed = self.change(img * np.float32(1 / 255), **params) * np.float32(255)
        levels: Image = np.rint(changed).clip(0, 255).astype(np.uint8)
        return levels
