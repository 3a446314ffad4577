"""Images of a segmentation that are shown: what is so, and what each encoder's probe says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import Image


@dataclass(frozen=True)
class Example:
    """An image, or a slice of a volume.

    Attributes:
        title: which one it is, and how good the first encoder's answer is.
        image: (H, W, C).
        truth: (H, W): 0 between structures, which count from 1 on; -1 where nothing is known.
        guesses: encoder -> (H, W) likewise.
    """

    title: str
    image: Image
    truth: NDArray[np.int16]
    guesses: Mapping[str, NDArray[np.int16]]

    @property
    def known(self) -> NDArray[Any]:
        """(H, W) where the truth is known."""
        return self.truth >= 0
