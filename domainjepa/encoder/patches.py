"""Features position by position: of images and volumes of any size, in bounded memory.

Position i along an axis stands for the stored pixels from i * pitch to (i + 1) * pitch. Nothing is
cropped or stretched: an image is filled up at its end to a multiple of the network's strides, so it
has ceil(side / pitch) positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import Grid, Layers, grid_of
from domainjepa.data.source import Source
from domainjepa.encoder.artefact import EncoderCard
from domainjepa.encoder.inputs import accepted, image_batches, volumes
from domainjepa.encoder.samples import stretched
from domainjepa.encoder.sliding import FEATURES, MOST, WINDOW, part, patches_of, slide
from domainjepa.encoder.standardise import Standardise
from domainjepa.errors import UserError
from domainjepa.views.resampling import Cube, Volume, unit_scale


class Patches(NamedTuple):
    """Of one image, or volume.

    Attributes:
        features: (h, w, D), or (d, h, w, D).
        pitch: stored pixels, or voxels, from one position to the next along each axis.
    """

    features: NDArray[np.float32]
    pitch: tuple[float, ...]


@dataclass(frozen=True)
class PatchReader:
    """Reads the patch features of one encoder.

    Attributes:
        card: of the encoder.
        backbone, standardise: its network, on their device and in evaluation mode.
        layers: see `domainjepa.backbones.feature_maps`.
        scale: images are resized by this before the network; the voxels of volumes are those of
            pretraining divided by it.
        window: pixels a side of what goes through the network at once; None: as in pretraining for
            transformers, at least `WINDOW` for convolutional networks.
        overlap: of neighbouring windows at least, as a share of their side.

    Raises:
        UserError: a setting that cannot be used.
    """

    card: EncoderCard
    backbone: Backbone
    standardise: Standardise
    layers: Layers = "last"
    scale: float = 1.0
    window: int | None = None
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise UserError(f"scale={self.scale}: a factor above 0, such as 1 or 0.5")
        if self.window is not None and self.window < 1:
            raise UserError(f"window={self.window}: pixels a side, at least 1")
        if not 0 <= self.overlap < 1:
            raise UserError(f"overlap={self.overlap}: a share of a window from 0 to below 1")

    @property
    def grid(self) -> Grid:
        """The stride of the features, in pixels of what the network sees."""
        card = self.card
        net = self.backbone.net
        return grid_of(net, len(card.mean), card.size, card.dimensions, self.layers)

    def read(
        self,
        images: Source | ArrayLike,
        *,
        batch_size: int = 256,
        spacing: Sequence[float] | None = None,
    ) -> Iterator[Patches]:
        """The patch features of each image or volume, in their order.

        Args:
            images: an opened source, or arrays; see `FrozenEncoder.transform`.
            batch_size: images that are read at once, at most.
            spacing: millimetres along D, H, W of volumes that come as arrays.
        """
        grid, found = self.grid, accepted(self.card, images)
        if self.card.dimensions == 3:
            for volume in volumes(self.card, found, spacing):
                yield self._of_volume(volume, grid)
            return
        shape = found.shape if isinstance(found, Source) else found[0].shape
        at_once = min(max(MOST[2] // math.prod(shape[:2]), 1), batch_size)
        for batch in image_batches(self.card, found, at_once):
            first = 0
            while first < len(batch):
                last = first + 1
                while last < len(batch) and batch[last].shape == batch[first].shape:
                    last += 1
                yield from self._of_images(batch[first:last], grid)
                first = last

    @torch.inference_mode()
    def _of_images(self, images: Sequence[NDArray[Any]], grid: Grid) -> list[Patches]:
        """Of images of one size."""
        sides = images[0].shape[:2]
        height, width = (max(round(side * self.scale), 1) for side in sides)
        seen = [unit_scale(stretched(image, height, width)) for image in images]
        stacked = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2)
        numbers = grid.width * math.ceil(height / grid.stride) * math.ceil(width / grid.stride)
        at_once = max(min(MOST[2] // (height * width), FEATURES // numbers), 1)
        maps = [
            patches_of(some, self._network, grid, self._window(grid), self.overlap)
            for some in torch.split(stacked, at_once)
        ]
        features = torch.cat(maps).permute(0, 2, 3, 1).contiguous().numpy()
        pitch = (grid.stride * sides[0] / height, grid.stride * sides[1] / width)
        return [Patches(one, pitch) for one in features]

    @torch.inference_mode()
    def _of_volume(self, volume: Volume, grid: Grid) -> Patches:
        step = cast(float, self.card.spacing) / self.scale

        def read(start: Sequence[int], stop: Sequence[int]) -> Tensor:
            extent = [last - first for first, last in zip(start, stop, strict=True)]
            side = max(extent) * step
            centre = np.asarray(start, np.float64) * step + side / 2
            cube = Cube(centre, side, max(extent), np.eye(3))
            whole = volume.block([cube]).sample(cube)
            return whole[None][part([0, 0, 0], extent)]

        sides = [max(math.ceil(length / step - 1e-6), 1) for length in volume.extent.tolist()]
        window = self._window(grid)
        maps = slide(sides, read, self._network, grid, window, self.overlap)
        pitch = tuple((grid.stride * step / volume.spacing).tolist())
        return Patches(maps[0].movedim(0, -1).contiguous().numpy(), pitch)

    def _network(self, batch: Tensor) -> Tensor:
        where = next(self.backbone.parameters()).device
        return self.backbone.feature_maps(self.standardise(batch.to(where)), self.layers)

    def _window(self, grid: Grid) -> int:
        size = self.card.size
        if grid.fixed:
            if self.window not in (None, size):
                raise UserError(
                    f"window={self.window}: {self.backbone.name} takes {size} pixels a side alone"
                )
            return size
        if self.window is not None:
            return self.window
        return size if self.backbone.transformer else max(size, WINDOW[self.card.dimensions])
