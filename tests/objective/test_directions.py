from __future__ import annotations

import math

import pytest
import torch

from domainjepa.objective.directions import DIRECTIONS, draw, gaussian, key, sobol


@pytest.mark.parametrize("name", DIRECTIONS)
def test_unit_length_and_shape(name: str) -> None:
    a = draw(name, torch.zeros(2, 5, 7, dtype=torch.double), 33, seed=1, step=2)
    assert a.shape == (7, 33)
    assert a.dtype == torch.double
    torch.testing.assert_close(a.norm(dim=0), torch.ones(33, dtype=torch.double), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_function_of_seed_and_step_alone(name: str) -> None:
    function = DIRECTIONS[name]
    first = function(8, 16, 3, 5)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert torch.equal(function(8, 16, 3, 5), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(function(8, 16, 4, 5), first)
    assert torch.equal(function(8, 16, 3, 6), first) == (name == "fixed")


@pytest.mark.parametrize("name", ["gaussian", "sobol"])
def test_isotropic(name: str) -> None:
    """For uniform directions the mean of a a' is I / K, and that of a is 0."""
    k, count = 4, 4096
    a = DIRECTIONS[name](k, count, 0, 0)
    spread = 5 * math.sqrt(2) / (k * math.sqrt(count))
    assert (a @ a.T / count - torch.eye(k) / k).abs().max() < spread
    assert a.mean(1).abs().max() < 5 / math.sqrt(k * count)


def test_sobol_is_more_even_than_random() -> None:
    def unevenness(a: torch.Tensor) -> float:
        return float((a @ a.T / a.shape[1] - torch.eye(4) / 4).norm())

    random = sum(unevenness(gaussian(4, 512, 0, step)) for step in range(10))
    even = sum(unevenness(sobol(4, 512, 0, step)) for step in range(10))
    assert even < random / 3


def test_sobol_has_a_largest_dimension() -> None:
    with pytest.raises(ValueError, match="21201"):
        sobol(21202, 1, 0, 0)


def test_keys_do_not_meet() -> None:
    assert len({key(seed, step) for seed in range(30) for step in range(100)}) == 3000
