"""Volumes as samples to learn from: several of each in an epoch, and slices to measure values on.

A volume holds far more than one view shows, and a data set of volumes far less of them than a batch
takes. So a sample of an epoch is a region of a volume, at a place drawn anew each time. This source
only counts: it has every volume `regions` times, and the draw is `domainjepa.views.volume_views`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.masks.masks import masks_of
from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.large import Large
from domainjepa.errors import ConfigError

MOST_REGIONS = 100_000_000
"""In an epoch: lists of them are kept in memory, some 100 bytes a region."""


TILE = 256
"""Pixels a side of what stands for a slice of a volume that is too large to be read whole."""


@dataclass(kw_only=True)
class RegionsSource(Source):
    """Every volume `regions` times, in the order of the volumes.

    Labels, groups, ids and split are the volume's; without groups each volume is one, for two
    regions of it may show the same.
    """

    volumes: Source
    regions: int

    def __len__(self) -> int:
        return len(self.volumes) * self.regions

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return self.volumes.__getitems__([self.volume_of(index) for index in indices])

    def volume_of(self, index: int) -> int:
        """The row of the volume in `volumes`."""
        return int(index) // self.regions

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self.volumes.region(self.volume_of(index), start, stop)

    @property
    def reads_parts(self) -> bool:
        return self.volumes.reads_parts

    def chunks(self, index: int) -> tuple[int, ...] | None:
        return self.volumes.chunks(self.volume_of(index))

    def large(self, index: int) -> Large | None:
        return self.volumes.large(self.volume_of(index))

    def sides(self, index: int) -> tuple[int, ...]:
        return self.volumes.sides(self.volume_of(index))

    def file_names(self) -> Sequence[str] | None:
        names = self.volumes.file_names()
        return names and [name for name in names for _ in range(self.regions)]

    def content_key(self) -> str:
        return self.volumes.content_key()

    def read_column(self, name: str) -> NDArray[Any]:
        return np.repeat(self.volumes.column(name), self.regions, axis=0)

    def fingerprint(self) -> str:
        """Of the volumes: how often they count is a setting of the run."""
        return self.volumes.fingerprint()


def in_regions(volumes: Source, regions: int) -> RegionsSource:
    """The source with each volume so many times.

    Raises:
        ConfigError: more regions than an epoch can list.
    """
    if len(volumes) * regions > MOST_REGIONS:
        raise ConfigError(
            f"{regions:,} regions of each of {len(volumes):,} volumes: an epoch has at most "
            f"{MOST_REGIONS:,} samples. Set a coarser views.spacing, which is in millimetres, or a "
            "smaller data.regions."
        )
    facts = {one.name: getattr(volumes, one.name) for one in fields(Source)}
    if facts["groups"] is None:
        facts["groups"] = np.arange(len(volumes), dtype=np.int64)
    for name in ("labels", "groups", "ids", "split", "spacings"):
        if facts[name] is not None:
            facts[name] = np.repeat(facts[name], regions, axis=0)
    facts["masks"] = masks_of(volumes.masks, np.repeat(np.arange(len(volumes)), regions))
    return RegionsSource(volumes=volumes, regions=regions, **facts)


def spread_depths(depth: int, most: int) -> NDArray[np.int64]:
    """At most so many indices along D, the middles of equal parts."""
    return np.unique(((np.arange(most) + 0.5) * depth / most).astype(np.int64))


def spread_slices(volumes: Source, row: int, most: int) -> NDArray[Any]:
    """(n, H, W, C): at most so many slices of one volume, evenly spread along D.

    Beginning and end are left out: above a head there is air. Of a volume that is too large to be
    read whole they are tiles of slices, where something is.
    """
    if volumes.large(row) is not None:
        return tiles_of_slices(volumes, row, most)
    depth, height, width = volumes.sides(row)
    at = spread_depths(depth, most)
    if not volumes.reads_parts:
        return np.asarray(volumes[row][at])
    return np.concatenate(
        [volumes.region(row, (z, 0, 0), (z + 1, height, width)) for z in at.tolist()]
    )


def tiles_of_slices(volumes: Source, row: int, most: int) -> NDArray[Any]:
    """(n, h, w, C): tiles of slices of a volume that is too large to be read whole, drawn by key,
    each a piece of a chunk or of a few."""
    large = volumes.large(row)
    assert large is not None
    random = np.random.default_rng(key("slices", row))
    height, width = (min(TILE, side) for side in large.sides[1:])
    parts = large.at(large.places.draw(random, most), (1, height, width))
    every = zip(*(ends.tolist() for ends in parts), strict=True)
    return np.concatenate([volumes.region(row, start, stop) for start, stop in every])
