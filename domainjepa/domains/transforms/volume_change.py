"""The base of changes of values in volumes that MONAI does not have."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domainjepa.domains.transforms.unit import Floats


class VolumeChange(ABC):
    """One random change, seeded and called as MONAI's are.

    Args:
        prob: probability that anything is changed.
    """

    def __init__(self, prob: float) -> None:
        self.prob = prob
        self.random = np.random.default_rng(0)

    def set_random_state(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def __call__(self, values: Any) -> Tensor:
        """(C, D, H, W) float32 around 0..1 -> the same shape; leaves what it is given alone."""
        found = np.asarray(values, dtype=np.float32)
        if self.random.random() < self.prob:
            found = self.change(found).astype(np.float32, copy=False)
        return torch.from_numpy(np.ascontiguousarray(found))

    @abstractmethod
    def change(self, values: Floats) -> Floats:
        """A changed copy; draws from `self.random` alone."""


class VolumePhotonNoise(VolumeChange):
    """`PhotonNoise` of a volume: the variance of a voxel is its signal over the count at white.

    Args:
        photons: expected at a voxel of value 1, drawn log-uniformly from this range.
        prob: probability.
    """

    def __init__(self, photons: tuple[float, float] = (50.0, 2000.0), prob: float = 0.5) -> None:
        super().__init__(prob)
        self.photons = photons

    def change(self, values: Floats) -> Floats:
        low, high = map(math.log, self.photons)
        photons = math.exp(self.random.uniform(low, high))
        spread = np.sqrt(np.maximum(values, 0) / np.float32(photons))
        normal = self.random.standard_normal(values.shape, dtype=np.float32)
        noisy: Floats = values + spread * normal
        return noisy
