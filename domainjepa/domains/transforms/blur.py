"""Blur by a point-spread function: the atmosphere, a lens, a focal spot."""

from __future__ import annotations

import math
from typing import Any

import albumentations as A
import cv2

from domainjepa.domains.transforms.unit import Image

FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian, in standard deviations."""


class PSFBlur(A.ImageOnlyTransform):  # type: ignore[misc]
    """Convolve with a Gaussian point-spread function of unit sum, which conserves flux.

    Args:
        fwhm: full width at half maximum in pixels of the view, drawn uniformly from this range.
        p: probability.
    """

    def __init__(self, fwhm: tuple[float, float] = (0.5, 2.0), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.fwhm = fwhm

    def get_params(self) -> dict[str, Any]:
        return {"sigma": self.py_random.uniform(*self.fwhm) / FWHM}

    def apply(self, img: Image, sigma: float, **params: Any) -> Image:
        side = 2 * math.ceil(3.5 * sigma) + 1
        kernel = cv2.getGaussianKernel(side, sigma)
        blurred = cv2.sepFilter2D(img, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
        return blurred.reshape(img.shape)
