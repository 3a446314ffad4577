from __future__ import annotations

import pytest
import torch

from domainjepa.objective import projection
from domainjepa.objective.projection import project


@pytest.fixture(params=["onednn", "blas", "switched off"])
def product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way that the product may take."""
    name: str = request.param
    if name == "onednn" and projection._ONEDNN is None:
        pytest.skip("this PyTorch carries no oneDNN")
    if name == "blas":
        monkeypatch.setattr(projection, "_ONEDNN", None)
    if name == "switched off":
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    return name


@pytest.mark.parametrize("shape", [(3,), (5, 3), (4, 0, 3), (2, 65, 3), (1, 1, 3), (4, 6, 0)])
def test_is_the_product_and_its_gradient(product: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(shape, generator=generator)
    directions = torch.randn(shape[-1], 7, generator=generator)
    slope = torch.randn(*shape[:-1], 7, generator=generator)
    ours, exact = z.requires_grad_(), z.detach().double().requires_grad_()
    projections, expected = project(ours, directions), exact @ directions.double()
    projections.backward(slope)
    expected.backward(slope.double())
    torch.testing.assert_close(projections.double(), expected, rtol=1e-5, atol=1e-5)
    assert ours.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-5, atol=1e-5)


def test_of_any_strides(product: str) -> None:
    """Transposed embeddings, every second direction, an expanded gradient."""
    z = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(1)).transpose(0, 1)
    directions = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))[:, ::2]
    leaf = z.clone().requires_grad_()
    project(leaf.transpose(0, 1), directions).sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(project(z, directions), z @ directions)
    torch.testing.assert_close(leaf.grad, directions.sum(1).expand_as(leaf))


def test_nan_and_infinity_stay_in_their_row(product: str) -> None:
    z = torch.ones(3, 2)
    z[0, 0], z[1, 1] = torch.nan, torch.inf
    projections = project(z, torch.ones(2, 4))
    assert projections[0].isnan().all()
    assert projections[1].isinf().all()
    assert torch.equal(projections[2], torch.full((4,), 2.0))


def test_double_stays_double() -> None:
    z = torch.randn(4, 3, dtype=torch.double)
    directions = torch.randn(3, 5, dtype=torch.double)
    assert torch.equal(project(z, directions), z @ directions)
