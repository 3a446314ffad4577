"""The space in which samples are alike: plain features, or whitened ones.

Cosines are taken in either. Whitening (Kessy, Lewin & Strimmer 2018, Am. Stat. 72, 309) gives all
principal components the same say, which the last ones, mostly noise, do not deserve: so a share of
the mean variance is added to each. `benchmarks/discovery.py` says which space serves better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domainjepa.embed.blocks import Blocks, Features

Kind = Literal["plain", "whitened"]
RIDGE = 0.1
"""Of the mean variance, added to that of each component."""


@dataclass(frozen=True)
class Space:
    """(n, D) features -> (n, D') float32 of unit length, whose inner products are cosines."""

    mean: NDArray[np.float32] | None = None
    axes: NDArray[np.float32] | None = None

    def __call__(self, features: Features) -> Features:
        values: NDArray[Any] = features
        if self.mean is not None and self.axes is not None:
            values = (features - self.mean) @ self.axes
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        # What is nothing but zeros is like nothing.
        return np.asarray(values / np.where(lengths > 0, lengths, 1), np.float32)


def space_of(kind: Kind, features: Blocks) -> Space:
    """The space of these features; one pass through them where they are to be whitened."""
    if kind == "plain":
        return Space()
    mean, covariance = moments(features)
    variances, axes = np.linalg.eigh(covariance)
    variances = np.maximum(variances, 0)
    scale = 1 / np.sqrt(variances + max(RIDGE * variances.mean(), np.finfo(np.float32).tiny))
    return Space(mean.astype(np.float32), (axes * scale).astype(np.float32))


def moments(features: Blocks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (D,) and covariance (D, D) of features, float64, in one pass by blocks.

    Chan, Golub & LeVeque (1983), Am. Stat. 37, 242: means of parts are joined without cancellation.
    """
    count, mean = 0, np.zeros(features.width)
    scatter = np.zeros((features.width, features.width))
    for _, block in features.blocks():
        own = block.mean(axis=0, dtype=np.float64)
        centred = block - own
        off, total = own - mean, count + len(block)
        scatter += centred.T @ centred + np.outer(off, off) * (count * len(block) / total)
        mean, count = mean + off * (len(block) / total), total
    return mean, scatter / max(count, 1)
