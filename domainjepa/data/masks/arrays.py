"""Masks in an array of their own beside that of the images, as `masks` beside `images`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from domainjepa.data.masks.masks import Mask, Masks
from domainjepa.data.masks.words import word_in
from domainjepa.data.source import Source
from domainjepa.errors import DataError

CONTAINERS = ("hdf5", "arrays", "zarr", "matlab", "netcdf")
"""Loaders of named arrays."""
KNOWN = "masks_known"
"""The column of a packed file that tells which samples have a mask."""


@dataclass(kw_only=True)
class ArrayMasks(Masks):
    """Rows of an array.

    Attributes:
        source: the array opened as images of one channel.
    """

    source: Source = field(repr=False)

    def read(self, index: int) -> Mask:
        return self.source[index][..., 0]


def may_be_masks(name: str) -> bool:
    """Whether an array is called as masks are: masks, label, labels_seg, gt, ..."""
    return word_in(name.rpartition("/")[2], "mask") is not None


def offer_masks(source: Source, opened: Callable[[str], Source], told: str | None) -> None:
    """Gives a source the masks that lie beside its images in the same container.

    They are integers, as many as there are images and of one size with them.

    Args:
        opened: opens an array of the container as images.
        told: `data.masks`: the name of the array, "none", or None for the usual names.

    Raises:
        DataError: the array that is named is no masks of these images.
    """
    if source.loader not in CONTAINERS or source.masks is not None or told == "none":
        return
    if hasattr(source, "beside"):
        return  # samples in data sets of their own: what lies beside each is one value
    named = told in source.keys
    for name in [told] if told and named else filter(may_be_masks, source.keys):
        try:
            found = opened(name)
            _check(source, found, name)
        except DataError:
            if named:
                raise
            continue
        known = source.rows() >= 0
        if KNOWN in source.keys:
            known = np.asarray(source.read_column(KNOWN)).astype(bool)
        source.masks = ArrayMasks(known=known, classes=source.mask_classes, source=found)
        source.decisions.append(f"masks: {name!r}, {found.dtype}")
        return


def _check(source: Source, masks: Source, name: str) -> None:
    sides = "x".join(map(str, masks.shape[:-1]))
    if masks.shape[:-1] != source.shape[:-1] or len(masks) != len(source):
        raise DataError(
            f"data.masks={name}: it holds {len(masks):,} masks of {sides}, and there are "
            f"{len(source):,} images of {'x'.join(map(str, source.shape[:-1]))}."
        )
    if masks.channels != 1 or masks.dtype.kind not in "iu":
        raise DataError(
            f"data.masks={name}: {masks.channels} channels of {masks.dtype}; a mask is one whole "
            "number for each pixel."
        )
