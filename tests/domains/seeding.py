"""A transform with its randomness set, as views set it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np


def seeded(transform: Any, seed: int = 0) -> Any:
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return transform


def grey(level: float, side: int = 96, channels: int = 1) -> np.ndarray:
    return np.full((side, side, channels), level, np.float32)
