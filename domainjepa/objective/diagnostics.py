"""What the loss alone does not show: how Gaussian embeddings are, and how many dimensions they use.

Numbers to look at, never losses: nothing here carries a gradient.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from domainjepa.objective.epps_pulley import gaussian_mean
from domainjepa.objective.sigreg import SIGReg


@torch.no_grad()
def distance_from_gaussian(z: Tensor, step: int = 0, num_slices: int = 256) -> Tensor:
    """T / E[T] of the Epps-Pulley test over random slices: 1 for a standard Gaussian batch.

    z (V, N, K) or (N, K) -> scalar, whatever statistic is trained on. Grows in proportion to N
    where the embeddings are not Gaussian. In a process group, of the global batch.
    """
    value: Tensor = SIGReg(num_slices)(z, step=step)
    return value / gaussian_mean()


@torch.no_grad()
def per_direction(z: Tensor, sigreg: SIGReg, step: int = 0) -> Tensor:
    """The statistic of each slice of a step, on this process' samples: (..., N, K) -> (..., M)."""
    z = z if z.dtype == torch.float64 else z.float()
    return sigreg.statistic_of(z @ sigreg.slices(z, step))


@torch.no_grad()
def effective_rank(z: Tensor) -> Tensor:
    """exp of the entropy of the singular values, normalised to sum 1, of the centred z (N, K).

    Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", eq. 2 (the
    singular values themselves, not their squares). Between 1 and K; 0 if all samples agree.
    """
    z = _double(z)
    sigma = torch.linalg.svdvals(z - z.mean(0))
    p = sigma / sigma.sum()
    rank = torch.special.entr(p).sum().exp()
    return torch.where(sigma.sum() == 0, 0.0, rank)


@torch.no_grad()
def bhep(z: Tensor, beta: float = 1.0) -> Tensor:
    """The Baringhaus-Henze-Epps-Pulley test of z (N, K) against the standard Gaussian -> scalar.

    N * integral of |ecf(t) - exp(-|t|^2/2)|^2 over K dimensions, weighted with the density of a
    Gaussian of standard deviation beta: Epps-Pulley without slices, over sqrt(2 pi) if K = beta =
    1. The mean for Gaussian samples is 1 - (1 + 2 beta^2)^(-K/2). Time and memory are O(N^2): give
    it some thousand samples at most.

    Source: Henze & Zirkler 1990, eq. 2.2, for the simple hypothesis.
    """
    z = _double(z)
    n, k = z.shape
    b = beta**2
    pairs = torch.cdist(z, z).square().mul_(-b / 2).exp_().sum() / n
    singles = (z.square().sum(1) * (-b / (2 * (1 + b)))).exp().sum() * (1 + b) ** (-k / 2)
    value: Tensor = pairs - 2 * singles + n * (1 + 2 * b) ** (-k / 2)
    return value


@torch.no_grad()
def henze_zirkler(z: Tensor) -> Tensor:
    """The test of z (N, K) for a Gaussian of any mean and covariance -> scalar.

    BHEP on whitened samples with beta = ((2K + 1) N / 4)^(1/(K+4)) / sqrt(2). By convention 4 N if
    the sample covariance is singular, which it is for N <= K. Henze & Zirkler 1990.
    """
    z = _double(z)
    n, k = z.shape
    centred = z - z.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / n)
    if n <= k or values[0] <= values[-1] * k * torch.finfo(torch.float64).eps:
        return z.new_tensor(4.0 * n)
    beta = ((2 * k + 1) * n / 4) ** (1 / (k + 4)) / math.sqrt(2)
    return bhep(centred @ vectors / values.sqrt(), beta)


def _double(z: Tensor) -> Tensor:
    """float64, on the CPU where the device has none."""
    return (z if _has_float64(z.device.type) else z.cpu()).double()


@cache
def _has_float64(device: str) -> bool:
    """Whether a kind of device computes in float64; it is tried."""
    try:
        torch.ones(2, device=device, dtype=torch.float64).sum()
    except (RuntimeError, TypeError, NotImplementedError):
        return False
    return True
