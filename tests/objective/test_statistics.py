"""Each statistic against scipy or a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from domainjepa.objective import SIGReg
from domainjepa.objective.sigreg import NAMES
from domainjepa.objective.statistics import STATISTICS, royston_weights, shapiro_wilk


def sample(n: int) -> Tensor:
    """Three slices of n, none of them standard normal."""
    generator = torch.Generator().manual_seed(n)
    s = torch.randn(n, 3, generator=generator, dtype=torch.double)
    return s * torch.tensor([0.5, 1.0, 2.0]) + torch.tensor([-0.3, 0.4, 1.0])


def cramer_von_mises(x: np.ndarray) -> float:
    return float(scipy.stats.cramervonmises(x, "norm").statistic)


def anderson_darling(x: np.ndarray) -> float:
    # scipy's test of a given law by simulation computes the statistic first; no draws are needed.
    known = {"loc": 0, "scale": 1}
    fit = scipy.stats.goodness_of_fit(
        scipy.stats.norm, x, known_params=known, statistic="ad", n_mc_samples=1
    )
    return float(fit.statistic)


def watson(x: np.ndarray) -> float:
    """N * integral of (F_N - F - its mean)^2 dF by a fine grid in u = F(x)."""
    u = (np.arange(1_000_000) + 0.5) / 1_000_000
    points = np.sort(scipy.stats.norm.cdf(x))
    difference = np.searchsorted(points, u, side="right") / len(x) - u
    return float(len(x) * difference.var())


def extended_jarque_bera(x: np.ndarray) -> float:
    n, variance = len(x), x.var(ddof=1)
    moments = n * x.mean() ** 2 / variance + (n - 1) * (variance - 1) ** 2 / 2
    return float(moments + scipy.stats.jarque_bera(x).statistic)


REFERENCES = {
    "cramer-von-mises": cramer_von_mises,
    "anderson-darling": anderson_darling,
    "watson": watson,
    "extended-jarque-bera": extended_jarque_bera,
    "shapiro-wilk": lambda x: 1 - float(scipy.stats.shapiro(x).statistic),
    "vicreg": lambda x: float(x.mean() ** 2 + (x.std() - 1) ** 2),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("n", [3, 4, 5, 6, 20, 333])
def test_reference(name: str, n: int) -> None:
    s = sample(n)
    expected = [REFERENCES[name](column.numpy()) for column in s.T]
    np.testing.assert_allclose(STATISTICS[name](s), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", STATISTICS)
def test_gradcheck_and_leading_shape(name: str) -> None:
    s = sample(18).reshape(2, 9, 3).requires_grad_()
    assert torch.autograd.gradcheck(STATISTICS[name], (s,))
    torch.testing.assert_close(STATISTICS[name](s)[1], STATISTICS[name](s[1]))


@pytest.mark.parametrize("size", [1.0, 300.0, 1e4, 1e6])
def test_the_slope_of_anderson_darling_far_out(size: float) -> None:
    """Float32 against double, and far out against d/dx log F(x) = -x - 1/x + 2/x^3 - …"""
    s = (size * sample(16)).float().requires_grad_()
    STATISTICS["anderson-darling"](s).sum().backward()
    x, order = s.detach().double().sort(0)
    rank = torch.arange(1, 17, dtype=torch.double)[:, None]

    def slope(x: torch.Tensor) -> torch.Tensor:
        near = np.exp(scipy.stats.norm.logpdf(x) - scipy.stats.norm.logcdf(x))
        return torch.where(x < -30, -x - 1 / x, torch.from_numpy(near))

    expected = -((2 * rank - 1) * slope(x) - (2 * (17 - rank) - 1) * slope(-x)) / 16
    torch.testing.assert_close(s.grad.gather(0, order).double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("extended-jarque-bera", 4.0),  # chi^2 with 4 degrees of freedom, for large N
        ("cramer-von-mises", 1 / 6),
        ("anderson-darling", 1.0),
        ("watson", 1 / 12),
        ("vicreg", 1.5 / 1000),
    ],
)
def test_mean_for_gaussian_samples(name: str, mean: float) -> None:
    s = torch.randn(1000, 4000, generator=torch.Generator().manual_seed(0))
    value = STATISTICS[name](s)
    assert abs(value.mean() - mean) < 5 * value.std() / math.sqrt(4000) + 0.01 * mean


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_silent(name: str) -> None:
    s = torch.randn(10, 3)
    s[4, 1] = math.nan
    assert SIGReg(statistic=name).statistic_of(s).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_samples_are_finite(name: str, n: int) -> None:
    s = torch.randn(2, n, 3).requires_grad_()
    value = SIGReg(statistic=name).statistic_of(s)
    value.sum().backward()
    assert s.grad is not None
    assert value.shape == (2, 3)
    assert value.isfinite().all()
    assert s.grad.isfinite().all()
    if n == 0:
        assert (value == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "z", [torch.zeros(16, 3), torch.full((16, 3), 1e6), torch.eye(16, 3) * 1e6]
)
def test_collapsed_and_huge_embeddings_are_finite(name: str, z: Tensor) -> None:
    s = z.clone().requires_grad_()
    value = SIGReg(statistic=name).statistic_of(s)
    value.sum().backward()
    assert s.grad is not None
    assert value.isfinite().all()
    assert s.grad.isfinite().all()


def test_shapiro_wilk_weights_are_a_unit_vector() -> None:
    for n in (3, 4, 5, 6, 50, 5000):
        a = royston_weights(n)
        assert a.square().sum() == pytest.approx(1)
        torch.testing.assert_close(a, -a.flip(0), rtol=1e-12, atol=1e-12)
    # Location and scale do not matter to it.
    s = sample(20)
    torch.testing.assert_close(shapiro_wilk(s), shapiro_wilk(3 - 7 * s))
