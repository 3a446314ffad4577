"""A gradient that is no number moves nothing; one that is too long is scaled."""

from __future__ import annotations

import copy
import io
import json
import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from domainjepa.errors import UserError
from domainjepa.pretraining.checkpoint import load_checkpoint
from domainjepa.pretraining.gradient import Gradient
from domainjepa.pretraining.plan import Plan, make_plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain
from domainjepa.pretraining.state import RunState
from tests import programs
from tests.conftest import tiny

QUIET = Console(quiet=True)


class Poison(torch.autograd.Function):
    """Itself forwards; backwards what is no number."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, bad: float) -> Tensor:
        ctx.bad = bad
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.full_like(gradient, ctx.bad), None


def poisoned(monkeypatch: pytest.MonkeyPatch, at: Callable[[int], bool], bad: float) -> None:
    """At these steps the loss stays what it was and its gradient does not."""
    update = RunState.update

    def poison(state: RunState, loss: Tensor, *others: Any) -> Gradient:
        return update(state, Poison.apply(loss, bad) if at(state.step) else loss, *others)

    monkeypatch.setattr(RunState, "update", poison)


def moving(state: RunState) -> list[Tensor]:
    """All that a step may change: weights, running statistics, averages, moments."""
    parts = [state.network.state_dict(), state.averaged.state_dict() if state.averaged else {}]
    parts += list(state.optimizer.state.values())
    return [tensor.clone() for part in parts for tensor in part.values()]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_changes_nothing(
    bad: float, blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, lambda step: step in (3, 4), bad)
    states: dict[int, list[Tensor]] = {}
    save = RunState.pack

    def seen(state: RunState, plan: Plan) -> dict[str, Any]:
        states[state.step] = moving(state)
        return save(state, plan)

    monkeypatch.setattr(RunState, "pack", seen)
    text = io.StringIO()
    config = tiny(blobs, checkpoint__every_steps=1, objective__average_weights=0.9)
    pretrain(config, tmp_path / "run", console=Console(file=text, width=200))
    assert "step 3: a gradient is NaN or infinite; no step taken. Rows: " in text.getvalue()
    assert all(map(torch.equal, states[3], states[5]))
    assert not all(map(torch.equal, states[5], states[6]))
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["gradient_norm"] is None for line in lines] == [False] * 3 + [True] * 2 + [
        False
    ] * 3


def test_three_in_a_row_end_the_run_with_a_good_checkpoint(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, lambda step: step >= 2, math.nan)
    with pytest.raises(UserError, match=r"a gradient was NaN or infinite 3 times .* rows \d+"):
        pretrain(tiny(blobs, checkpoint__every_steps=2), tmp_path / "run", console=QUIET)
    saved = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert all(torch.isfinite(value).all() for value in saved["network"].values())


def in_a_step(blobs: Path, **changes: object) -> tuple[RunState, Gradient, list[Tensor]]:
    """A state after one update by a loss with a known gradient, and the gradients it used."""
    plan = make_plan(tiny(blobs, **changes))
    state = RunState.start(plan)
    weights = state.network.learning()
    loss = sum((number + 1) * weight.sum() for number, weight in enumerate(weights))
    assert state.network.probe is not None
    loss = loss + 1e6 * state.network.probe.weight.sum()
    assert isinstance(loss, Tensor)
    gradient = state.update(loss, plan)
    return state, gradient, [weight.grad.clone() for weight in weights if weight.grad is not None]


def test_the_norm_is_the_encoders_and_clipping_keeps_the_direction(blobs: Path) -> None:
    state, gradient, plain = in_a_step(blobs)
    sizes = [weight.numel() for weight in state.network.learning()]
    norm = math.sqrt(sum((number + 1) ** 2 * size for number, size in enumerate(sizes)))
    assert gradient.norm == pytest.approx(norm, rel=1e-3)
    _, clipped, short = in_a_step(blobs, optimizer__clip=0.5)
    assert clipped.norm == pytest.approx(norm, rel=1e-3)  # as it was: that is what the metrics tell
    for before, after in zip(plain, short, strict=True):
        torch.testing.assert_close(after, before * 0.5 / norm, rtol=1e-3, atol=0)
    _, _, same = in_a_step(blobs, optimizer__clip=2 * norm)
    assert all(map(torch.equal, plain, same))


def test_a_probe_whose_gradient_is_no_number_stops_the_step_too(blobs: Path) -> None:
    plan = make_plan(tiny(blobs))
    state = RunState.start(plan)
    assert state.network.probe is not None
    before = copy.deepcopy(state.network.state_dict())
    loss = state.network.learning()[0].sum() + Poison.apply(
        state.network.probe.weight.sum(), math.inf
    )
    assert state.update(loss, plan).fault == "a gradient"
    assert all(torch.equal(before[n], v) for n, v in state.network.state_dict().items())


# One rank alone has a gradient that is no number, outside of what DDP averages.
RANK = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    import torch
    from domainjepa import distributed as d
    from domainjepa.pretraining.plan import make_plan
    from domainjepa.pretraining.state import RunState
    from tests.conftest import tiny

    def update(value):
        state.network.zero_grad()
        first = state.network.learning()[0]
        loss = (first * value).sum() if value != 0 else first.sum()
        return state.update(loss, plan)

    with d.process_group("cpu"):
        plan = make_plan(tiny(Path(sys.argv[1])))
        state = RunState.start(plan)
        before = [w.clone() for w in state.network.learning()]
        found = update(float("nan") if d.rank() == 1 else 0)
        assert found.fault, found
        assert all(map(torch.equal, before, state.network.learning()))
        assert not state.optimizer.state
        assert update(0).fault == ""
        assert not all(map(torch.equal, before, state.network.learning()))
        print("done")
    """
)


def test_one_rank_with_a_bad_gradient_stops_the_step_of_all(blobs: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    for said in programs.ranks(2, script, blobs):
        assert said.endswith("done\n")


def test_metrics_and_report_tell_the_length_of_the_gradient(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(line["gradient_norm"] > 0 for line in lines)
    assert "gradient_norm" in (run / "report.html").read_text()
