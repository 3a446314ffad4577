"""The masks of a source as an evaluation sees them: as classes, their sizes and spacing known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from domainjepa.data.parts.recent import Recent
from domainjepa.data.source import Source
from domainjepa.errors import DataError
from domainjepa.evaluation.segmentation.classes import Classes, MaskClasses


@dataclass(frozen=True)
class Seen:
    """Masks by row.

    Attributes:
        source: of the images.
        classes: what the masks tell.
        in_mm: whether distances are in millimetres; else in pixels.
    """

    source: Source
    classes: MaskClasses
    in_mm: bool
    _recent: Recent = field(default_factory=Recent, repr=False, compare=False)

    def mask(self, row: int) -> Classes:
        """The classes of a sample's pixels.

        Raises:
            DataError: the mask is of another size than the image.
        """
        return self._recent.get(row, lambda: self._read(row))

    def _read(self, row: int) -> Classes:
        assert self.source.masks is not None
        mask, sides = self.source.masks[row], self.source.sides(row)
        if mask.shape != sides:
            sizes = ["x".join(map(str, one)) for one in (mask.shape, sides)]
            raise DataError(
                f"the mask of sample {row} of {self.source.name} is {sizes[0]}, and the image is "
                f"{sizes[1]}: bring them to one grid."
            )
        return self.classes.of(mask)

    def sides(self, row: int) -> tuple[int, ...]:
        """Pixels along each axis of a sample, whose image need not be read again for them."""
        return self.mask(row).shape

    def spacing(self, row: int) -> tuple[float, ...]:
        """From pixel to pixel, in the unit of distances."""
        if self.in_mm and self.source.spacings is not None:
            return tuple(self.source.spacings[row].tolist())
        return (1.0,) * len(self.sides(row))


def seen_of(source: Source, classes: MaskClasses) -> Seen:
    """The masks of a source; distances are in mm where the spacing of every sample is known."""
    spacings = source.spacings
    in_mm = spacings is not None and bool((np.isfinite(spacings) & (spacings > 0)).all())
    return Seen(source, classes, in_mm)
