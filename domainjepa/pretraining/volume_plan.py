"""What the plan of a run has to settle where the samples are volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.backbones import Traits
from domainjepa.config import PretrainConfig, ViewsConfig
from domainjepa.data.opening import open_configured
from domainjepa.data.parts.drawn import DEAR, DrawnSource, read_for_used
from domainjepa.data.parts.regions import RegionsSource, in_regions
from domainjepa.data.source import Source, spread
from domainjepa.errors import ConfigError, DataError
from domainjepa.views.sizes import resolve_sizes
from domainjepa.views.views import ViewMaker
from domainjepa.views.volume_views import VolumeViews, grid_of, resolve_spacing

LARGEST_VOLUME = 64
"""Voxels a side of a global view by default, at most: as many voxels as five images of 224 px."""
_LOOKED_AT = 64  # regions


def open_samples(config: PretrainConfig) -> Source:
    """The data of a run, volumes for a network of volumes.

    Raises:
        DataError, UserError: as `open_source`.
    """
    try:
        return open_configured(config.opening())
    except DataError as error:
        if config.data.dimensions is None and config.opening().dimensions == 3:
            raise DataError(
                f"{error} Volumes are looked for because {config.backbone.name} is a network of "
                "volumes; for images choose one such as --backbone resnet18."
            ) from error
        raise


def fit_together(source: Source, nominal: Traits, config: PretrainConfig) -> None:
    """A network of volumes needs volumes, one of images images.

    Raises:
        ConfigError: says what to set.
    """
    name, shape = config.backbone.name, "x".join(map(str, source.shape))
    for setting, value in (
        ("views.spacing", config.views.spacing),
        ("data.regions", config.data.regions),
    ):
        drawn = setting == "data.regions" and isinstance(source, DrawnSource)
        if value is not None and not source.volumetric and not drawn:
            raise ConfigError(
                f"{setting} = {value}: it is for volumes, and the samples are images of {shape}. "
                "Leave it out, or choose a backbone of volumes such as monai:resnet18."
            )
    if source.volumetric and nominal.dimensions == 2:
        raise ConfigError(
            f"{name} is a network of images, and the samples are volumes of {shape}. Learn from "
            "their slices by --set data.dimensions=2, or choose a backbone of volumes such as "
            "--backbone monai:resnet18."
        )
    if nominal.dimensions == 3 and not source.volumetric:
        remedy = "choose a backbone of images, such as --backbone resnet18"
        if config.data.dimensions == 2:
            remedy = f"leave data.dimensions = 2 out, or {remedy}"
        raise ConfigError(
            f"{name} is a network of volumes, and the samples are images of {shape}: {remedy}."
        )


def plan_volumes(
    volumes: Source, views: ViewsConfig, nominal: Traits, regions: int | None
) -> tuple[RegionsSource, ViewsConfig, tuple[int, ...]]:
    """Regions to draw samples from.

    Args:
        volumes: the source.
        views: settings.
        nominal: traits of the backbone.
        regions: of each volume in an epoch; by default as many as fill the median volume.

    Returns:
        The source of regions; the settings with a spacing; (D, H, W, C) of the median volume in
        voxels of that spacing.
    """
    views = resolve_spacing(views, volumes)
    assert views.spacing is not None
    shape = (*grid_of(volumes, views.spacing), volumes.channels)
    sized = resolve_sizes(views, shape, nominal.stride, False, nominal.patch, LARGEST_VOLUME)
    assert sized.global_size is not None
    if regions is None:
        filled = np.median([share_filled(volumes, row) for row in range(min(len(volumes), 64))])
        regions = max(round(float(filled * np.prod(shape[:3])) / sized.global_size**3), 1)
    return in_regions(volumes, regions), views, shape


def share_filled(volumes: Source, row: int) -> float:
    """How much of a volume is not empty, where a map tells: of those too large to be read whole."""
    large = volumes.large(row)
    return 1.0 if large is None else large.places.total / float(np.prod(large.sides))


def reads_note(source: Source, maker: ViewMaker, rows: NDArray[np.int64]) -> tuple[str, list[str]]:
    """What regions cost to read, by some of the first epoch's: a phrase for the plan, and a warning
    where it is much. Nothing of volumes that are read whole, or whose chunks are not known."""
    if not source.volumetric:
        return "", []
    made, read, used, chunks = VolumeViews(maker), 0, 0, ""
    for row in rows[spread(len(rows), _LOOKED_AT)].tolist():
        large = source.large(row)
        if large is None or large.grid is None:
            continue
        volume, chunks = made.volume(source, row), str(large.grid)
        start, stop = volume.needed(made.looks(volume, 0, row)[1])
        read += int(large.grid.read(start, stop))
        used += int((stop - start).prod())
    if not used:
        return "", []
    told = read_for_used(read / used, chunks)
    if read <= DEAR * used:
        return told, []
    return told, [
        f"{told}, so training will wait for data. Write it once in chunks that fit: domainjepa "
        "prepare --set data.dimensions=3 with the same --data, --out volume.zarr"
    ]


def opened_as(source: Source) -> dict[str, Any]:
    """The settings of `data` that were resolved for volumes."""
    if isinstance(source, RegionsSource):
        return {"dimensions": 3, "regions": source.regions}
    return {}


def spacing_warnings(source: Source) -> list[str]:
    """What is unknown about the millimetres of volumes."""
    if not source.volumetric or source.spacings is not None:
        return []
    return [
        "the data does not tell how many millimetres there are from voxel to voxel: 1 is taken "
        "along every axis. Views are cubes in millimetres, so slices that lie farther apart than "
        "their pixels would come out flattened."
    ]
