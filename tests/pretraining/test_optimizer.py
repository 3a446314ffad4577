from __future__ import annotations

from pathlib import Path

import pytest

from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.state import RunState
from tests.conftest import tiny


def test_each_layer_learns_at_a_share_of_the_rate_of_the_layer_above(blobs: Path) -> None:
    state = RunState.start(
        make_plan(tiny(blobs, optimizer__lr=0.1, optimizer__layer_decay=0.5, log__probe=False))
    )
    groups = state.optimizer.param_groups
    peaks = {weight: group["peak"] for group in groups for weight in group["params"]}
    assert len(peaks) == len(list(state.network.parameters()))
    layer_of = state.network.backbone.layers()  # five of them
    for name, weight in state.network.backbone.named_parameters():
        assert peaks[weight] == pytest.approx(0.1 * 0.5 ** (4 - layer_of[name]))
    for weight in state.network.projector.parameters():
        assert peaks[weight] == pytest.approx(0.1)
    assert state.optimizer.param_groups[0]["peak"] == pytest.approx(0.1)
    for group in state.optimizer.param_groups:
        assert all((group["weight_decay"] > 0) == (one.ndim > 1) for one in group["params"])
