"""How a telescope is pointed: orientation, parity, place and scale on the sky."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from domainjepa.domains.transforms.framing import Framing

Image = NDArray[Any]


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
