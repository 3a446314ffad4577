from __future__ import annotations

import math

import pytest
import torch

from domainjepa.objective import SIGReg
from domainjepa.objective.diagnostics import (
    bhep,
    distance_from_gaussian,
    effective_rank,
    henze_zirkler,
    per_direction,
)
from domainjepa.objective.epps_pulley import epps_pulley


def gaussian(n: int, k: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_bhep_in_one_dimension_is_epps_pulley() -> None:
    z = 0.3 + 1.4 * gaussian(60, 1)
    expected = epps_pulley(z, knots=2001, t_max=12.0)[0] / math.sqrt(2 * math.pi)
    torch.testing.assert_close(bhep(z, beta=1.0), expected)


def test_mean_of_bhep_for_gaussian_samples() -> None:
    k, beta = 3, 0.8
    values = torch.stack([bhep(gaussian(50, k, seed), beta) for seed in range(400)])
    mean = 1 - (1 + 2 * beta**2) ** (-k / 2)
    assert abs(values.mean() - mean) < 5 * values.std() / 20


def test_mean_of_henze_zirkler_for_gaussian_samples() -> None:
    """Henze & Zirkler 1990, theorem 3.2: the limit of the mean with estimated moments."""
    n, k = 400, 2
    b = ((2 * k + 1) * n / 4) ** (2 / (k + 4)) / 2
    a = 1 + 2 * b
    mean = 1 - a ** (-k / 2) * (1 + k * b / a + k * (k + 2) * b**2 / (2 * a**2))
    values = torch.stack([henze_zirkler(gaussian(n, k, seed)) for seed in range(100)])
    assert abs(values.mean() - mean) < 5 * values.std() / 10 + 0.01


def test_henze_zirkler_is_affine_invariant_and_knows_singular_samples() -> None:
    z = gaussian(50, 3)
    matrix = gaussian(3, 3, seed=1)
    torch.testing.assert_close(henze_zirkler(z @ matrix + 5), henze_zirkler(z))
    assert henze_zirkler(z @ matrix[:, [0, 1, 1]]) == 200
    assert henze_zirkler(gaussian(3, 3)) == 12
    assert henze_zirkler(z.exp()) > 3 * henze_zirkler(z)


def test_effective_rank_closed_forms() -> None:
    z = torch.cat([torch.eye(4), -torch.eye(4)])  # centred, four equal singular values
    assert effective_rank(z) == pytest.approx(4)
    assert effective_rank(z[:, :1] @ torch.ones(1, 4) + 3) == pytest.approx(1)
    assert effective_rank(torch.ones(5, 4)) == 0
    p = torch.tensor([3.0, 1.0]) / 4
    scaled = z[:, :2] * torch.tensor([3.0, 1.0])
    assert effective_rank(scaled) == pytest.approx(float((-p * p.log()).sum().exp()))


def test_distance_from_gaussian_is_one_for_gaussian_samples() -> None:
    values = torch.stack(
        [distance_from_gaussian(gaussian(200, 8, seed), seed, num_slices=64) for seed in range(60)]
    )
    assert abs(values.mean() - 1) < 5 * values.std() / math.sqrt(60)
    far = distance_from_gaussian(3 + gaussian(200, 8).requires_grad_())
    assert far > 20
    assert not far.requires_grad


def test_per_direction_averages_to_sigreg() -> None:
    z = gaussian(40, 6).expand(2, 40, 6) + 1
    sigreg = SIGReg(12, statistic="watson")
    values = per_direction(z, sigreg, step=3)
    assert values.shape == (2, 12)
    torch.testing.assert_close(values.mean(), sigreg(z, step=3))
