"""What devices can do. None but the CPU is here: the others' paths are forced on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domainjepa import devices, distributed
from domainjepa.errors import UserError
from domainjepa.objective.diagnostics import effective_rank
from domainjepa.pretraining.batches import batches
from domainjepa.pretraining.checkpoint import load_checkpoint
from domainjepa.pretraining.machine import Threads, choose_device, machine_note
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.state import RunState
from domainjepa.pretraining.step import Step
from tests.conftest import tiny


def pretend(monkeypatch: pytest.MonkeyPatch, kind: str, count: int = 1) -> None:
    """PyTorch says that it has an accelerator."""
    found = torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: found)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


def test_memory_is_kept_where_the_processor_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(devices, "keep_memory", lambda: asked.append("kept"))
    devices.choose("meta")
    pretend(monkeypatch, "cuda")
    devices.choose("auto")
    devices.of_rank("auto", 0)
    assert not asked
    devices.choose("cpu")
    devices.of_rank("cpu", 0)
    assert len(asked) == 2


def test_auto_takes_the_accelerator_and_else_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("cuda", "mps", "xpu"):
        pretend(monkeypatch, kind)
        assert devices.choose("auto").type == kind
        assert devices.of_rank("auto", 0) == torch.device(kind, 0)
        assert devices.of_rank(kind, 0) == torch.device(kind, 0)
        assert devices.of_rank("cpu", 3) == torch.device("cpu")
    pretend(monkeypatch, "mtia")  # never tried: not taken by itself
    assert devices.choose("auto").type == "cpu"
    nothing = lambda check_available: None  # noqa: E731
    monkeypatch.setattr(torch.accelerator, "current_accelerator", nothing)
    assert devices.choose("auto").type == "cpu"
    assert devices.of_rank("auto", 1) == torch.device("cpu")


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "mps")
    with pytest.raises(UserError, match=r"no usable cuda device. Use --device mps"):
        devices.of_rank("cuda", 0)
    with pytest.raises(UserError, match=r"'nonsense' cannot be used.*or xpu; here there is mps"):
        devices.choose("nonsense")
    pretend(monkeypatch, "xpu", 2)
    with pytest.raises(UserError, match=r"more ranks than the 2 xpu devices here: set --devices 2"):
        devices.of_rank("auto", 2)


def test_ranks_talk_as_their_devices_can() -> None:
    kinds = {"cuda": "nccl", "xpu": "xccl", "cpu": "gloo"}
    for kind, backend in kinds.items():
        assert devices.communicates_by(torch.device(kind)) == backend
    with pytest.raises(UserError, match="a Mac has one"):
        devices.communicates_by(torch.device("mps"))


@pytest.mark.parametrize(
    ("here", "asked", "backend"),
    [
        (None, "auto", "gloo"),
        (None, "cuda", "gloo"),  # and the plan says that there is none
        ("cuda", "auto", "nccl"),
        ("cuda", "cpu", "gloo"),
        ("xpu", "xpu", "xccl"),
    ],
)
def test_the_group_is_that_of_the_devices(
    here: str | None, asked: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(devices, "accelerator", lambda: here)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)
    monkeypatch.setattr(torch.distributed, "init_process_group", begun.append)
    with distributed.process_group(asked):
        assert begun == [backend]


@pytest.mark.parametrize(
    ("kind", "fast", "precision"), [("cuda", True, "bfloat16"), ("cuda", False, "float32")]
)
def test_precision_is_what_the_device_computes_in(
    kind: str, fast: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, kind)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast)
    device, chosen = choose_device(tiny(Path("data.h5")))
    assert (device.type, chosen) == (kind, precision)
    pretend(monkeypatch, "mps")
    assert choose_device(tiny(Path("data.h5"))) == (torch.device("mps", 0), "float32")
    assert "Apple GPU, float32" in machine_note(torch.device("mps", 0), "float32", 0, Threads(None))
    assert [devices.pins_memory(torch.device(one)) for one in ("cuda", "mps", "cpu")] == [
        True,
        False,
        False,
    ]


def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU without complex numbers, float64 and fused AdamW."""
    monkeypatch.setattr("domainjepa.objective.epps_pulley._computes_complex", lambda kind: False)
    monkeypatch.setattr("domainjepa.objective.diagnostics._has_float64", lambda kind: False)
    monkeypatch.setattr(devices, "fuses_adamw", lambda device: False)


def test_a_step_without_what_devices_lack_is_the_same(
    blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(tiny(blobs))
    batch = next(batches(plan, 0))
    found = []
    for forced in (False, True):
        if forced:
            lacking(monkeypatch)
        plan = make_plan(tiny(blobs))
        state = RunState.start(plan)
        assert state.optimizer.defaults["fused"] is not forced
        Step(plan, state)(batch)
        gradient = [weight.grad.flatten() for weight in state.network.learning()]
        found.append((state.meter.sums["loss"], torch.cat(gradient)))
    (loss, gradient), (other, lacked) = found
    assert other == pytest.approx(loss, rel=1e-5)
    assert (lacked - gradient).norm() <= 1e-5 * gradient.norm()


def test_adamw_in_several_kernels_moves_weights_alike(
    blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(tiny(blobs))
    fused = RunState.start(plan)
    lacking(monkeypatch)
    plain = RunState.start(make_plan(tiny(blobs)))
    start = [weight.detach().clone() for weight in plain.network.parameters()]
    for step in range(3):
        for state in (fused, plain):
            weights = state.network.learning()
            loss = sum(((n + step) * w.square()).sum() for n, w in enumerate(weights, 1))
            assert isinstance(loss, torch.Tensor)
            state.update(loss, plan)
    for one, other, before in zip(
        fused.network.parameters(), plain.network.parameters(), start, strict=True
    ):
        assert (one - other).norm() <= 1e-5 * (one - before).norm()


def test_a_checkpoint_goes_on_where_the_optimiser_is_not_fused(
    run: Path, blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking(monkeypatch)
    plan = make_plan(tiny(blobs))
    state = RunState.start(plan)
    state.load(load_checkpoint(run / "checkpoints"))
    assert all(not group["fused"] for group in state.optimizer.param_groups)
    state.update(state.network.learning()[0].sum(), plan)
    assert state.finite()


def test_the_effective_rank_without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.diag(torch.tensor([3.0, 3.0, 3.0, 3.0]))
    z = torch.cat([z, -z])  # centred, four equal singular values
    lacking(monkeypatch)
    assert float(effective_rank(z)) == pytest.approx(4, abs=1e-6)


def test_fused_adamw_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.fuses_adamw(torch.device("cpu"))

    def refused(*_: object, **options: object) -> None:
        raise RuntimeError("`fused=True` requires all the params to be of supported devices")

    monkeypatch.setattr(torch.optim, "AdamW", refused)
    assert not devices.fuses_adamw.__wrapped__(torch.device("cpu"))
