"""Micro-batches and activation checkpointing give the gradient of the undivided step."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from rich.console import Console
from torch import Tensor, nn

from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig, PretrainConfig
from domainjepa.encoder.artefact import load_encoder
from domainjepa.encoder.standardise import Standardise
from domainjepa.errors import ConfigError, UserError
from domainjepa.pretraining.batches import batches
from domainjepa.pretraining.machine import WITHOUT_BATCH_NORM
from domainjepa.pretraining.memory import explain_memory
from domainjepa.pretraining.micro_batches import MicroBatches, parts_of_a_batch
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain
from domainjepa.pretraining.running_statistics import RunningStatistics
from domainjepa.pretraining.state import RunState
from domainjepa.pretraining.step import Step
from tests import programs
from tests.conftest import tiny

QUIET = Console(quiet=True)


def gradient(config: PretrainConfig, dtype: torch.dtype = torch.float32) -> tuple[Tensor, RunState]:
    """The gradient of a step of the first batch in all weights, one after the other; the state."""
    plan = make_plan(config)
    state = RunState.start(plan)
    state.network.to(dtype)
    if state.averaged:
        state.averaged.to(dtype)
    learned = Step(plan, state)(next(batches(plan, 0)))
    assert not learned.fault
    found = [weight.grad for weight in state.network.parameters()]
    return torch.cat([one.flatten() for one in found if one is not None]), state


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


DIVIDED: list[dict[str, Any]] = [
    {"micro_batch": 5},
    {"micro_batch": 3, "activation_checkpointing": True},
]


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext"])
def test_the_gradient_is_that_of_the_undivided_step(
    backbone: str, blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the projector's BatchNorm, the predictor and the probe: they see the whole batch.
    common: dict[str, Any] = {"backbone__name": backbone, "objective__predictor": True}
    whole, _ = gradient(tiny(blobs, **common))
    for changes in DIVIDED:
        assert apart(gradient(tiny(blobs, **common, **changes))[0], whole) < 1e-5
    plain = Standardise.forward
    monkeypatch.setattr(Standardise, "forward", lambda self, views: plain(self, views).double())
    # float32 whatever else is: the probe's norm, and in timm the position embedding of other sizes.
    common |= {"log__probe": False, "views__local_size": 32}
    whole, _ = gradient(tiny(blobs, **common), torch.double)
    parts, _ = gradient(tiny(blobs, **common, **DIVIDED[-1]), torch.double)
    assert apart(parts, whole) < 1e-10


def test_the_centre_of_averaged_weights_and_bfloat16_in_parts(blobs: Path) -> None:
    common: dict[str, Any] = {"backbone__name": "test_vit", "objective__average_weights": 0.9}
    whole, _ = gradient(tiny(blobs, **common))
    parts, _ = gradient(tiny(blobs, **common, micro_batch=6))
    assert apart(parts, whole) < 1e-5
    half, _ = gradient(tiny(blobs, **common, micro_batch=6, precision="bfloat16"))
    rounded, _ = gradient(tiny(blobs, **common, precision="bfloat16"))
    assert apart(rounded, whole) > 1e-3
    assert apart(half, rounded) < 2e-2


def test_random_layers_draw_alike_when_a_part_is_computed_again() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 4)).double()
    groups = [torch.randn(2, 7, 6).double(), torch.randn(3, 7, 6).double()]

    def features(views: Any, at: int) -> Tensor:
        torch.manual_seed(at)
        return torch.cat([net(group) for group in views])

    def loss(z: Tensor) -> Tensor:  # of all samples together, as SIGReg is
        return (z.flatten(0, 1).T @ z.flatten(0, 1)).square().sum() + (z - z.mean(0)).exp().sum()

    micro = MicroBatches(features, 3, RunningStatistics(()))
    joined = torch.cat([features(part, at) for at, part in enumerate(micro.parts(groups))], dim=1)
    loss(joined).backward()
    truth = [weight.grad.clone() for weight in net.parameters() if weight.grad is not None]
    net.zero_grad()
    found = micro.features(groups)
    assert torch.equal(found, joined)
    micro.backward(loss(found))
    for weight, wanted in zip(net.parameters(), truth, strict=True):
        torch.testing.assert_close(weight.grad, wanted, rtol=1e-12, atol=1e-12)


def test_drop_path_is_drawn_by_step_and_part(blobs: Path) -> None:
    config = tiny(blobs, backbone__name="test_vit", backbone__drop_path=0.5, micro_batch=4)
    first, _ = gradient(config)
    torch.rand(17)  # nothing ambient is read
    again, _ = gradient(config)
    assert torch.equal(first, again)
    kept, _ = gradient(config.model_copy(update={"activation_checkpointing": True}))
    assert apart(kept, first) < 1e-6


def test_running_statistics_move_once_a_step() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5, momentum=0.3).double()
    views = torch.randn(2, 12, 5).double() * 2 + 1
    statistics = RunningStatistics(list(norm.buffers()))
    micro = MicroBatches(
        lambda part, at: norm(part[0].flatten(0, 1)).reshape_as(part[0]), 4, statistics
    )
    found = micro.features([views])
    micro.backward(found.square().sum())
    parts = [part.flatten(0, 1) for part in views.tensor_split(4, dim=1)]
    mean = torch.stack([part.mean(0) for part in parts]).mean(0)
    variance = torch.stack([part.var(0) for part in parts]).mean(0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, 0.3 * mean)
    torch.testing.assert_close(norm.running_var, 0.7 + 0.3 * variance)
    assert norm.num_batches_tracked == 1


def test_checkpointed_activations_leave_running_statistics(blobs: Path) -> None:
    whole, one = gradient(tiny(blobs))
    again, two = gradient(tiny(blobs, activation_checkpointing=True))
    assert torch.equal(whole, again)
    before = make_plan(tiny(blobs)).backbone.state_dict()
    for name, value in one.network.backbone.state_dict().items():
        assert torch.equal(value, two.network.backbone.state_dict()[name]), name
        assert "running" not in name or not torch.equal(value, before[name])


def test_parts_are_as_many_on_every_rank() -> None:
    def count(batch: int, micro: int | None, ranks: int) -> int:
        return parts_of_a_batch(PretrainConfig(batch_size=batch, micro_batch=micro), ranks)

    assert count(256, None, 2) == 1
    assert count(256, 32, 1) == 8
    assert count(256, 32, 2) == 4
    assert count(250, 32, 2) == 4
    assert count(3, 1, 2) == 1  # a rank has one sample alone
    assert count(8, 100, 2) == 1


def test_attention_computed_again_takes_the_kernels_that_were_chosen(
    blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def spy(*inputs: Tensor, **options: Any) -> Tensor:
        seen.append(torch.backends.cuda.flash_sdp_enabled())
        return plain(*inputs, **options)

    def calls(**changes: Any) -> int:
        plan = make_plan(tiny(blobs, backbone__name="test_vit", attention="math", **changes))
        learn, before = Step(plan, RunState.start(plan)), len(seen)
        with monkeypatch.context() as patch:
            patch.setattr("torch.nn.functional.scaled_dot_product_attention", spy)
            learn(next(batches(plan, 0)))
        return len(seen) - before

    once = calls()
    assert calls(micro_batch=8) == 4 * once  # two parts, twice
    assert calls(activation_checkpointing=True) == 2 * once
    assert not any(seen)


def test_the_plan_says_what_batch_norm_sees(blobs: Path) -> None:
    warnings = " ".join(make_plan(tiny(blobs, micro_batch=4)).warnings)
    assert "BatchNorm in test_resnet takes its statistics of each micro-batch" in warnings
    assert "convnext_tiny and vit_small_patch16_224" in warnings
    with torch.device("meta"):
        for name in WITHOUT_BATCH_NORM:
            net = timm.create_model(name)
            assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    plan = make_plan(tiny(blobs, micro_batch=4, backbone__name="test_convnext"))
    assert "micro_batch" not in " ".join(plan.warnings)
    assert any("steps of 16 in micro-batches of 4" in text for _, text in plan.notes)
    assert "divides nothing" in " ".join(make_plan(tiny(blobs, micro_batch=16)).warnings)


def test_kept_statistics_have_the_gradient_of_the_undivided_step(run: Path, blobs: Path) -> None:
    config = tiny(blobs, init__weights=str(run))
    whole, _ = gradient(config)
    divided = config.model_copy(update={"micro_batch": 5})
    assert "micro_batch" not in " ".join(make_plan(divided).warnings)
    assert apart(gradient(divided)[0], whole) < 1e-5


def test_networks_that_keep_all_activations_are_refused_in_words() -> None:
    backbone = Backbone(BackboneConfig(name="test_efficientnet"), 3, 32)
    backbone.net = nn.Identity()
    with pytest.raises(ConfigError, match=r"'test_efficientnet' cannot do it.*micro_batch"):
        backbone.checkpoint_activations()


def test_too_little_memory_advises_micro_batches_first(blobs: Path) -> None:
    with pytest.raises(UserError, match=r"First try --set micro_batch=4 .*activation_checkpoint"):
        explain_memory(MemoryError(), make_plan(tiny(blobs)))
    config = tiny(blobs, micro_batch=4, activation_checkpointing=True, backbone__name="test_vit")
    with pytest.raises(UserError, match=r"First try --set micro_batch=1 \(the same gradient, a"):
        explain_memory(MemoryError(), make_plan(config))


def test_a_run_in_parts_goes_on_in_others(blobs: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"backbone__name": "test_vit", "optimizer__clip": 1.0, "steps": 4}
    pretrain(tiny(blobs, **common), tmp_path / "whole", console=QUIET)
    pretrain(tiny(blobs, **common, micro_batch=4), tmp_path / "parts", console=QUIET)
    assert load_encoder(tmp_path / "parts")[0].config["micro_batch"] == 4
    whole, parts = (read_metrics(tmp_path / one / "metrics.jsonl") for one in ("whole", "parts"))
    for one, other in zip(whole, parts, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-4)
    others = tiny(blobs, **common, micro_batch=8, activation_checkpointing=True)
    pretrain(others, tmp_path / "parts", resume=True, console=QUIET)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile without its code generator, which takes a minute: tracing, the graphs of both
    passes and what changes in place are the same."""
    if not torch._dynamo.is_dynamo_supported():
        pytest.skip("torch.compile does not know this version of Python")
    traced = partialmethod(nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(Backbone, "compile", traced)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("compiled")
def test_a_compiled_network_has_the_same_gradient(blobs: Path) -> None:
    # Each size of views, with a graph and without, is traced by itself: seconds.
    config = tiny(blobs, backbone__drop_path=0.2, views__num_local=0)
    config = config.model_copy(update=DIVIDED[-1])
    plain, state = gradient(config)
    found, traced = gradient(config.model_copy(update={"compile": True}))
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert apart(found, plain) < 1e-5
    for one, other in zip(traced.buffers(), state.buffers(), strict=True):
        torch.testing.assert_close(one, other)


# Every rank compares with the undivided batch in one process.
RANK = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import torch
    from domainjepa import distributed as d
    from tests.pretraining.test_micro_batches import apart, plain_gradient

    torch.set_num_threads(1)
    blobs, alone = map(Path, sys.argv[1:])
    with d.process_group("cpu"):
        for (name, dtype), truth in torch.load(alone).items():
            divided = {"micro_batch": 3, "activation_checkpointing": True}
            error = apart(plain_gradient(blobs, name, dtype, **divided), truth)
            assert error < (1e-10 if dtype == torch.double else 1e-5), (name, dtype, error)
    print("done")
    """
)
CASES = [(n, t) for n in ("test_vit", "test_convnext") for t in (torch.float32, torch.double)]


def plain_gradient(blobs: Path, backbone: str, dtype: torch.dtype, **changes: Any) -> Tensor:
    """Of a network in one dtype, without BatchNorm: its statistics are of each rank's share."""
    plain = Standardise.forward
    changes |= {"log__probe": False, "views__local_size": 32, "projector__layers": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Standardise, "forward", lambda self, views: plain(self, views).to(dtype))
        return gradient(tiny(blobs, backbone__name=backbone, **changes), dtype)[0]


def test_two_ranks_in_parts_have_the_gradient_of_one_undivided(blobs: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    alone = {case: plain_gradient(blobs, *case) for case in CASES}
    torch.save(alone, tmp_path / "alone.pt")
    for said in programs.ranks(2, script, blobs, tmp_path / "alone.pt"):
        assert said.endswith("done\n")
