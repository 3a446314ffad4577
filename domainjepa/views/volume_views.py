"""Views of volumes: a keyed region of a volume, and cubes in it, each resampled once.

A region is a cube of `global_size` voxels of `views.spacing` millimetres. Where it lies is drawn
anew for each sample of each epoch. A view shows the share of it that `global_scale` and
`local_scale` give, as in two dimensions; what a rotation brings in from outside is the volume's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from domainjepa.config import ViewsConfig
from domainjepa.data.parts.regions import RegionsSource
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.transforms.volumes import Pose, VolumeTransform
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.errors import ConfigError
from domainjepa.views.channels import left_out
from domainjepa.views.keys import view_key
from domainjepa.views.resampling import Block, Cube, Volume, own_scale, spacing_of
from domainjepa.views.views import ViewMaker

BLANK = 0.02
"""A region whose values vary less than this, on the 0..1 scale, is air: another one is drawn."""
_DRAWS = 8
_SPACING_VOLUMES = 64


def resolve_spacing(views: ViewsConfig, source: Source) -> ViewsConfig:
    """The settings with a spacing: by default the median over volumes of the geometric mean of a
    volume's own three, so that a view holds about as many voxels as were measured."""
    if views.spacing is not None:
        return views
    rows = np.linspace(0, len(source) - 1, min(len(source), _SPACING_VOLUMES)).astype(int)
    own = [np.prod(spacing_of(source, row)) ** (1 / 3) for row in rows.tolist()]
    return views.model_copy(update={"spacing": float(f"{np.median(own):.3g}")})


def grid_of(source: Source, spacing: float) -> tuple[int, int, int]:
    """(D, H, W) of the median volume in voxels of this many mm."""
    rows = np.linspace(0, len(source) - 1, min(len(source), _SPACING_VOLUMES)).astype(int)
    extents = [np.array(source.sides(row)) * spacing_of(source, row) for row in rows.tolist()]
    depth, height, width = np.median(extents, axis=0) / spacing
    return max(round(depth), 1), max(round(height), 1), max(round(width), 1)


class VolumeViews:
    """Makes the views of regions of volumes, by the settings of a maker.

    Args:
        maker: domain, intensity, settings with sizes and spacing resolved, seed.
    """

    def __init__(self, maker: ViewMaker) -> None:
        views = maker.views
        if views.global_size is None or views.local_size is None or views.spacing is None:
            raise ConfigError("sizes and spacing of the views are not resolved yet")
        self.maker = maker
        self.sizes = (views.global_size, views.local_size)
        self.side = views.spacing * views.global_size
        self._steps: dict[ViewSpec, list[VolumeTransform]] = {}
        self._own: dict[int, Intensity] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Transforms hold their random state, scales are measured again: neither has to travel.
        return {**self.__dict__, "_steps": {}, "_own": {}}

    def volume(self, source: Source, row: int) -> Volume:
        """The volume of a row, on the scale of its intensity."""
        number = source.volume_of(row) if isinstance(source, RegionsSource) else row
        if number not in self._own:
            self._own[number] = own_scale(source, row, self.maker.intensity)
        return Volume.of_row(source, row, self._own[number])

    def __call__(self, volume: Volume, *, epoch: int, sample: int) -> list[NDArray[np.float32]]:
        """The views of one region, global ones first.

        Args:
            volume: of the sample.
            epoch: every epoch has other regions and other views.
            sample: the row in the source.

        Returns:
            num_global (C, S, S, S) and num_local (C, s, s, s) float32 arrays.
        """
        with one_thread():
            _, cubes, block = self.drawn(volume, epoch, sample)
            there = block.values[0].flatten(1).any(dim=1).numpy()
            made = []
            for view, cube in enumerate(cubes):
                values = block.sample(cube)
                local = view >= self.maker.views.num_global
                draw = view_key(self.maker.seed, epoch, sample, view)
                for number, step in enumerate(self.transforms(len(values), local=local)):
                    if hasattr(step.transform, "set_random_state"):
                        step.transform.set_random_state(seed=key(draw, number) % 2**32)
                        values = step.transform(values)
                shown = np.ascontiguousarray(values, dtype=np.float32)
                if self.maker.views.channel_dropout:
                    shown = shown.copy()
                    shown[left_out(self.maker.views.channel_dropout, there, draw) | ~there] = 0
                made.append(shown)
            return made

    def transforms(self, channels: int, *, local: bool = False) -> list[VolumeTransform]:
        """The transforms that make a view, in order, each with its reason."""
        views = self.maker.views
        scale = views.local_scale if local else views.global_scale
        spec = ViewSpec(self.sizes[local], scale, channels, np.dtype(np.float32), local)
        if spec not in self._steps:
            self._steps[spec] = self.maker.domain.kept_of_volumes(spec)
        return self._steps[spec]

    def region(self, volume: Volume, epoch: int, sample: int, attempt: int = 0) -> Cube:
        """Where the region lies: anywhere in the volume, in its middle along a thinner axis; in one
        that is too large to be read whole, the more likely the more there is at a place."""
        random = np.random.default_rng(self._key("region", epoch, sample, attempt))
        margin = np.minimum(self.side, volume.extent) / 2
        if volume.large is not None:
            drawn = volume.large.places.draw(random, 1)[0] * volume.spacing
            centre = drawn.clip(margin, volume.extent - margin)
        else:
            centre = random.uniform(margin, volume.extent - margin)
        return Cube(centre, self.side, self.sizes[0], np.eye(3))

    def cubes(self, volume: Volume, region: Cube, epoch: int, sample: int) -> list[Cube]:
        """Where the views of a region look: inside of it and of the volume, before rotation."""
        views, cubes = self.maker.views, []
        for view in range(views.num_global + views.num_local):
            local = view >= views.num_global
            random = np.random.default_rng(self._key("cube", epoch, sample, view))
            share = random.uniform(*(views.local_scale if local else views.global_scale))
            side = region.side * share ** (1 / 3)
            reach = (region.side - side) / 2
            margin = np.minimum(side, volume.extent) / 2
            low = np.maximum(region.centre - reach, margin)
            high = np.maximum(np.minimum(region.centre + reach, volume.extent - margin), low)
            centre, axes = random.uniform(low, high), np.eye(3)
            for step in self.transforms(1, local=local):
                if isinstance(step.transform, Pose):
                    axes = axes @ step.transform.draw(random, volume.spacing)
            cubes.append(Cube(centre, side, self.sizes[local], axes))
        return cubes

    def looks(
        self, volume: Volume, epoch: int, sample: int, attempt: int = 0
    ) -> tuple[Cube, list[Cube]]:
        """A region and the views' cubes in it, where few chunks are read for them."""
        region = self.region(volume, epoch, sample, attempt)
        cubes = self.cubes(volume, region, epoch, sample)
        shift = volume.to_fewest_chunks(cubes)
        if shift.any():
            region, *cubes = (replace(one, centre=one.centre + shift) for one in (region, *cubes))
        return region, cubes

    def drawn(self, volume: Volume, epoch: int, sample: int) -> tuple[Cube, list[Cube], Block]:
        """A region that is not blank, the views' cubes in it, and the values that they need."""
        for attempt in range(_DRAWS):
            region, cubes = self.looks(volume, epoch, sample, attempt)
            block = volume.block(cubes)
            if float(block.values.std()) > BLANK:
                break
        return region, cubes, block

    def _key(self, purpose: str, *parts: int) -> int:
        return key(self.maker.seed, purpose, *parts)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch works on one thread, as it does in a worker process.

    The last bits of an interpolation depend on where threads divide it, and a view must not depend
    on the number of workers or cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
