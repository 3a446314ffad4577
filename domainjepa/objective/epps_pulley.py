"""The Epps-Pulley statistic from sums that are made in one pass (LeJEPA, arXiv 2511.08544, sec. 4).

    T = N * integral over [-t_max, t_max] of |ecf(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt,
    ecf(t) = mean over n of exp(i t s[n])

The integral is the trapezoid rule on knots t_k = k dt of [0, t_max], doubled by symmetry. The
textbook way holds cos(t_k s[n]) and sin(t_k s[n]) for every sample, slice and knot. The knots are
uniform, so here all of them follow from ONE cos and sin of theta = dt s[n], by Chebyshev's
recurrence and, for the gradient, Clenshaw's:

    x[k+1] = 2 cos(theta) x[k] - x[k-1]          x[k] = cos(k theta), sin(k theta)
    b[k]   = 2 cos(theta) b[k+1] - b[k+2] + g[k]    sum_k g[k] sin(k theta) = b[1] sin(theta), ...

Both run on differences (Reinsch): with q = 2 - 2 cos(theta) = 4 sin^2(theta/2), the step is
d[k] = d[k-1] - q x[k], x[k+1] = x[k] + d[k]. As written above they lose k^2 units of rounding where
theta is small, and most are small; on differences the result is as good as the textbook's.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from domainjepa.distributed import sum_over_ranks


def quadrature(knots: int, t_max: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """exp(-t^2/2) at the knots t > 0 and their weights, each (knots - 1, 1), as `like` is.

    t = 0 adds nothing, since ecf(0) = 1 for every sample.
    """
    dt = t_max / (knots - 1)
    t = dt * torch.arange(1, knots, device=like.device, dtype=like.dtype)[:, None]
    gauss = torch.exp(-t.square() / 2)
    weight = 2 * dt * gauss
    weight[-1] /= 2
    return gauss, weight


def gaussian_mean(knots: int = 17, t_max: float = 5.0) -> float:
    """E[T] for Gaussian samples, the same at every N: the quadrature of 1 - exp(-t^2).

    sqrt(2 pi) (1 - 1/sqrt(3)) = 1.0594 as t_max and knots grow; 1.0594 with the defaults.
    """
    gauss, weight = quadrature(knots, t_max, torch.empty((), dtype=torch.float64))
    return float((weight * (1 - gauss.square())).sum())


def epps_pulley(
    projections: Tensor,
    knots: int = 17,
    t_max: float = 5.0,
    debias: bool = False,
    over_ranks: bool = False,
) -> Tensor:
    """The Epps-Pulley statistic of each slice: float32 or float64 (..., N, M) -> (..., M).

    `over_ranks`: the N samples are this rank's share, and the statistic is that of all ranks
    together (differentiable; the shares may differ in size).

    `debias` gives the U-statistic: |ecf|^2 without its n = n' terms. Its expectation for Gaussian
    samples is 0 at every N >= 2, that of the plain statistic `gaussian_mean()`; it can be negative.
    A single sample has no pairs, and their term is 0 then.

    An empty sample gives 0. NaN or infinity in a slice gives NaN for that slice. Every finite input
    has |dT/ds[n]| <= 4 * integral over all t of |t| exp(-t^2/2) dt = 8.
    """
    gauss, weight = quadrature(knots, t_max, projections)
    sums = characteristic_sums(projections, t_max / (knots - 1), knots - 1)
    n = torch.full((1,), projections.shape[-2], device=sums.device, dtype=sums.dtype)
    if over_ranks:
        joined = sum_over_ranks(torch.cat([sums.flatten(), n]))
        sums, n = joined[:-1].view_as(sums), joined[-1:]
    cos, sin = (sums / n.clamp(min=1)).unbind(-3)
    if debias:
        pairs = (n * (cos.square() + sin.square()) - 1) / (n - 1).clamp(min=1)
        distance = pairs - 2 * gauss * cos + gauss.square()
    else:
        distance = (cos - gauss).square() + sin.square()
    return n * (weight * distance).sum(-2)


def characteristic_sums(s: Tensor, dt: float, terms: int) -> Tensor:
    """Sums over n of cos(k dt s[n]) and sin(k dt s[n]), k = 1 ... terms; once differentiable.

    (..., N, M) -> (..., 2, terms, M). On CUDA in float32 the Triton twin does it, if there is one.
    """
    on_cuda = s.is_cuda and s.dtype == torch.float32
    function = (_triton_sums() if on_cuda else None) or _Sums
    views = s.reshape(math.prod(s.shape[:-2]), *s.shape[-2:])
    sums: Tensor = function.apply(views, dt, terms)
    return sums.reshape(*s.shape[:-2], *sums.shape[1:])


@cache
def _triton_sums() -> Any:
    """The Triton twin of _Sums, or None where Triton is missing or cannot build its kernels."""
    try:
        from domainjepa.objective.epps_pulley_triton import Sums

        Sums.apply(torch.zeros(1, 1, 1, device="cuda"), 1.0, 1)
    except ImportError:
        return None
    except Exception as error:  # for instance a machine without the C compiler that Triton needs
        warnings.warn(f"SIGReg runs without its Triton kernel: {error}", stacklevel=2)
        return None
    return Sums


class _Sums(torch.autograd.Function):
    """s (B, N, M) -> (B, 2, terms, M), block by block in buffers that a cache holds."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, dt: float, terms: int) -> Tensor:
        ctx.save_for_backward(s)
        ctx.dt, ctx.terms = dt, terms
        s = s.detach()  # threads do not inherit that no graph is recorded here
        sums = s.new_zeros(terms, 2, s.shape[0], s.shape[2])

        def block_sums(block: Block) -> tuple[Block, Tensor]:
            q, sin = _sincos(s[block], dt)
            x = torch.stack([1 - q / 2, sin])  # x[1]; x[0] is 1 and 0
            d = torch.stack([q * -0.5, sin])  # x[1] - x[0]
            out = s.new_empty(terms, 2, q.shape[0], q.shape[2])
            first, *others = out.unbind()
            torch.sum(x, -2, out=first)
            for x_sum in others:
                d.addcmul_(q, x, value=-1)
                x.add_(d)
                torch.sum(x, -2, out=x_sum)
            return block, out

        for (views, _, columns), out in _each_block(block_sums, s):
            sums[:, :, views, columns] += out
        return sums.permute(2, 1, 0, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (s,) = ctx.saved_tensors
        s = s.detach()
        # d/ds of c cos(k dt s) + s sin(k dt s) is a cosine series with k dt s and a sine series
        # with -k dt c.
        slope = ctx.dt * torch.arange(1, ctx.terms + 1, device=s.device, dtype=s.dtype)[:, None]
        series = torch.stack([gradient[:, 1] * slope, gradient[:, 0] * -slope])
        series = series.permute(2, 0, 1, 3).unsqueeze(-2).contiguous()  # (terms, 2, B, 1, M)
        total = torch.empty_like(s)

        def block_gradient(block: Block) -> None:
            views, _, columns = block
            q, sin = _sincos(s[block], ctx.dt)
            b = q.new_zeros(2, *q.shape)
            d = torch.zeros_like(b)
            for g in reversed(series[:, :, views, :, columns].unbind()):
                d.addcmul_(q, b, value=-1).add_(g)
                b.add_(d)
            # Cosines: b[1] cos(theta) - b[2] = d[1] - q/2 b[1]. Sines: b[1] sin(theta).
            cosines = torch.addcmul(d[0], q, b[0], value=-0.5)
            total[block] = cosines.addcmul_(sin, b[1])

        _each_block(block_gradient, s)
        return total, None, None


def _sincos(s: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    """2 - 2 cos(theta) and sin(theta), theta = dt s, from the half angle without cancellation."""
    half = s * (dt / 2)
    sin = half.sin()
    return sin.square().mul_(4), sin.mul_(half.cos_()).mul_(2)


Block = tuple[slice, slice, slice]
Result = TypeVar("Result")


def _each_block(work: Callable[[Block], Result], s: Tensor) -> list[Result]:
    """What `work` gives for blocks of views, samples and slices that cover s (B, N, M).

    On a CPU the blocks, whose buffers stay near the caches, go to as many threads as torch has.
    Left to torch alone, its threads would meet at each of a thousand small operations, and one that
    waits for a processor which another program holds would delay all: 5 s for 0.05 s of work was
    seen on a busy machine. Elsewhere blocks only bound the memory.
    """
    on_cpu = s.device.type == "cpu"
    threads = torch.get_num_threads()
    size = max(1 << 14, min(1 << 18, s.numel() // threads)) if on_cpu else 1 << 26
    rows = min(s.shape[1], 512)
    columns = min(s.shape[2], size // max(rows, 1))
    views = min(s.shape[0], size // max(rows * columns, 1))
    blocks = list(
        product(_ranges(s.shape[0], views), _ranges(s.shape[1], rows), _ranges(s.shape[2], columns))
    )
    if not on_cpu or threads == 1 or len(blocks) == 1:
        return [work(block) for block in blocks]
    return list(_workers(threads).map(work, blocks))


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "sigreg")


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_workers.cache_clear)  # threads do not survive a fork


def _ranges(length: int, longest: int) -> list[slice]:
    """0 ... length in as few nearly equal ranges as are not longer than `longest`."""
    count = -(-length // max(longest, 1))
    return [slice(i * length // count, (i + 1) * length // count) for i in range(count)]
