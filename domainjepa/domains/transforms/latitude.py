"""What 8 bits can hold: tones that run over the range are brought back into it, not burnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.transforms.unit import Floats

FIRST = 0.501
"""What is rounded to the first level above black."""
NEWLY = 0.015
"""Share of the values that may go to black, and to white, beside those that were there before."""
LOOKED_AT = 1024
"""Values, about, that quantiles are taken of."""


class Latitude(A.ImageOnlyTransform):  # type: ignore[misc]
    """Changes of an 8-bit image, all computed in float32 and rounded once, at the end.

    Where they have carried more than `NEWLY` of the values below black, the image is raised, as a
    detector's bias level raises it; where above white, it is exposed less. So what a change is
    about (its gain, its noise) stays, and no view is burnt out. Photographers call the range that
    may be missed before tones are lost the exposure latitude.

    Args:
        steps: of float32 images on the scale on which 1 is white, in order.
    """

    def __init__(self, steps: Sequence[A.BasicTransform]) -> None:
        super().__init__(p=1.0)
        self.steps = steps

    def set_random_state(self, random_generator: Any, py_random: Any) -> None:
        super().set_random_state(random_generator, py_random)
        for step in self.steps:
            step.set_random_state(random_generator, py_random)

    def apply(self, img: NDArray[np.uint8], **params: Any) -> NDArray[np.uint8]:
        values = _affine(img, 1 / 255, 0, cv2.CV_32F)
        for step in self.steps:
            values = step(image=values)["image"]
        return developed(values, img)


def developed(values: Floats, before: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """8 bits of changed values.

    Args:
        values: (H, W, C) float32, 0 black and 1 white.
        before: (h, w, C) the image that was changed: what was black or white may be so.
    """
    was, some = _some(before), _some(values)
    black, white = (np.count_nonzero(was == end) / was.size for end in (0, 255))
    last = some.size - 1
    at = round(last * min(black + NEWLY, 1)), round(last * max(1 - white - NEWLY, 0))
    low, high = (255 * float(end) for end in np.partition(some, at)[list(at)])
    raised = max(FIRST - low, 0.0)
    if low >= 0:  # what is black stays so when it is rounded
        raised = min(raised, 1 - FIRST)
    darkened = 1.0 if high + raised <= 256 - FIRST else (255 - FIRST) / (high + raised)
    return _affine(values, 255 * darkened, raised * darkened, cv2.CV_8U)


def _some(image: NDArray[Any]) -> NDArray[Any]:
    """About `LOOKED_AT` of the values, evenly spread."""
    step = max(1, int((image.size / LOOKED_AT) ** 0.5))
    return image[step // 2 :: step, step // 2 :: step].ravel()


def _affine(image: NDArray[Any], factor: float, constant: float, depth: int) -> NDArray[Any]:
    """In one pass; 8-bit values are rounded and saturated."""
    return cv2.addWeighted(image, factor, image, 0.0, constant, dtype=depth).reshape(image.shape)
