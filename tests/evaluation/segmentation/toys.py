"""Images with masks in memory, and encoders whose patch features are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from domainjepa.data.masks.masks import Masks
from domainjepa.encoder.patches import Patches
from tests.evaluation.toys import ArraySource


@dataclass(kw_only=True)
class ListedMasks(Masks):
    arrays: list[np.ndarray[Any, Any]]

    def read(self, index: int) -> np.ndarray[Any, Any]:
        return self.arrays[index]


def with_masks(
    images: Sequence[np.ndarray[Any, Any]], masks: Sequence[np.ndarray[Any, Any]], **more: Any
) -> ArraySource:
    """A source of these images (H, W) or (D, H, W), and masks of theirs."""
    stacked = np.stack(images)[..., None]
    classes = more.pop("classes_of_masks", None)
    return ArraySource(
        name="toy",
        loader="memory",
        shape=stacked.shape[1:],
        dtype=stacked.dtype,
        images=stacked,
        masks=ListedMasks(known=np.ones(len(images), bool), classes=classes, arrays=list(masks)),
        **more,
    )


def blobs(samples: int, size: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """(N, size, size) smooth noise of mean 0 and deviation 1."""
    draw = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(draw.normal(size=(samples, size, size)), (0, 3, 3))
    found: np.ndarray[Any, Any] = smooth / smooth.std()
    return found


class Seeing:
    """An encoder whose patch features are what a function makes of an image."""

    layers = "known"

    def __init__(
        self,
        name: str,
        see: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]],
        pitch: float = 1.0,
    ) -> None:
        self.name, self.see, self.pitch = name, see, pitch

    def transform(self, images: Any) -> Any:
        raise AssertionError("nobody asks for pooled features here")

    def patches(self, images: Any) -> Iterator[Patches]:
        for place in range(len(images)):
            image = np.asarray(images[place])
            features = self.see(image).astype(np.float32)
            yield Patches(features, (self.pitch,) * (image.ndim - 1))
