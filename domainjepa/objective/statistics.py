"""The other univariate tests of the paper, each a function of a whole sample.

All take projections (..., N, M), test the N values of each slice against the standard normal and
give (..., M), differentiable; 0 would be a perfect fit. NaN in a slice gives NaN for it.

The levels for Gaussian samples ("null level", the mean and standard deviation over samples) differ
by orders of magnitude, so a lambda that suits one test does not suit another. They were measured
on 200,000 samples of each size; Epps-Pulley's is 1.06 at every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.special import erfcx, log_ndtr, ndtr, ndtri


def extended_jarque_bera(s: Tensor) -> Tensor:
    """N mean^2 / var + (N - 1) (var - 1)^2 / 2 + N/6 (skewness^2 + (kurtosis - 3)^2 / 4).

    Jarque & Bera 1980 for the last two; LeJEPA, arXiv 2511.08544, adds the first two. The variance
    of the sample about its mean, divided by N - 1 in the first two terms and by N in the moments
    (as scipy does). chi^2 with 4 degrees of freedom for large N.

    Null level: 3.21 (3.60) at N = 8, 3.87 (3.42) at 128, 3.99 (2.94) at 1024.
    """
    n = s.shape[-2]
    mean = s.mean(-2, keepdim=True)
    centred = s - mean
    moment = centred.square().mean(-2, keepdim=True)
    # A slice without variance has no shape: keep its terms finite, the second one pulls it apart.
    u = centred / moment.clamp(min=TINY).sqrt()
    skewness, kurtosis = u.pow(3).mean(-2), u.pow(4).mean(-2)
    variance = moment.squeeze(-2) * (n / max(n - 1, 1))
    location: Tensor = n * mean.squeeze(-2).square() / variance.clamp(min=TINY)
    scale = (n - 1) * (variance - 1).square() / 2
    return location + scale + n / 6 * (skewness.square() + (kurtosis - 3).square() / 4)


def cramer_von_mises(s: Tensor) -> Tensor:
    """N * integral of (F_N - F)^2 dF = 1/(12 N) + sum over i of ((2i - 1)/(2N) - F(s_(i)))^2.

    Anderson & Darling 1952, eq. 2.2 with weight 1, as in scipy.stats.cramervonmises. The mean is
    1/6 at every N. (Divided by N, as some write it, it is 1/(6N), about 1e-3 at N = 128.)

    Null level: 0.167 (0.142) at N = 8, 0.167 (0.149) at 128, 0.167 (0.148) at 1024.
    """
    n = s.shape[-2]
    steps = (ranks(s) - 0.5) / n
    value: Tensor = (steps - ndtr(s.sort(-2).values)).square().sum(-2) + 1 / (12 * n)
    return value


def watson(s: Tensor) -> Tensor:
    """Cramer-von Mises less its part that is due to location: W^2 - N (mean F(s) - 1/2)^2.

    Watson 1961. The mean is 1/12 at every N. Blind to shifts around the circle of F, so weak
    against a shifted mean.

    Null level: 0.083 (0.049) at N = 8, 0.083 (0.052) at 128, 0.083 (0.053) at 1024.
    """
    shift = ndtr(s).mean(-2) - 0.5
    value: Tensor = cramer_von_mises(s) - s.shape[-2] * shift.square()
    return value


def anderson_darling(s: Tensor) -> Tensor:
    """-N - mean over i of (2i - 1) (log F(s_(i)) + log(1 - F(s_(N+1-i)))): weighs the tails.

    Anderson & Darling 1952, sec. 5. The mean is 1 at every N. Grows like s^2 far out, where the
    gradients of the other tests of the distribution function vanish.

    Null level: 1.00 (0.78) at N = 8, 1.00 (0.76) at 128, 1.00 (0.76) at 1024.
    """
    n = s.shape[-2]
    ordered = s.sort(-2).values
    tails = _log_ndtr(ordered) + _log_ndtr(-ordered.flip(-2))
    value: Tensor = -n - ((2 * ranks(s) - 1) * tails).sum(-2) / n
    return value


def _log_ndtr(x: Tensor) -> Tensor:
    value: Tensor = _LogNdtr.apply(x)
    return value


class _LogNdtr(torch.autograd.Function):
    """log F(x) of the standard normal. Its slope f(x) / F(x) is sqrt(2 / pi) / erfcx(-x / sqrt(2)):
    torch divides two numbers there that vanish together, and is wrong beyond x = -300 in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        value: Tensor = log_ndtr(x)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = math.sqrt(2 / math.pi) / erfcx(-x / math.sqrt(2))
        return gradient * slope


def shapiro_wilk(s: Tensor) -> Tensor:
    """1 - W, W = (sum over i of a_i s_(i))^2 / sum of (s - mean)^2; for 3 <= N, else 0.

    Shapiro & Wilk 1965 with the weights of Royston 1995 (AS R94, for N up to 5000), as in
    scipy.stats.shapiro. W does not see location and scale: it does not keep embeddings from
    shrinking or drifting, and a slice without variance counts as W = 0.

    Null level: 0.082 (0.050) at N = 8, 0.0109 (0.0051) at 128, 0.0017 (0.0007) at 1024.
    """
    n = s.shape[-2]
    if n < 3:
        return 0 * s.sum(-2)
    ordered = s.sort(-2).values
    centred = ordered - ordered.mean(-2, keepdim=True)
    a = royston_weights(n).to(s.device, s.dtype, non_blocking=True)[:, None]
    value: Tensor = 1 - (a * centred).sum(-2).square() / centred.square().sum(-2).clamp(min=TINY)
    return value


def vicreg(s: Tensor) -> Tensor:
    """mean^2 + (std - 1)^2, with the standard deviation of the sample itself (divided by N).

    As slices grow, its mean over directions constrains the mean and the covariance of embeddings,
    which is what VICReg (Bardes et al. 2022) does; LeJEPA, arXiv 2511.08544, sec. 5. No other
    moment is seen. The mean is about 1.5/N.

    Null level: 0.195 (0.199) at N = 8, 0.0117 (0.0124) at 128, 0.0015 (0.0015) at 1024.
    """
    mean = s.mean(-2)
    # The norm has gradient 0 where all samples agree; the root of a variance would have NaN.
    std = torch.linalg.vector_norm(s - mean.unsqueeze(-2), dim=-2) / math.sqrt(s.shape[-2])
    value: Tensor = mean.square() + (std - 1).square()
    return value


def ranks(s: Tensor) -> Tensor:
    """1 ... N as a column (N, 1) that broadcasts over sorted slices."""
    return torch.arange(1, s.shape[-2] + 1, device=s.device, dtype=s.dtype)[:, None]


def royston_weights(n: int) -> Tensor:
    """The weights a (N,) of Shapiro and Wilk's W for N >= 3: Royston 1995, Appl. Stat. 44, R94."""
    i = torch.arange(1, n + 1, dtype=torch.float64)
    if n == 3:
        return torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) / math.sqrt(2)
    m: Tensor = ndtri((i - 0.375) / (n + 0.25))  # Blom's approximate expected order statistics
    norm = m.square().sum()
    a = m / norm.sqrt()
    u = n**-0.5
    # The outermost weights are polynomials in 1/sqrt(N), with a correction to keep sum a^2 = 1.
    outer = [a[-1] + _polynomial(u, -2.706056, 4.434685, -2.071190, -0.147981, 0.221157)]
    if n > 5:
        outer += [a[-2] + _polynomial(u, -3.582633, 5.682633, -1.752461, -0.293762, 0.042981)]
    fixed = len(outer)
    inner = m[fixed:-fixed]
    rest = 1 - 2 * sum(float(x) ** 2 for x in outer)
    a[fixed:-fixed] = inner * math.sqrt(rest / float(inner.square().sum()))
    for k, x in enumerate(outer):
        a[k], a[-1 - k] = -x, x
    return a


def _polynomial(u: float, *coefficients: float) -> float:
    """Horner's rule from the highest power down to u^1; there is no constant."""
    value = 0.0
    for c in coefficients:
        value = (value + c) * u
    return value


TINY = 1e-12

STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "extended-jarque-bera": extended_jarque_bera,
    "cramer-von-mises": cramer_von_mises,
    "anderson-darling": anderson_darling,
    "watson": watson,
    "shapiro-wilk": shapiro_wilk,
    "vicreg": vicreg,
}
