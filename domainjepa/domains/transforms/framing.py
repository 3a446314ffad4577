"""Where a view looks: turn, mirror, scale and place in one interpolation."""

from __future__ import annotations

import math
from typing import Any

import albumentations as A
import cv2
import numpy as np
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray

Image = NDArray[Any]


class Framing(A.DualTransform):  # type: ignore[misc]
    """A square view, turned about its centre, mirrored, scaled, from a random place of the image.

    Two interpolations would smooth twice, by an amount that depends on the draw, so there is one.
    What lies outside the image is filled by reflection, which keeps level and texture; a constant
    would draw a frame that tells how the view was turned.

    A mask follows the image: a pixel of the view is masked as soon as a masked one has part in it.

    Args:
        size: pixels a side of the view.
        scale: share of the image's area that the view shows, drawn uniformly from this range.
        turn: the angle is drawn uniformly from -turn to turn, in degrees; 180 for any.
        mirror: left and right are exchanged in half of the views; with `turn` 180, any parity.
        quarters: no, one, two or three quarter turns are added to the angle, all as likely.
        p: probability; the size of the result is promised for 1 alone.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.3, 1.0),
        turn: float = 0.0,
        mirror: bool = False,
        quarters: bool = False,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        self.size = size
        self.scale = scale
        self.turn = turn
        self.mirror = mirror
        self.quarters = quarters

    def shift(self, side: float, height: int, width: int, angle: float) -> tuple[float, float]:
        """Draws where the view's centre is from the image's, along the view's axes, in pixels."""
        reach_x, reach_y = (width - side) / 2, (height - side) / 2
        x = self.py_random.uniform(-reach_x, reach_x)
        y = self.py_random.uniform(-reach_y, reach_y)
        cos, sin = math.cos(angle), math.sin(angle)
        return x * cos + y * sin, y * cos - x * sin

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        height, width = params["shape"][:2]
        draw, turn = self.py_random, math.radians(self.turn)
        side = min(math.sqrt(draw.uniform(*self.scale) * height * width), height, width)
        angle = draw.uniform(-turn, turn)
        if self.quarters:
            angle += math.pi / 2 * draw.randrange(4)
        mirrored = draw.random() < 0.5 * self.mirror
        shift = self.shift(side, height, width, angle)
        return {"side": side, "angle": angle, "mirrored": mirrored, "shift": shift}

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

    def apply_to_mask(self, mask: Image, **params: Any) -> Image:
        """Warp a mask (H, W, C), uint8, of which every value but 0 is masked."""
        warped = self.apply((mask > 0).astype(np.float32), **params)
        return (warped > 0).astype(np.uint8)
