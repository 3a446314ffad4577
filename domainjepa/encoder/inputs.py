"""What an encoder's card makes of a user's images and volumes, up to the network's door."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domainjepa.data.source import Source
from domainjepa.domains.intensity import Intensity, load_intensity
from domainjepa.encoder.artefact import EncoderCard
from domainjepa.encoder.samples import as_images, as_stored, refuse_far
from domainjepa.errors import DataError, UserError
from domainjepa.views.resampling import Volume, own_scale, own_scale_of_array

Accepted = Source | Sequence[NDArray[Any]]


def accepted(card: EncoderCard, images: Source | ArrayLike) -> Accepted:
    """The images, as a source or as arrays (H, W, C), of volumes (D, H, W, C).

    Raises:
        DataError: no images, other channels or dimensions than the encoder's.
    """
    if not isinstance(images, Source):
        return as_images(images, card.channels, card.dimensions)
    if images.channels != card.channels:
        raise DataError(
            f"the encoder takes {card.channels} channels; the images have {images.channels}"
        )
    if images.volumetric != (card.dimensions == 3):
        wanted = "volumes" if card.dimensions == 3 else "images"
        raise DataError(
            f"the encoder was pretrained on {wanted}; a sample here is "
            f"{'x'.join(map(str, images.shape))}. Open the data with --set "
            f"data.dimensions={card.dimensions}."
        )
    return images


def image_batches(card: EncoderCard, found: Accepted, size: int) -> Iterator[list[NDArray[Any]]]:
    """Images after the intensity, (H, W, C) each, `size` of them at a time."""
    intensity = load_intensity(card.intensity)
    for first in range(0, len(found), size):
        last = min(first + size, len(found))
        rows = range(first, last)
        batch = found.__getitems__(rows) if isinstance(found, Source) else found[first:last]
        stored = [as_stored(image, np.dtype(card.dtype)) for image in batch]
        refuse_far(stored, intensity)
        yield [intensity(image) for image in stored]


def volumes(
    card: EncoderCard, found: Accepted, spacing: Sequence[float] | None
) -> Iterator[Volume]:
    """Volumes that are read in parts, after the intensity.

    Args:
        card: of an encoder of volumes.
        found: by `accepted`.
        spacing: millimetres along D, H, W of arrays; 1 with a warning where it is None.
    """
    intensity, dtype = load_intensity(card.intensity), np.dtype(card.dtype)
    if isinstance(found, Source):
        refuse_far([as_stored(_middle(found), dtype)], intensity)
        for row in range(len(found)):
            own = own_scale(found, row, intensity)
            yield Volume.of_row(found, row, partial(_as_seen, own, dtype))
        return
    if spacing is None:
        warnings.warn(
            "the spacing of these volumes is not known: 1 mm is taken. Give "
            "FrozenEncoder(…, spacing=(d, h, w)) in millimetres, or an opened source.",
            stacklevel=4,
        )
    sides = (1.0, 1.0, 1.0) if spacing is None else tuple(spacing)
    if len(sides) != 3 or min(sides) <= 0:
        raise UserError(f"spacing={spacing}: give three lengths in mm, along D, H and W")
    for array in found:
        stored = as_stored(array, dtype)
        refuse_far([stored], intensity)
        yield Volume.of_array(stored, sides, own_scale_of_array(stored, intensity))


def _middle(source: Source) -> NDArray[Any]:
    """What lies around the centre of the first volume."""
    centre = [side // 2 for side in source.sides(0)]
    start = [max(place - 16, 0) for place in centre]
    stop = [min(place + 16, side) for place, side in zip(centre, source.sides(0), strict=True)]
    return source.region(0, start, stop)


def _as_seen(intensity: Intensity, dtype: np.dtype[Any], part: NDArray[Any]) -> NDArray[Any]:
    return intensity(as_stored(part, dtype))
