"""The sums of `epps_pulley.characteristic_sums` and their gradient, as a pair of Triton kernels.

With theta = dt s, all cos(k theta) and sin(k theta) follow by Chebyshev's recurrence, and the
gradient by Clenshaw's. Both run on differences (Reinsch): q = 2 - 2 cos(theta) = 4 sin^2(theta/2),
and the step is d[k] = d[k-1] - q x[k], x[k+1] = x[k] + d[k]; as usually written they lose k^2 units
of rounding where theta is small. In registers this takes fewer multiplications than the complex
powers of `epps_pulley`, whose strength is the few passes over memory.

A program takes a tile of samples and slices, reads s once, and keeps q and the two recurrences in
registers (five float32 values for each s). Forward, the sums over the tile's samples leave it,
2 * terms for TILE_N samples, and a second, small reduction adds the tiles up: the order of
additions is fixed, so results repeat bit for bit, and long samples fill the machine as well as
many slices do.
Backward, the gradient is written once. s is (B, N, M) with M contiguous, so loads and stores are
coalesced along the slices.

Both kernels do about 6 * terms operations for each s, which at 16 terms is more than the time its 4
bytes take to arrive: they are bound by arithmetic, and read what they must from memory.

Imported on first use on CUDA; with TRITON_INTERPRET=1 in the environment it runs on a CPU.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE_N, TILE_M, WARPS = 128, 32, 8  # 16 values of s for each thread


_device_of: Any = torch.cuda.device_of  # kernels start on the current device, not on their data's


class Sums(torch.autograd.Function):
    """float32 s (B, N, M) -> (B, 2, terms, M)."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, dt: float, terms: int) -> Tensor:
        s = s.contiguous()
        ctx.save_for_backward(s)
        ctx.dt, ctx.terms = dt, terms
        batch, n, m = s.shape
        tiles = triton.cdiv(n, TILE_N)
        parts = s.new_empty(batch, tiles, 2, terms, m)
        if s.numel():
            grid = (triton.cdiv(m, TILE_M), tiles, batch)
            with _device_of(s):
                _forward[grid](s, parts, n, m, dt / 2, terms, TILE_N, TILE_M, num_warps=WARPS)
        return parts.squeeze(1) if tiles == 1 else parts.sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (s,) = ctx.saved_tensors
        batch, n, m = s.shape
        out = torch.empty_like(s)
        if s.numel():
            grid = (triton.cdiv(m, TILE_M), triton.cdiv(n, TILE_N), batch)
            with _device_of(s):
                _backward[grid](
                    s, gradient.contiguous(), out, n, m, ctx.dt / 2, ctx.terms, TILE_N, TILE_M,
                    num_warps=WARPS,
                )  # fmt: skip
        return out, None, None


@triton.jit
def _tile(n, m, TILE_N: tl.constexpr, TILE_M: tl.constexpr):
    """Where this program's tile starts in s, its local offsets, its columns and their masks."""
    first = tl.program_id(1) * TILE_N
    rows = tl.arange(0, TILE_N)
    columns = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    start = (tl.program_id(2).to(tl.int64) * n + first) * m
    inside = (first + rows < n)[:, None] & (columns < m)[None, :]
    return start, rows[:, None] * m + columns[None, :], columns, inside


@triton.jit
def _forward(s, parts, n, m, half_dt, terms, TILE_N: tl.constexpr, TILE_M: tl.constexpr):
    start, offsets, columns, inside = _tile(n, m, TILE_N, TILE_M)
    half = tl.load(s + start + offsets, mask=inside, other=0.0) * half_dt
    half_sin = tl.sin(half)
    q = 4 * half_sin * half_sin
    x_sin = 2 * half_sin * tl.cos(half)
    x_cos = tl.where(inside, 1 - 0.5 * q, 0.0)  # absent samples have q = 0: they stay at 0
    d_sin = x_sin
    d_cos = -0.5 * q
    tile = tl.program_id(2).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    to_cos = parts + tile * 2 * terms * m + columns
    to_sin = to_cos + terms * m
    for _ in range(terms):
        tl.store(to_cos, tl.sum(x_cos, 0), mask=columns < m)
        tl.store(to_sin, tl.sum(x_sin, 0), mask=columns < m)
        d_cos = tl.fma(-q, x_cos, d_cos)
        d_sin = tl.fma(-q, x_sin, d_sin)
        x_cos += d_cos
        x_sin += d_sin
        to_cos += m
        to_sin += m


@triton.jit
def _backward(s, gradient, out, n, m, half_dt, terms, TILE_N: tl.constexpr, TILE_M: tl.constexpr):
    start, offsets, columns, inside = _tile(n, m, TILE_N, TILE_M)
    half = tl.load(s + start + offsets, mask=inside, other=0.0) * half_dt
    half_sin = tl.sin(half)
    q = 4 * half_sin * half_sin
    sin = 2 * half_sin * tl.cos(half)
    b_cos = tl.zeros_like(q)
    b_sin = tl.zeros_like(q)
    d_cos = tl.zeros_like(q)
    d_sin = tl.zeros_like(q)
    # The slope of the cosine sums is a sine series and that of the sine sums a cosine series.
    from_cos = gradient + (tl.program_id(2).to(tl.int64) * 2 * terms + terms - 1) * m + columns
    from_sin = from_cos + terms * m
    for step in range(terms):
        slope = 2 * half_dt * (terms - step).to(tl.float32)
        g_cos = tl.load(from_sin, mask=columns < m, other=0.0) * slope
        g_sin = tl.load(from_cos, mask=columns < m, other=0.0) * -slope
        d_cos = tl.fma(-q, b_cos, d_cos) + g_cos[None, :]
        d_sin = tl.fma(-q, b_sin, d_sin) + g_sin[None, :]
        b_cos += d_cos
        b_sin += d_sin
        from_cos -= m
        from_sin -= m
    tl.store(out + start + offsets, d_cos - 0.5 * q * b_cos + sin * b_sin, mask=inside)
