"""The Epps-Pulley statistic from sums that are made in one pass (LeJEPA, arXiv 2511.08544, sec. 4).

    T = N * integral over [-t_max, t_max] of |ecf(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt,
    ecf(t) = mean over n of exp(i t s[n])

The integral is the trapezoid rule on knots t_k = k dt of [0, t_max], doubled by symmetry. The
textbook way holds cos(t_k s[n]) and sin(t_k s[n]) for every sample, slice and knot. The knots are
uniform, so here all of them follow from ONE cos and sin: with z = exp(i dt s[n]),

    exp(i t_k s[n]) = z^k = z z^(k-1)                             forward, k = 1, 2, ...
    dT/ds[n] = Re sum_k g[k] z^k = Re (g[1] + (g[2] + ...) z) z   backward, Horner's rule

in two passes that keep z and the sums. The powers lose about k units of rounding; Chebyshev's
recurrence on cos(k theta), the same in real numbers, loses k^2 of them for small theta.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from domainjepa.distributed import sum_over_ranks
from domainjepa.objective.threads import by_threads


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

    (..., N, M) -> (..., 2, terms, M). On CUDA in float32 the Triton twin does it, if there is one;
    on devices that do not compute with complex numbers their real and imaginary parts do.
    """
    on_cuda = s.is_cuda and s.dtype == torch.float32
    function: Any = _triton_sums() if on_cuda else None
    function = function or (_Sums if _computes_complex(s.device.type) else _RealSums)
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


@cache
def _computes_complex(device: str) -> bool:
    """Whether a kind of device can do what _Sums asks for; it is tried."""
    try:
        s = torch.zeros(1, 1, 1, device=device, requires_grad=True)
        _Sums.apply(s, 1.0, 3).sum().backward()
    except (RuntimeError, TypeError, NotImplementedError):
        return False
    return True


class _Sums(torch.autograd.Function):
    """s (B, N, M) -> (B, 2, terms, M), block by block, each by one thread."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, dt: float, terms: int) -> Tensor:
        ctx.dt, ctx.terms, ctx.shape = dt, terms, s.shape
        blocks = _blocks(s)
        made = by_threads(lambda block: _power_sums(_phase(s[block], dt), terms), blocks, s.device)
        sums = s.new_zeros(terms, s.shape[0], s.shape[2], 2)
        for (views, _, columns), (_, power_sums) in zip(blocks, made, strict=True):
            sums[:, views, columns] += power_sums
        ctx.save_for_backward(*(z for z, _ in made))
        return sums.permute(1, 3, 0, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # d/ds of a cos(k theta) + b sin(k theta) is the real part of k dt (b + i a) z^k.
        slope = (
            ctx.dt
            * torch.arange(1, ctx.terms + 1, device=gradient.device, dtype=gradient.dtype)[:, None]
        )
        series = torch.complex(gradient[:, 1] * slope, gradient[:, 0] * slope)
        series = series.movedim(1, 0).unsqueeze(-2).contiguous()  # (terms, B, 1, M)
        total = gradient.new_empty(ctx.shape)

        def horner(at: tuple[Block, Tensor]) -> None:
            block, z = at
            views, _, columns = block
            highest, *others = reversed(series[:, views, :, columns].unbind())
            value = z * highest
            for coefficient in others:
                value.add_(coefficient).mul_(z)
            total[block] = value.real

        pairs = list(zip(_blocks(total), ctx.saved_tensors, strict=True))
        by_threads(horner, pairs, gradient.device)
        return total, None, None


def _power_sums(z: Tensor, terms: int) -> tuple[Tensor, Tensor]:
    """z (v, n, m) complex -> z, and the sums of its powers 1 ... terms over n (terms, v, m, 2)."""
    views, rows, columns = z.shape
    ones = z.real.new_ones(views, 1, rows)
    sums = z.real.new_empty(terms, views, 1, 2 * columns)
    power = z
    for k, out in enumerate(sums.unbind(), start=1):
        if k > 1:
            power = z * z if k == 2 else power.mul_(z)
        # Real and imaginary parts side by side: a product with ones sums over samples.
        torch.bmm(ones, torch.view_as_real(power).view(views, rows, 2 * columns), out=out)
    return z, sums.view(terms, views, columns, 2)


class _RealSums(torch.autograd.Function):
    """_Sums in real numbers: z = cos + i sin, multiplied by hand."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, dt: float, terms: int) -> Tensor:
        ctx.dt, ctx.terms, ctx.shape = dt, terms, s.shape
        phases = []
        sums = s.new_zeros(s.shape[0], 2, terms, s.shape[2])
        for block in _blocks(s):
            theta = s[block] * dt
            cos, sin = theta.cos(), theta.sin()
            phases += [cos, sin]
            real, imaginary = cos, sin
            for k in range(terms):
                if k:
                    real, imaginary = _times(real, imaginary, cos, sin)
                sums[block[0], 0, k, block[2]] += real.sum(-2)
                sums[block[0], 1, k, block[2]] += imaginary.sum(-2)
        ctx.save_for_backward(*phases)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        slope = (
            ctx.dt
            * torch.arange(1, ctx.terms + 1, device=gradient.device, dtype=gradient.dtype)[:, None]
        )
        a, b = (gradient * slope).unsqueeze(-2).unbind(1)  # each (B, terms, 1, M)
        total = gradient.new_empty(ctx.shape)
        saved = iter(ctx.saved_tensors)
        for block in _blocks(total):
            cos, sin = next(saved), next(saved)
            views, _, columns = block
            real = imaginary = torch.zeros_like(cos)
            for k in reversed(range(ctx.terms)):
                real = real + b[views, k, :, columns]
                imaginary = imaginary + a[views, k, :, columns]
                real, imaginary = _times(real, imaginary, cos, sin)
            total[block] = real
        return total, None, None


def _times(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """(a + i b)(c + i d)."""
    return a * c - b * d, a * d + b * c


def _phase(s: Tensor, dt: float) -> Tensor:
    """z = exp(i theta), theta = dt s."""
    theta = s * dt
    return torch.complex(theta.cos(), theta.sin_())


Block = tuple[slice, slice, slice]


def _blocks(s: Tensor) -> list[Block]:
    """Blocks of views, samples and slices that cover s (B, N, M).

    On a CPU a block is the work of one thread, and its buffers stay near that core's cache;
    elsewhere they only bound the memory. The sums over at most 512 samples in a block are joined by
    plain additions, which keeps their rounding small.
    """
    size = 1 << 17 if s.device.type == "cpu" else 1 << 26
    rows = min(s.shape[1], 512)
    columns = min(s.shape[2], size // max(rows, 1))
    views = min(s.shape[0], size // max(rows * columns, 1))
    return list(
        product(_ranges(s.shape[0], views), _ranges(s.shape[1], rows), _ranges(s.shape[2], columns))
    )


def _ranges(length: int, longest: int) -> list[slice]:
    """0 ... length in as few nearly equal ranges as are not longer than `longest`."""
    count = -(-length // max(longest, 1))
    return [slice(i * length // count, (i + 1) * length // count) for i in range(count)]
