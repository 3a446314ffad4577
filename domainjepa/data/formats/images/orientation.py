"""Which way up a picture is: the Orientation of EXIF and of TIFF (tag 274), applied.

Cameras and slide scanners store what the sensor gave and say how it was held (TIFF 6.0, page 36;
CIPA DC-008, 4.6.4). The eight ways are a transposition and two mirrors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

TAG = 274


class Turn(NamedTuple):
    """From stored to upright: first transposed, then mirrored.

    Attributes:
        transposed: rows become columns.
        rows, columns: their order is reversed, after that.
    """

    transposed: bool = False
    rows: bool = False
    columns: bool = False

    def sides(self, stored: tuple[int, int]) -> tuple[int, int]:
        """(H, W) upright."""
        height, width = stored
        return (width, height) if self.transposed else (height, width)

    def window(self, upright: tuple[slice, slice], stored: tuple[int, int]) -> tuple[slice, slice]:
        """Where rows and columns of the upright picture lie in one stored with these sides."""
        parts = [
            slice(side - stop, side - start) if reverse else slice(start, stop)
            for part, side, reverse in zip(upright, self.sides(stored), self[1:], strict=True)
            for start, stop, _ in [part.indices(side)]
        ]
        return (parts[1], parts[0]) if self.transposed else (parts[0], parts[1])

    def __call__(self, stored: NDArray[Any]) -> NDArray[Any]:
        """(..., H, W, C) as stored -> upright."""
        if self.transposed:
            stored = stored.swapaxes(-3, -2)
        if self.rows:
            stored = stored[..., ::-1, :, :]
        if self.columns:
            stored = stored[..., ::-1, :]
        return np.ascontiguousarray(stored) if any(self) else stored


TURNS = {
    1: Turn(),
    2: Turn(columns=True),
    3: Turn(rows=True, columns=True),
    4: Turn(rows=True),
    5: Turn(transposed=True),
    6: Turn(transposed=True, columns=True),
    7: Turn(transposed=True, rows=True, columns=True),
    8: Turn(transposed=True, rows=True),
}


def turn_of(image: ImageFile) -> Turn:
    """What makes a picture of Pillow upright; nothing where its EXIF is damaged or says nothing."""
    if isinstance(image, TiffImageFile):
        return TURNS[1]  # Pillow turns them itself
    try:
        return TURNS.get(image.getexif().get(TAG, 1), TURNS[1])
    except Exception:  # the parser raises whatever comes to hand, and pixels do not depend on it
        return TURNS[1]
