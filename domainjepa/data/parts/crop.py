"""The centre of large frames, as a sample of its own: what lies around an object is others'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.masks.masks import Mask, masks_cut
from domainjepa.data.source import Image, Source


@dataclass(kw_only=True)
class CroppedSource(Source):
    """Another source, `whole`, of whose samples only the centre is read.

    Attributes:
        side: pixels along H and W that stay, at most; the depth of volumes stays whole.
    """

    whole: Source
    side: int

    def __post_init__(self) -> None:
        self.masks = masks_cut(self.whole.masks, np.arange(len(self.whole)), self)

    def __len__(self) -> int:
        return len(self.whole)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        if not self.whole.reads_parts:
            images = self.whole.__getitems__(indices)
            return [
                np.ascontiguousarray(image[tuple(map(slice, *self._centre(image.shape[:-1])))])
                for image in images
            ]
        return [
            self.whole.region(index, *self._centre(self.whole.sides(index)))
            for index in map(int, indices)
        ]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        first, last = self._centre(self.whole.sides(index))
        begin = [corner + own for corner, own in zip(first, start, strict=True)]
        end = [min(corner + own, edge) for corner, own, edge in zip(first, stop, last, strict=True)]
        return self.whole.region(index, begin, end)

    def sides(self, index: int) -> tuple[int, ...]:
        first, last = self._centre(self.whole.sides(index))
        return tuple(end - begin for begin, end in zip(first, last, strict=True))

    @property
    def reads_parts(self) -> bool:
        return self.whole.reads_parts

    def _centre(self, sides: Sequence[int]) -> tuple[list[int], list[int]]:
        """Start and stop along every axis; for an odd rest the centre lies half a pixel low."""
        first = [0] * (len(sides) - 2) + [max((side - self.side) // 2, 0) for side in sides[-2:]]
        last = [
            min(start + self.side, side) for start, side in zip(first[-2:], sides[-2:], strict=True)
        ]
        return first, [*sides[:-2], *last]

    def within(self, index: int, mask: Mask) -> Mask:
        return mask[tuple(map(slice, *self._centre(mask.shape)))]

    def file_names(self) -> Sequence[str] | None:
        return self.whole.file_names()

    def read_column(self, name: str) -> NDArray[Any]:
        return self.whole.column(name)

    def content_key(self) -> str:
        return f"{self.whole.content_key()} centre {self.side}"


def cropped(source: Source, side: int) -> Source:
    """The centre of every sample, `side` px along H and W; what is smaller stays as it is."""
    own = {one.name: getattr(source, one.name) for one in fields(Source)}
    *depth, height, width, channels = source.shape
    own["shape"] = (*depth, min(height, side), min(width, side), channels)
    told = f"crop: the centre of {side}x{side} px of {height}x{width}"
    own["decisions"] = [*source.decisions, told]
    return CroppedSource(**own, whole=source, side=side)
