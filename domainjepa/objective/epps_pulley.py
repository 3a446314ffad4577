"""The Epps-Pulley statistic from sums that are made in one pass (LeJEPA, arXiv 2511.08544, sec. 4).

    T = N * integral over [-t_max, t_max] of |ecf(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt,
    ecf(t) = mean over n of exp(i t s[n])

The integral is the trapezoid rule on knots t_k = k * dt of [0, t_max], doubled by symmetry. The
textbook way holds cos(t_k s[n]) and sin(t_k s[n]) for every sample, slice and knot. The knots are
uniform, so here all of them follow from ONE cos and sin of theta = dt * s[n]:

    forward    x[k+1] = 2 cos(theta) x[k] - x[k-1]   for x = cos(k theta) and sin(k theta)
    backward   b[k]   = g[k] + 2 cos(theta) b[k+1] - b[k+2]   (Clenshaw's sum of the gradient)

in blocks that stay in the cache. Only the sums over n, of shape (2, knots - 1), leave a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from domainjepa.distributed import sum_over_ranks

BLOCK = 65536  # projected values a block: a handful of float32 buffers of it fit the L2 caches
ROWS = 512  # samples a block, at most


def epps_pulley(
    projections: Tensor,
    knots: int = 17,
    t_max: float = 5.0,
    debias: bool = False,
    over_ranks: bool = False,
) -> Tensor:
    """The Epps-Pulley statistic of each slice: (..., N, M) -> (..., M), float32 or float64.

    `over_ranks`: the N samples are this rank's share of the sample, and the statistic is that of
    all ranks together (differentiable; counts may differ between ranks).

    `debias` gives the U-statistic: |ecf|^2 without its n = n' terms, so that the expectation for
    Gaussian samples is 0 at every N instead of sqrt(2 pi) (1 - 1/sqrt(3)) = 1.0594 (and the value
    can be negative). With a single sample there are no pairs, and their term is 0.

    An empty sample gives 0. NaN or infinity in a slice gives NaN for it. Any finite input has
    |dT/ds[n]| <= 4 * integral of |t| exp(-t^2/2) dt = 8.
    """
    dt = t_max / (knots - 1)
    t = dt * torch.arange(1, knots, device=projections.device, dtype=projections.dtype)
    gauss = torch.exp(-t.square() / 2)[:, None]
    weight = 2 * dt * gauss  # t_0 = 0 adds nothing: there ecf = 1 for every sample
    weight[-1] /= 2

    sums = characteristic_sums(projections, dt, knots)
    n = torch.full((), projections.shape[-2], device=sums.device, dtype=sums.dtype)
    if over_ranks:
        joined = sum_over_ranks(torch.cat([sums.flatten(), n[None]]))
        sums, n = joined[:-1].view_as(sums), joined[-1]
    cos, sin = (sums / n.clamp(min=1)).unbind(-3)
    if debias:
        pairs = (n * (cos.square() + sin.square()) - 1) / (n - 1).clamp(min=1)
        distance = pairs - 2 * gauss * cos + gauss.square()
    else:
        distance = (cos - gauss).square() + sin.square()
    return n * (weight * distance).sum(-2)


def characteristic_sums(s: Tensor, dt: float, knots: int) -> Tensor:
    """Sums over n of cos(k dt s[n]) and of sin(k dt s[n]), k = 1 ... knots-1, differentiable.

    (..., N, M) -> (..., 2, knots - 1, M).
    """
    flat = s.reshape(-1, *s.shape[-2:])
    sums = _Sums.apply(flat, dt, knots - 1)  # type: ignore[no-untyped-call]
    return sums.reshape(*s.shape[:-2], *sums.shape[1:])  # type: ignore[no-any-return]


def _blocks(s: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Ranges over views, samples and slices of s (B, N, M), of about BLOCK values each."""
    rows = min(max(s.shape[1], 1), ROWS)
    columns = min(max(s.shape[2], 1), BLOCK // rows)
    views = max(1, BLOCK // (rows * columns))
    steps = zip(s.shape, (views, rows, columns), strict=True)
    yield from product(*([slice(i, i + by) for i in range(0, size, by)] for size, by in steps))


class _Sums(torch.autograd.Function):
    """The recurrences keep d[k] = sign[k] x[k] with signs + + - - ..., because then one in-place
    multiply-add makes the next term: d[k+1] = d[k-1] -+ 2 cos(theta) d[k]."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, dt: float, terms: int) -> Tensor:
        ctx.save_for_backward(s)
        ctx.dt, ctx.terms = dt, terms
        sums = s.new_zeros(s.shape[0], 2, terms, s.shape[2])
        for views, rows, columns in _blocks(s):
            theta = s[views, rows, columns] * dt
            last = torch.stack([theta.cos(), theta.sin()])
            cos = last[0].clone()
            before = torch.stack([torch.ones_like(theta), torch.zeros_like(theta)])
            for k in range(terms):
                sign = _sign(k + 1)
                sums[views, :, k, columns] += sign * last.sum(-2).movedim(0, 1)
                before.addcmul_(cos, last, value=2 * sign * _sign(k + 2))
                before, last = last, before
        return sums

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (s,) = ctx.saved_tensors
        dt, terms = ctx.dt, ctx.terms
        # d/ds of g_cos cos(k dt s) + g_sin sin(k dt s)
        #   = k dt (g_sin cos(k theta) - g_cos sin(k theta))
        signs = [_sign(k) for k in range(1, terms + 1)]
        k_dt = dt * torch.arange(1, terms + 1, device=s.device, dtype=s.dtype)
        scale = (k_dt * torch.tensor(signs, device=s.device, dtype=s.dtype))[:, None]
        g = torch.stack([gradient[:, 1] * scale, gradient[:, 0] * -scale]).unsqueeze(-2)
        out = torch.empty_like(s)
        for views, rows, columns in _blocks(s):
            theta = s[views, rows, columns] * dt
            cos, sin = theta.cos(), theta.sin()
            b = theta.new_zeros(2, *theta.shape)
            b_next = torch.zeros_like(b)
            for k in reversed(range(terms)):  # b_next becomes b[k+1], b is b[k+2]
                b_next.addcmul_(cos, b, value=2 * _sign(k + 1) * _sign(k + 2))
                b_next += g[:, views, k, :, columns]
                b, b_next = b_next, b
            # After the sweep b = b[1] (sign +) and b_next = b[2] (sign -).
            out[views, rows, columns] = cos * b[0] + b_next[0] + sin * b[1]
        return out, None, None


def _sign(k: int) -> int:
    return -1 if k % 4 in (2, 3) else 1


GAUSSIAN_MEAN = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
"""E[T] = 1.0594 for Gaussian samples of any size (t_max to infinity): T / E[T] is the distance."""
