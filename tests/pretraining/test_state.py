from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from domainjepa.errors import ConfigError
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.state import RunState
from tests.conftest import tiny


def third_moment(projections: Tensor) -> Tensor:
    return projections.pow(3).mean(-2).square()


def of_the_whole(projections: Tensor) -> Tensor:
    return projections.square().mean()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"statistic": "os:getcwd"}, "objective.statistic = 'os:getcwd'"),
        ({"statistic": "math:sqrt"}, "objective.statistic = 'math:sqrt'"),
        ({"statistic": f"{__name__}:of_the_whole"}, "is not a differentiable function"),
        ({"statistic": "torch:argmax"}, "is not a differentiable function"),
        ({"num_slices": 10**20}, "objective.num_slices = 1"),
    ],
)
def test_an_objective_that_cannot_be_computed_is_refused_before_the_first_step(
    changes: dict[str, object], words: str, blobs: Path
) -> None:
    with pytest.raises(ConfigError, match=words):  # by the settings, or by a first trial
        RunState.start(make_plan(tiny(blobs, **{f"objective__{n}": v for n, v in changes.items()})))


def test_more_dimensions_than_sobol_has_are_refused(blobs: Path) -> None:
    with pytest.raises(ConfigError, match=r"projector\.out = 21300"):
        RunState.start(make_plan(tiny(blobs, objective__directions="sobol", projector__out=21300)))


def test_a_statistic_of_ones_own_is_taken(blobs: Path) -> None:
    config = tiny(blobs, objective__statistic=f"{__name__}:third_moment")
    assert RunState.start(make_plan(config)).step == 0


@pytest.mark.parametrize("place", ["weight", "running mean", "averaged", "moment"])
def test_one_number_that_is_none_is_found(place: str, blobs: Path) -> None:
    plan = make_plan(tiny(blobs, objective__average_weights=0.9))
    state = RunState.start(plan)
    weight = next(state.network.parameters())
    state.update(weight.sum(), plan)
    assert state.finite()
    assert state.averaged is not None
    with torch.no_grad():
        {
            "weight": weight,
            "running mean": dict(state.network.named_buffers())["projector.1.running_mean"],
            "averaged": next(state.averaged.parameters()),
            "moment": state.optimizer.state[weight]["exp_avg_sq"],
        }[place][0] = torch.inf
    assert not state.finite()
