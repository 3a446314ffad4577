"""Random changes of the bands of every pixel alike: gain, background, exposure, grey.

Each is an affine map of the band vector, y = M x + b. Neighbours in a chain are multiplied together
first and touch the pixels once: one rounding, one saturation, a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
Matrix = NDArray[np.float64]

WHITE = {np.dtype(np.uint8): 255.0, np.dtype(np.float32): 1.0}
"""The value that stands for 1 in each dtype that a view may have."""


YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""Luma and the two axes of chroma, from red, green and blue."""
RGB = np.linalg.inv(YIQ)


class BandMap(A.ImageOnlyTransform):  # type: ignore[misc]
    """A random affine map of the bands, the same for every pixel."""

    def lay_over(self, matrix: Matrix, image: Image) -> None:
        """Draw the change and apply it, in place, to what `matrix` does already.

        Args:
            matrix: (C, C + 1), the map [M | b] with b on the 0..1 scale.
            image: (H, W, C) that it will be applied to.
        """
        raise NotImplementedError

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        channels = params["shape"][2]
        matrix = np.eye(channels, channels + 1)
        self.lay_over(matrix, data["image"])
        return {"matrix": matrix}

    def apply(self, img: Image, matrix: Matrix, **params: Any) -> Image:
        matrix[:, -1] *= WHITE[img.dtype]
        return cv2.transform(img, matrix).reshape(img.shape)


class Gain(BandMap):
    """Multiply each band by its own factor, or all bands by a common one.

    Args:
        limits: the factor is drawn uniformly from this range.
        common: one factor for all bands: their ratios stay as they are.
        p: probability.
    """

    def __init__(self, limits: tuple[float, float], common: bool = False, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.limits = limits
        self.common = common

    def lay_over(self, matrix: Matrix, image: Image) -> None:
        draw, (low, high) = self.py_random.uniform, self.limits
        if self.common:
            matrix *= draw(low, high)
        else:
            matrix *= np.array([[draw(low, high)] for _ in matrix])


class Background(BandMap):
    """Add a constant to each band, or a common one to all.

    Args:
        limit: the constant is drawn uniformly from -limit to limit, on the 0..1 scale.
        common: the same constant for all bands.
        p: probability.
    """

    def __init__(self, limit: float = 0.03, common: bool = False, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.limit = limit
        self.common = common

    def lay_over(self, matrix: Matrix, image: Image) -> None:
        draw, limit = self.py_random.uniform, self.limit
        if self.common:
            matrix[:, -1] += draw(-limit, limit)
        else:
            matrix[:, -1] += [draw(-limit, limit) for _ in matrix]


class Grey(BandMap):
    """Put the mean of the bands into every band."""

    def __init__(self, p: float = 0.3) -> None:
        super().__init__(p=p)

    def lay_over(self, matrix: Matrix, image: Image) -> None:
        matrix[:] = matrix.mean(axis=0)


class Light(BandMap):
    """The light on a photograph, and its white balance: all of it affine in red, green and blue.

    Brightness multiplies; contrast stretches about the image's own mean grey; saturation about each
    pixel's grey; hue turns the chroma plane of YIQ (NTSC 1953), in which grey has no place.

    Args:
        brightness, contrast, saturation: factors are drawn uniformly from these ranges.
        hue: the angle is drawn uniformly from -hue to hue, in turns.
        p: probability.
    """

    def __init__(
        self,
        brightness: tuple[float, float],
        contrast: tuple[float, float],
        saturation: tuple[float, float],
        hue: float,
        p: float = 0.8,
    ) -> None:
        super().__init__(p=p)
        self.brightness, self.contrast = brightness, contrast
        self.saturation, self.hue = saturation, hue

    def lay_over(self, matrix: Matrix, image: Image) -> None:
        draw = self.py_random.uniform
        matrix *= draw(*self.brightness)
        factor = draw(*self.contrast)
        means = np.array(cv2.mean(image)[:3]) / WHITE[image.dtype]
        middle = YIQ[0] @ (matrix[:, :3] @ means + matrix[:, 3])
        matrix *= factor
        matrix[:, 3] += (1 - factor) * middle
        factor, angle = draw(*self.saturation), 2 * np.pi * draw(-self.hue, self.hue)
        turn = np.eye(3)
        turn[1:, 1:] = factor * np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        matrix[:] = RGB @ turn @ YIQ @ matrix


class Fused(BandMap):
    """Several band maps, each with its own probability, multiplied into one."""

    def __init__(self, maps: Sequence[BandMap]) -> None:
        super().__init__(p=1.0)
        self.maps = maps

    def set_random_state(self, random_generator: Any, py_random: Any) -> None:
        super().set_random_state(random_generator, py_random)
        for one in self.maps:
            one.set_random_state(random_generator, py_random)

    def lay_over(self, matrix: Matrix, image: Image) -> None:
        for one in self.maps:
            if one.should_apply():
                one.lay_over(matrix, image)


def fuse(steps: Sequence[A.BasicTransform]) -> list[A.BasicTransform]:
    """The same chain with neighbouring band maps multiplied into one."""
    fused: list[A.BasicTransform] = []
    neighbours: list[BandMap] = []
    for step in [*steps, None]:
        if isinstance(step, BandMap):
            neighbours.append(step)
            continue
        if neighbours:
            fused.append(Fused(neighbours) if len(neighbours) > 1 else neighbours[0])
            neighbours = []
        if step is not None:
            fused.append(step)
    return fused
