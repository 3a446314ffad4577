"""What telescope and sky do to a picture: pointing and orientation, seeing, noise."""

from __future__ import annotations

import math
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.bands import WHITE
from domainjepa.domains.framing import Framing
from domainjepa.domains.noise import normal_numbers

Image = NDArray[Any]

FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian, in standard deviations."""


class SkyCrop(Framing):
    """Any orientation, parity, pointing and scale.

    Cutouts are centred on their object. The view's centre is displaced from it along both axes of
    the view by draws from a triangular distribution, densest at the object. They reach as far as
    the view stays in the (unrotated) image, but at most 0.4 sides of a view that keeps the centre,
    and at most a quarter of the image's side for one that need not: beyond is sky alone.

    Args:
        size: pixels a side of the view.
        scale: share of the image's area that the view shows, drawn uniformly from this range.
        keep_centre: the object stays in the view, a tenth of a side from its edge or more.
        p: probability; the size of the result is promised for 1 alone.
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.3, 1.0),
        keep_centre: bool = True,
        p: float = 1.0,
    ) -> None:
        super().__init__(size, scale, turn=180.0, mirror=True, p=p)
        self.keep_centre = keep_centre

    def shift(self, side: float, height: int, width: int, angle: float) -> tuple[float, float]:
        shortest = min(height, width)
        reach = min((shortest - side) / 2, 0.4 * side if self.keep_centre else 0.25 * shortest)
        draw = self.py_random.triangular
        return draw(-reach, reach), draw(-reach, reach)


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


class SkyNoise(A.ImageOnlyTransform):  # type: ignore[misc]
    """Add Gaussian noise, independent from pixel to pixel and from band to band.

    Args:
        sigma: standard deviation on the 0..1 scale, drawn uniformly from this range.
        p: probability.
    """

    def __init__(self, sigma: tuple[float, float] = (0.0, 0.04), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.sigma = sigma

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "noise": normal_numbers(self, params["shape"]),
            "sigma": self.py_random.uniform(*self.sigma),
        }

    def apply(self, img: Image, noise: NDArray[np.float32], sigma: float, **params: Any) -> Image:
        depth = cv2.CV_8U if img.dtype == np.uint8 else cv2.CV_32F
        noisy = cv2.addWeighted(img, 1.0, noise, sigma * WHITE[img.dtype], 0.0, dtype=depth)
        return noisy.reshape(img.shape)
