"""The fused Epps-Pulley statistic against the textbook formula in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from domainjepa.objective import epps_pulley as module
from domainjepa.objective.epps_pulley import epps_pulley, gaussian_mean


def textbook(s: Tensor, knots: int = 17, t_max: float = 5.0) -> Tensor:
    """The formula as written, every cosine and sine of every knot: (..., N, M) -> (..., M)."""
    t = torch.linspace(0, t_max, knots, dtype=s.dtype)
    gauss = torch.exp(-t.square() / 2)
    outer = s[..., None] * t
    distance = (outer.cos().mean(-3) - gauss).square() + outer.sin().mean(-3).square()
    return 2 * s.shape[-2] * torch.trapezoid(distance * gauss, t, dim=-1)


def value_and_gradient(function, s: Tensor) -> tuple[Tensor, Tensor]:
    s = s.clone().requires_grad_()
    value = function(s)
    # Unequal weights, so that a gradient that mixes slices up is seen.
    (gradient,) = torch.autograd.grad((value * torch.linspace(1, 2, value.shape[-1])).sum(), s)
    return value.detach().double(), gradient.double()


@pytest.mark.parametrize("knots", [5, 17, 41])
@pytest.mark.parametrize("t_max", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("n", [2, 3, 128, 1000, 4096])
@pytest.mark.parametrize("law", ["normal", "shifted"])
def test_float32_is_the_textbook_formula(knots: int, t_max: float, n: int, law: str) -> None:
    s = torch.randn(2, n, 9, generator=torch.Generator().manual_seed(n))
    s = s if law == "normal" else 1.5 * s + 1
    value, gradient = value_and_gradient(lambda x: epps_pulley(x, knots, t_max), s)
    truth, slope = value_and_gradient(lambda x: textbook(x, knots, t_max), s.double())
    assert (value - truth).norm() <= 1e-5 * truth.norm()
    assert (gradient - slope).norm() <= 1e-5 * slope.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_complex_numbers_it_is_the_same(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Forced on the CPU: no device without complex numbers was at hand.
    monkeypatch.setattr("domainjepa.objective.epps_pulley._computes_complex", lambda device: False)
    s = 1.5 * torch.randn(2, 700, 9, generator=torch.Generator().manual_seed(1)).to(dtype) + 1
    value, gradient = value_and_gradient(epps_pulley, s)
    truth, slope = value_and_gradient(textbook, s.double())
    closest = 1e-12 if dtype == torch.float64 else 1e-5
    assert (value - truth).norm() <= closest * truth.norm()
    assert (gradient - slope).norm() <= closest * slope.norm()
    monkeypatch.undo()
    value, gradient = value_and_gradient(epps_pulley, s)
    assert (value - truth).norm() <= closest * truth.norm()


def test_a_device_without_complex_numbers_is_told_by_trying(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module._computes_complex("cpu")
    assert not module._computes_complex.__wrapped__("meta:no such device")
    monkeypatch.setattr(torch, "complex", _refused)
    assert not module._computes_complex.__wrapped__("cpu")


def _refused(*_: Tensor) -> Tensor:
    raise TypeError("no complex numbers here")


@pytest.mark.parametrize("debias", [False, True])
def test_gradcheck(debias: bool) -> None:
    s = torch.randn(3, 2, 7, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: epps_pulley(x, 17, 5.0, debias), (s,))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_gradient_is_bounded_for_any_input(scale: float) -> None:
    s = scale * torch.randn(3, 33, 7, generator=torch.Generator().manual_seed(0))
    s.requires_grad_()
    value = epps_pulley(s)
    value.sum().backward()
    assert s.grad is not None
    assert value.isfinite().all()
    assert s.grad.abs().max() <= 8


def test_gaussian_mean() -> None:
    closed_form = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
    assert gaussian_mean(1001, 20.0) == pytest.approx(closed_form, rel=1e-9)
    assert gaussian_mean() == pytest.approx(closed_form, rel=1e-4)
    for n in (1, 8, 64):
        value = epps_pulley(torch.randn(n, 50_000, generator=torch.Generator().manual_seed(n)))
        assert abs(value.mean() - gaussian_mean()) < 5 * value.std() / math.sqrt(value.numel())


@pytest.mark.parametrize("n", [2, 5, 32])
def test_debiased_mean_is_zero_at_every_n(n: int) -> None:
    s = torch.randn(n, 100_000, generator=torch.Generator().manual_seed(n))
    value = epps_pulley(s, debias=True)
    assert abs(value.mean()) < 5 * value.std() / math.sqrt(value.numel())


def test_debiased_is_the_sum_over_pairs() -> None:
    s = 1 + torch.randn(6, 1, dtype=torch.double)
    t = torch.linspace(0, 5, 17, dtype=torch.double)
    gauss = torch.exp(-t.square() / 2)
    pairs = torch.stack(
        [torch.cos(t * (s[i] - s[j])) for i in range(6) for j in range(6) if i != j]
    ).mean(0)
    distance = pairs - 2 * gauss * torch.cos(t * s).mean(0) + gauss.square()
    expected = 2 * 6 * torch.trapezoid(distance * gauss, t)
    torch.testing.assert_close(epps_pulley(s, debias=True)[0], expected)


def test_nan_is_not_silent_and_stays_in_its_slice() -> None:
    s = torch.randn(8, 4)
    s[3, 1] = math.nan
    s[3, 2] = math.inf
    assert epps_pulley(s).isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize("debias", [False, True])
def test_empty_sample_is_zero(debias: bool) -> None:
    s = torch.zeros(2, 0, 3, requires_grad=True)
    value = epps_pulley(s, debias=debias)
    value.sum().backward()
    assert value.tolist() == [[0.0] * 3] * 2
    assert s.grad is not None
    assert s.grad.shape == s.shape


def test_any_leading_shape() -> None:
    s = torch.randn(2, 3, 10, 4, dtype=torch.double)
    whole = epps_pulley(s)
    assert whole.shape == (2, 3, 4)
    torch.testing.assert_close(whole[1, 2], epps_pulley(s[1, 2]))
    assert epps_pulley(s[0, 0, :, :0]).shape == (0,)


def test_threads_do_not_change_the_result() -> None:
    """More values than one block on several threads, from a graph that records gradients."""
    threads = torch.get_num_threads()
    s = torch.randn(3, 700, 300, generator=torch.Generator().manual_seed(0))
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(value_and_gradient(epps_pulley, s))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    truth = value_and_gradient(textbook, s[:, :, :20].double())
    for value, gradient in results:
        torch.testing.assert_close(value, results[0][0], rtol=1e-5, atol=0)
        assert (gradient - results[0][1]).norm() <= 1e-5 * gradient.norm()
        assert (value[:, :20] - truth[0]).norm() <= 1e-5 * truth[0].norm()
