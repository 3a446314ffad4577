"""What a domain is asked for, and what it answers: the kind of a view, and one random change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import albumentations as A
import numpy as np


@dataclass(frozen=True)
class ViewSpec:
    """What one kind of view has to be.

    Attributes:
        size: pixels a side.
        scale: share of the image's area that the view shows, drawn from this range.
        channels: of the image.
        dtype: of the image after the intensity: uint8 or float32.
        local: a small part of the object, for which the global views are the context.
    """

    size: int
    scale: tuple[float, float]
    channels: int
    dtype: np.dtype[Any]
    local: bool = False


@dataclass(frozen=True)
class ViewTransform:
    """One random change of a view, for drawing it alone and for documenting it.

    Attributes:
        name: a word or two.
        nuisance: the physical reason: what varies in the world while the object stays the same.
        transform: the albumentations transform.
        removes: what could tell samples apart and no longer can, as `domainjepa.views.shortcuts`
            measures it: brightness, contrast, colour, background, noise, blur.
        covers: whether it blackens a part of the picture, as a shutter does.
    """

    name: str
    nuisance: str
    transform: A.BasicTransform
    removes: tuple[str, ...] = ()
    covers: bool = False
