"""What a user hands over, as arrays that an encoder takes: checked, in its dtype, at its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from domainjepa.data.storage.precision import as_float32
from domainjepa.domains.intensity import Intensity
from domainjepa.errors import DataError

FAR = 20.0
"""Ranges outside of that of pretraining; the brightest percent of an image does not count."""


def framed(image: NDArray[Any], size: int) -> NDArray[Any]:
    """The centre square of an image at `size` px a side: (H, W, C) -> (size, size, C)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return stretched(image[top : top + side, left : left + side], size, size)


def stretched(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """An image of another size: (H, W, C) -> (height, width, C)."""
    whole = np.ascontiguousarray(image)
    if image.shape[:2] == (height, width):
        return whole
    # Averaging over area when shrinking: anything else aliases.
    how = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_LINEAR
    # OpenCV resizes at most 4 channels at a time.
    parts = [
        cv2.resize(whole[..., first : first + 4], (width, height), interpolation=how)
        for first in range(0, image.shape[2], 4)
    ]
    return np.concatenate([part.reshape(height, width, -1) for part in parts], axis=2)


def as_images(images: ArrayLike, channels: int, dimensions: int = 2) -> Sequence[NDArray[Any]]:
    """Images as (H, W, C) arrays, volumes as (D, H, W, C).

    Raises:
        DataError: not images, or not of this number of channels.
    """
    try:
        array = np.asarray(images)
    except ValueError:  # images of several sizes
        array = np.empty(1, object)
    if array.ndim == 0:
        raise DataError(f"no images: {images!r:.40}, where an array or a list is required")
    found = list(array) if array.dtype != object else [np.asarray(image) for image in images]  # type: ignore[union-attr]
    if not found:
        raise DataError("no images: 0 samples, where at least 1 is required")
    found = [image[..., None] if image.ndim == dimensions else image for image in found]
    kind, sides = ("images", "H, W") if dimensions == 2 else ("volumes", "D, H, W")
    for image in found:
        if 0 in image.shape[:dimensions]:
            raise DataError(f"{kind} of 0 px: found a sample of shape {image.shape}")
        if image.ndim != dimensions + 1 or image.dtype.kind not in "uif":
            raise DataError(
                f"{kind} are (N, {sides}) or (N, {sides}, C) numbers; found samples of shape "
                f"{image.shape} and dtype {image.dtype}"
            )
        if image.shape[-1] != channels:
            raise DataError(
                f"the encoder takes {channels} channels; found samples of shape {image.shape}"
                + (
                    ". One image alone needs a first axis: image[None]."
                    if image.shape[1] == channels
                    else ""
                )
            )
    return found


def refuse_far(images: Sequence[NDArray[Any]], intensity: Intensity) -> None:
    """Values of another unit than the encoder was pretrained on are told from bright images: more
    than half of these images lie far outside of its range.

    Raises:
        DataError: they do.
    """
    beyond = [intensity.beyond(image) for image in images]
    if np.median(beyond) <= FAR:
        return
    ends = [(np.nanmin(image), np.nanmax(image)) for image in images]
    raise DataError(
        f"these values run from {min(low for low, _ in ends):g} to "
        f"{max(high for _, high in ends):g}, {np.median(beyond):.0f} times the range beyond that "
        f"of the images that the encoder was pretrained on ({intensity.describe()}). Give the "
        "images as those were stored, in the same unit."
    )


def as_stored(image: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The image in the dtype that the encoder was pretrained on, where that loses nothing.

    Raises:
        DataError: other values than that dtype can hold: they were scaled or standardised before.
    """
    if image.dtype == dtype or (image.dtype.kind == dtype.kind == "f"):
        return image.astype(dtype) if dtype == np.float64 else as_float32(image).astype(dtype)
    with np.errstate(invalid="ignore"):
        cast_image = image.astype(dtype)
    known = np.isfinite(image)
    if dtype != np.uint8 and np.array_equal(cast_image[known], image[known]) and not known.all():
        return image.astype(np.float32)  # pixels are missing, for which integers have no word
    if not np.array_equal(cast_image, image):
        raise DataError(
            f"the encoder was pretrained on {dtype} images; these are {image.dtype} with values "
            f"from {image.min():g} to {image.max():g}. Give the images as they are stored: the "
            "encoder scales them itself."
        )
    return cast_image
