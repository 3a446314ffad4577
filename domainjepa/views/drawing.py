"""Views drawn for the specialist: originals, each transform alone, whole views."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray

from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.domains.masks import masked_view
from domainjepa.domains.transforms.latitude import developed
from domainjepa.domains.transforms.volumes import Pose
from domainjepa.pictures import montage, planes
from domainjepa.views.keys import seed_randomness
from domainjepa.views.resampling import Cube
from domainjepa.views.views import ViewMaker
from domainjepa.views.volume_views import VolumeViews

AROUND = 3
"""Sides of a region that are drawn of a volume that is too large to be read whole."""


def draw_views(
    source: Source, rows: Sequence[int], maker: ViewMaker, path: str | os.PathLike[str]
) -> None:
    """A picture for the specialist: for each sample the original, its siblings, the intensity,
    each transform alone, and whole views.

    Args:
        source: of the samples.
        rows: which samples.
        maker: of the views.
        path: of the PNG to write.
    """
    if source.volumetric:
        draw_volume_views(source, rows, VolumeViews(maker), path)
        return
    pictures: list[list[Image | None]] = []
    titles: list[str] = []
    every = maker.read(source, [(0, row) for row in rows])
    related = max(map(len, every)) - 1
    of = ", sibling" if related else " view"
    for row, (original, *siblings) in zip(rows, every, strict=True):
        image, missing = maker.intensity(original), maker.domain.missing(original)
        line: list[Image | None] = [original, *siblings, *[None] * (related - len(siblings))]
        line.append(_shown(image))
        titles = ["original", *["sibling"] * related, "intensity"]
        for step in maker.transforms(image):
            seed_randomness(step.transform, key(maker.seed, "draw", step.name, row))
            line.append(_shown(_alone(step.transform, image, missing)))
            titles.append(step.name)
        views = maker(original, epoch=0, sample=row, siblings=siblings)
        line += [_shown(view) for view in views]
        whole = ["global view", *[f"global{of}"] * (maker.views.num_global - 1)]
        titles += [*whole, *[f"local{of}"] * maker.views.num_local]
        pictures.append(line)
    montage(
        pictures,
        path,
        row_titles=source.class_names(rows),
        column_titles=titles,
        title=maker.domain.name,
    )


def _alone(transform: A.BasicTransform, image: Image, missing: NDArray[np.uint8] | None) -> Image:
    """What one transform makes of an image, with the tones and the mask that a view would have."""
    eight = image.dtype == np.uint8 and not isinstance(transform, A.ImageCompression)
    values = image * np.float32(1 / 255) if eight else image
    changed = masked_view(partial(transform, force_apply=True), values, missing)
    return developed(changed, image) if eight else changed


def draw_volume_views(
    source: Source, rows: Sequence[int], made: VolumeViews, path: str | os.PathLike[str]
) -> None:
    """A picture for the specialist: for each sample three planes through the middle of the volume,
    of the region, of the region after each transform alone, and of whole views."""
    pictures: list[list[NDArray[Any] | None]] = []
    titles: list[str] = []
    for row in rows:
        volume = made.volume(source, row)
        region, _, _ = made.drawn(volume, 0, row)
        whole = Cube(volume.extent / 2, float(volume.extent.max()), made.sizes[0], np.eye(3))
        if volume.large is not None:
            whole = Cube(region.centre, AROUND * region.side, made.sizes[0], np.eye(3))
        block = volume.block([whole])
        plain = block.sample(region)
        around = "whole volume" if volume.large is None else "what lies around"
        line, titles = [block.sample(whole), plain], [around, "region"]
        random = np.random.default_rng(key(made.maker.seed, "draw", row))
        for step in made.transforms(len(plain))[1:]:
            if isinstance(step.transform, Pose):
                axes = step.transform.draw(random, volume.spacing)
                turned = Cube(region.centre, region.side, region.size, axes)
                line.append(block.sample(turned))
            else:
                step.transform.set_random_state(seed=key(made.maker.seed, step.name, row) % 2**32)
                chance, step.transform.prob = step.transform.prob, 1.0
                line.append(step.transform(plain))
                step.transform.prob = chance
            titles.append(step.name)
        views = made.maker.views
        line += [torch.from_numpy(view) for view in made(volume, epoch=0, sample=row)]
        titles += ["global view"] * views.num_global + ["local view"] * views.num_local
        pictures.append([planes(_shown_volume(values)) for values in line])
    montage(
        pictures,
        path,
        row_titles=source.class_names(rows),
        column_titles=titles,
        title=made.maker.domain.name,
        cell=144,
    )


def _shown(image: Image) -> NDArray[np.uint8]:
    """One scale, -0.1 to 1.1, for all of a row, or a change of brightness would not show."""
    if image.dtype == np.uint8:
        return image
    return np.clip((image + 0.1) * (255 / 1.2), 0, 255).astype(np.uint8)


def _shown_volume(values: torch.Tensor) -> NDArray[np.uint8]:
    """(C, D, H, W) -> (D, H, W, C) uint8, on one scale, -0.1 to 1.1, for all of a row."""
    image = np.asarray(values, dtype=np.float32).transpose(1, 2, 3, 0)
    shown: NDArray[np.uint8] = np.clip((image + 0.1) * (255 / 1.2), 0, 255).astype(np.uint8)
    return shown
