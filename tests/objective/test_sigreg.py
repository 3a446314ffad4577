from __future__ import annotations

import math

import pytest
import torch

from domainjepa.objective import SIGReg
from domainjepa.objective.epps_pulley import epps_pulley
from domainjepa.objective.sigreg import NAMES
from domainjepa.objective.statistics import vicreg


@pytest.mark.parametrize("name", NAMES)
def test_per_view_mean_over_slices_and_views(name: str) -> None:
    z = torch.randn(3, 20, 8, dtype=torch.double)
    sigreg = SIGReg(16, statistic=name)
    parts = [sigreg.statistic_of(view @ sigreg.slices(view, 4)).mean() for view in z]
    torch.testing.assert_close(sigreg(z, step=4), torch.stack(parts).mean())
    torch.testing.assert_close(sigreg(z[1], step=4), parts[1])


def test_a_step_has_its_own_slices() -> None:
    z = 2 * torch.randn(2, 30, 8)
    assert SIGReg(4)(z, step=1) == SIGReg(4)(z, step=1)
    assert SIGReg(4)(z, step=1) != SIGReg(4)(z, step=2)
    assert SIGReg(4, seed=1)(z, step=1) != SIGReg(4)(z, step=1)
    assert SIGReg(4, directions="fixed")(z, step=1) == SIGReg(4, directions="fixed")(z, step=2)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_and_autocast_compute_in_float32(name: str) -> None:
    sigreg = SIGReg(16, statistic=name)
    z = torch.randn(2, 600, 8).bfloat16().requires_grad_()
    expected = sigreg(z.float(), step=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = sigreg(z, step=1)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    value.backward()
    assert z.grad is not None
    assert z.grad.dtype == torch.bfloat16


def test_double_stays_double() -> None:
    z = torch.randn(2, 6, 3, dtype=torch.double, requires_grad=True)
    sigreg = SIGReg(5)
    assert sigreg(z).dtype == torch.double
    assert torch.autograd.gradcheck(lambda x: sigreg(x, step=1), (z,))


def test_norm_of_a_million_is_finite() -> None:
    z = 1e6 * torch.randn(2, 50, 16)
    z.requires_grad_()
    value = SIGReg(32)(z)
    value.backward()
    assert z.grad is not None
    assert value.isfinite()
    # |dT/ds| <= 8 for each of the slices, which are averaged as the views are.
    assert z.grad.norm(dim=-1).max() <= 8 / 2


def test_nan_is_not_silent() -> None:
    z = torch.randn(2, 50, 16)
    z[1, 3, 2] = math.nan
    assert SIGReg(4)(z).isnan()


def test_empty_batch_is_zero() -> None:
    z = torch.zeros(2, 0, 4, requires_grad=True)
    value = SIGReg(3)(z)
    value.backward()
    assert value == 0


def test_options_reach_the_statistic() -> None:
    z = torch.randn(40, 6)
    a = SIGReg(9).slices(z)
    for options in ({"knots": 33}, {"t_max": 2.0}, {"debias": True}):
        torch.testing.assert_close(SIGReg(9, **options)(z), epps_pulley(z @ a, **options).mean())


def test_a_function_can_be_the_statistic() -> None:
    z = torch.randn(40, 6)
    assert SIGReg(9, statistic=vicreg)(z) == SIGReg(9, statistic="vicreg")(z)


@pytest.mark.parametrize(
    "options",
    [
        {"statistic": "eps"},
        {"directions": "grid"},
        {"num_slices": 0},
        {"knots": 1},
        {"t_max": 0.0},
        {"t_max": math.nan},
        {"debias": True, "statistic": "watson"},
    ],
)
def test_bad_options(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(options)))):
        SIGReg(**options)  # type: ignore[arg-type]


def test_bad_shape() -> None:
    with pytest.raises(ValueError, match=r"\(V, N, K\)"):
        SIGReg()(torch.zeros(3))
