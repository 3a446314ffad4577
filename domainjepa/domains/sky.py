"""What telescope and sky do to a picture: pointing and orientation, seeing, noise."""

from __future__ import annotations

import functools
import math
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.bands import WHITE

Image = NDArray[Any]

FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian, in standard deviations."""


class SkyCrop(A.ImageOnlyTransform):  # type: ignore[misc]
    """Any orientation, parity, pointing and scale, in one bilinear interpolation.

    Cutouts are centred on their object. The view's centre is displaced from it along both axes of
    the view by draws from a triangular distribution, densest at the object. They reach as far as
    the view stays in the (unrotated) image, but at most 0.4 sides of a view that keeps the centre,
    and at most a quarter of the image's side for one that need not: beyond is sky alone. What lies
    outside the image after the rotation is filled by reflection, which keeps the level and the
    texture of the sky; a constant would draw a frame that tells how the view was turned.

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
        super().__init__(p=p)
        self.size = size
        self.scale = scale
        self.keep_centre = keep_centre

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        height, width = params["shape"][:2]
        draw = self.py_random
        shortest = min(height, width)
        side = min(math.sqrt(draw.uniform(*self.scale) * height * width), shortest)
        reach = (shortest - side) / 2
        reach = min(reach, 0.4 * side if self.keep_centre else 0.25 * shortest)
        return {
            "side": side,
            "angle": draw.uniform(0.0, 2 * math.pi),
            "mirrored": draw.random() < 0.5,
            "shift": (draw.triangular(-reach, reach), draw.triangular(-reach, reach)),
        }

    def apply(
        self,
        img: Image,
        side: float,
        angle: float,
        mirrored: bool,
        shift: tuple[float, float],
        **params: Any,
    ) -> Image:
        """Warp `img`.

        Args:
            img: (H, W, C), uint8 or float32.
            side: of the view, in pixels of `img`.
            angle: in radians, anticlockwise.
            mirrored: left and right exchanged before the rotation.
            shift: (x, y) of the view's centre from the image's, along the view's axes, in pixels.
        """
        height, width, channels = img.shape
        step = side / self.size
        if step >= 2:
            # Bin whole pixels first, as a detector does: bilinear interpolation sees two of them.
            bins = int(step)
            top, left = height % bins // 2, width % bins // 2
            height, width = height // bins, width // bins
            whole = img[top : top + height * bins, left : left + width * bins]
            img = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
            step, shift = step / bins, (shift[0] / bins, shift[1] / bins)
        # View pixel (u, v) -> image pixel: scale, displace, rotate and mirror about the centre.
        cos, sin = math.cos(angle), math.sin(angle)
        matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
        if mirrored:
            matrix[0] *= -1
        middle = (self.size - 1) / 2
        corner = (shift[0] - middle * step, shift[1] - middle * step)
        matrix[:, 2] = matrix[:, 0] * corner[0] + matrix[:, 1] * corner[1]
        matrix[:, :2] *= step
        matrix[:, 2] += (width - 1) / 2, (height - 1) / 2
        view = cv2.warpAffine(
            img,
            matrix,
            (self.size, self.size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return view.reshape(self.size, self.size, channels)


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


@functools.cache
def _blank_sky() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(2**20, dtype=np.float32)


class SkyNoise(A.ImageOnlyTransform):  # type: ignore[misc]
    """Add Gaussian noise, independent from pixel to pixel and from band to band.

    The noise is cut at a random place out of one long stretch of blank sky, drawn once: within a
    view it is independent, and at 224 px it takes a hundredth of the time of drawing it afresh.

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
        count = math.prod(params["shape"])
        sky = _blank_sky()
        if count > sky.size:
            noise = self.random_generator.standard_normal(count, dtype=np.float32)
        else:
            start = self.py_random.randrange(sky.size - count + 1)
            noise = sky[start : start + count]
        return {
            "noise": noise.reshape(params["shape"]),
            "sigma": self.py_random.uniform(*self.sigma),
        }

    def apply(self, img: Image, noise: NDArray[np.float32], sigma: float, **params: Any) -> Image:
        depth = cv2.CV_8U if img.dtype == np.uint8 else cv2.CV_32F
        noisy = cv2.addWeighted(img, 1.0, noise, sigma * WHITE[img.dtype], 0.0, dtype=depth)
        return noisy.reshape(img.shape)
