"""A source that is held in memory, and encoders whose features are known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from domainjepa.data.source import Source


@dataclass(kw_only=True)
class ArraySource(Source):
    images: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> list[np.ndarray[Any, Any]]:
        return [self.images[index] for index in indices]

    def content_key(self) -> str:
        return hashlib.sha256(self.images.tobytes()).hexdigest()


def make_source(labels: Any, **more: Any) -> ArraySource:
    """A 4x4 image a label; its first pixel holds the row number, so that an encoder can tell.

    The other pixels are noise: no two images are alike.
    """
    labels = np.asarray(labels, dtype=np.int64)
    noise = np.random.default_rng(len(labels)).normal(size=(len(labels), 4, 4, 1))
    images = (1e5 * noise).astype(np.float32)
    images[:, 0, 0, 0] = np.arange(len(labels))
    return ArraySource(
        name="toy",
        loader="memory",
        shape=(4, 4, 1),
        dtype=images.dtype,
        labels=labels,
        images=images,
        **more,
    )


class Table:
    """An encoder that looks its features up by the row number in the first pixel."""

    def __init__(self, name: str, features: np.ndarray[Any, Any]) -> None:
        self.name = name
        self.features = np.asarray(features, dtype=np.float32)
        self.calls = 0

    def transform(self, images: Any) -> np.ndarray[Any, Any]:
        self.calls += 1
        return self.features[[int(image[0, 0, 0]) for image in images]]
