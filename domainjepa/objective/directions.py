"""Unit directions on the sphere ("slices"), a pure function of (seed, step).

They are drawn on the CPU and then moved, so that every rank and every device has the same ones
without a broadcast; the copy to CUDA is from pinned memory and does not synchronise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.quasirandom import SobolEngine


def gaussian(dimension: int, count: int, seed: int, step: int) -> Tensor:
    """Independent uniform directions: (K, M) normalised Gaussian columns, new at every step."""
    generator = torch.Generator().manual_seed(key(seed, step))
    directions = torch.randn(count, dimension, generator=generator)
    return directions.div_(torch.linalg.vector_norm(directions, dim=1, keepdim=True)).T


def sobol(dimension: int, count: int, seed: int, step: int) -> Tensor:
    """Directions that cover the sphere more evenly: scrambled Sobol points through the inverse
    normal CDF, normalised; newly scrambled at every step. The dimension is at most 21,201.

    Source: LeJEPA, arXiv 2511.08544, and Joe & Kuo 2008 for the numbers.
    """
    if dimension > SobolEngine.MAXDIM:
        raise ValueError(
            f"sobol directions have at most {SobolEngine.MAXDIM} dimensions, not "
            f"{dimension}: use directions='gaussian'"
        )
    engine = SobolEngine(dimension, scramble=True, seed=key(seed, step))  # type: ignore[no-untyped-call]
    points: Tensor = engine.draw(count)
    # A point on the border of the cube would be infinite after the inverse CDF.
    points = points.clamp(2**-24, 1 - 2**-24)
    return normalize(torch.special.ndtri(points), dim=1).T


def fixed(dimension: int, count: int, seed: int, step: int) -> Tensor:
    """Gaussian directions drawn once: those of step 0 at every step."""
    return gaussian(dimension, count, seed, 0)


DIRECTIONS: dict[str, Callable[[int, int, int, int], Tensor]] = {
    "gaussian": gaussian,
    "sobol": sobol,
    "fixed": fixed,
}


def key(seed: int, step: int) -> int:
    """A 32-bit generator seed in which neighbouring (seed, step) have nothing in common."""
    digest = hashlib.blake2b(f"directions {seed} {step}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def draw(name: str, like: Tensor, count: int, seed: int, step: int) -> Tensor:
    """The directions of that name for embeddings `like` (..., K): (K, count), on its device."""
    directions = DIRECTIONS[name](like.shape[-1], count, seed, step)
    if like.is_cuda:
        directions = directions.pin_memory()
    return directions.to(like.device, like.dtype, non_blocking=True)
