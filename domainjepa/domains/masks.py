"""Pixels that hold no number: 0 after the intensity, and 0 in every view.

Blur, noise and a background would make data of them, and a network would learn the shape of the
masks from the noise that stops at their edges. So a mask goes through the chain beside the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]


def missing_pixels(image: Image) -> NDArray[np.uint8] | None:
    """1 where the stored image (..., C) is NaN or infinite; None where it is nowhere."""
    if image.dtype.kind != "f":
        return None
    finite = np.isfinite(image)
    return None if finite.all() else (~finite).astype(np.uint8)


def channels_there(missing: NDArray[np.uint8] | None, channels: int) -> NDArray[np.bool_]:
    """(channels,) whether a pixel of a channel holds a number; see `missing_pixels`."""
    if missing is None:
        return np.ones(channels, dtype=np.bool_)
    there: NDArray[np.bool_] = missing.reshape(-1, channels).min(axis=0) == 0
    return there


def masked_view(
    chain: Callable[..., dict[str, Any]], image: Image, missing: NDArray[np.uint8] | None
) -> Image:
    """One view, with the missing pixels at 0.

    Args:
        chain: of a domain, with its randomness set.
        image: (H, W, C) after the intensity.
        missing: (H, W, c) of the stored image, see `missing_pixels`; where the intensity makes
            several channels of one, C is a multiple of c.
    """
    if missing is None:
        view: Image = chain(image=image)["image"]
        return view
    missing = np.repeat(missing, image.shape[-1] // missing.shape[-1], axis=-1)
    made = chain(image=image, mask=missing)
    view = made["image"]
    view[made["mask"].reshape(view.shape) > 0] = 0
    return view
