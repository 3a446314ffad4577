"""Samples whose features are known, for tests of what is built on features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.discovery.embedded import Embedded
from domainjepa.discovery.samples import samples_of
from domainjepa.embed.blocks import Blocks
from tests.data.toys import Arrays, toy


class Corner:
    """An encoder whose features are the first pixels of an image."""

    name = "corner"

    def __init__(self, width: int) -> None:
        self.width = width

    def transform(self, images: Any) -> NDArray[np.float32]:
        return np.stack([np.asarray(one, np.float32).ravel()[: self.width] for one in images])


def seen(features: NDArray[Any], **fields: Any) -> Embedded:
    """Samples with these features, and images that hold them."""
    values = np.asarray(features, np.float32)
    side = int(np.ceil(np.sqrt(values.shape[1])))
    images = np.zeros((len(values), side * side), np.float32)
    images[:, : values.shape[1]] = values
    source = toy(Arrays, list(images.reshape(-1, side, side, 1)), **fields)
    rows = np.arange(len(values))
    encoder = Corner(values.shape[1])
    return Embedded(encoder, source, rows, Blocks(values), samples_of(source, rows))
