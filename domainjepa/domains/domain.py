"""What a domain is: an intensity (deterministic) and views (random, each a physical nuisance)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Image = NDArray[Any]


class Intensity(BaseModel, ABC):
    """Deterministic map from stored values to what the views see; its numbers are the data set's.

    It is stored as JSON in the encoder file, so that a frozen encoder sees what the backbone saw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def __call__(self, image: Image) -> Image:
        """(H, W, C) in the source's dtype -> (H, W, C), uint8 in 0..255 or float32 around 0..1."""


@dataclass(frozen=True)
class ViewTransform:
    """One random change of a view, for drawing it alone and for documenting it.

    Attributes:
        name: a word or two.
        nuisance: the physical reason: what varies in the world while the object stays the same.
        transform: the albumentations transform.
    """

    name: str
    nuisance: str
    transform: A.BasicTransform


class Domain(ABC):
    """One kind of image."""

    name: str
    summary: str

    def __init__(self, *, keep_colour: bool = False) -> None:
        self.keep_colour = keep_colour

    @classmethod
    @abstractmethod
    def suits(cls, dtype: np.dtype[Any], channels: int, words: str) -> tuple[float, str]:
        """How well this domain suits the data, 0 to 1, and the reason in a phrase.

        Args:
            dtype: of the source.
            channels: of the source.
            words: lower-case names that came with the data (file, keys, classes).
        """

    @abstractmethod
    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        """The intensity for this data set, from a keyed selection of its training samples."""

    @abstractmethod
    def transforms(self, size: int, scale: tuple[float, float], dtype: np.dtype[Any]) -> list[ViewTransform]:
        """The changes that make a view of `size` px a side, in order; the first one crops.

        Args:
            size: pixels a side of the view.
            scale: share of the image's area that the view shows, drawn from this range.
            dtype: of the image after the intensity: uint8 or float32.
        """
