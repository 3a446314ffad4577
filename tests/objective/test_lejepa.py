from __future__ import annotations

import pytest
import torch

from domainjepa.objective import LeJEPALoss, SIGReg

LOSS = LeJEPALoss(0.1, SIGReg(8))


@pytest.mark.parametrize("num_global", [1, 2, 4, 5])
def test_equation(num_global: int) -> None:
    z = torch.randn(5, 12, 6, dtype=torch.double)
    terms = LOSS(z, num_global=num_global, step=7)
    mu = z[:num_global].mean(0)
    prediction = sum((mu[n] - z[v, n]).square().mean() for n in range(12) for v in range(5)) / 60
    torch.testing.assert_close(terms.prediction, prediction)
    torch.testing.assert_close(terms.sigreg, SIGReg(8)(z, step=7))
    torch.testing.assert_close(terms.loss, 0.1 * terms.sigreg + 0.9 * terms.prediction)


def test_gradient_flows_through_the_centre() -> None:
    z = torch.randn(3, 4, 2, dtype=torch.double, requires_grad=True)
    only_prediction = LeJEPALoss(0.0, SIGReg(8))
    assert torch.autograd.gradcheck(lambda x: only_prediction(x, num_global=2).loss, (z,))
    # A stop-gradient would leave the sum over views different from 0.
    (gradient,) = torch.autograd.grad(only_prediction(z, num_global=3).loss, z)
    torch.testing.assert_close(gradient.sum(0), torch.zeros(4, 2, dtype=torch.double))


def test_center_and_predicted_change_the_prediction_only() -> None:
    z, predicted = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    center = torch.randn(4, 2)
    plain = LOSS(z)
    terms = LOSS(z, center=center)
    torch.testing.assert_close(terms.prediction, (center - z).square().mean())
    assert terms.sigreg == plain.sigreg
    terms = LOSS(z, predicted=predicted)
    torch.testing.assert_close(terms.prediction, (z[:2].mean(0) - predicted).square().mean())
    assert terms.sigreg == plain.sigreg


def test_half_precision() -> None:
    z = torch.randn(3, 400, 2).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = LOSS(z)
    expected = LOSS(z.float())
    for value, truth in zip(terms, expected, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, truth, rtol=0, atol=0)


def test_empty_batch_is_zero() -> None:
    z = torch.zeros(3, 0, 2, requires_grad=True)
    terms = LOSS(z)
    terms.loss.backward()
    assert list(terms) == [0, 0, 0]


def test_bad_arguments() -> None:
    for num_global in (0, 4):
        with pytest.raises(ValueError, match="num_global"):
            LOSS(torch.zeros(3, 4, 2), num_global=num_global)
    with pytest.raises(ValueError, match=r"\(V, N, K\)"):
        LOSS(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="between 0 and 1"):
        LeJEPALoss(1.5)
