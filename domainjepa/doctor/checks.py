"""Whether a device computes right: the objective against float64, training against the CPU's."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from domainjepa import devices
from domainjepa.config import PretrainConfig
from domainjepa.encoder.artefact import weights_digest
from domainjepa.objective import SIGReg
from domainjepa.pretraining.batches import batches
from domainjepa.pretraining.machine import choose_device
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.state import RunState
from domainjepa.pretraining.step import Step

STEPS = 10
SIGREG, TRAINING, BF16 = 1e-5, 1e-2, 5e-2
"""Relative errors that are allowed: float32 of one sum against float64; the loss after ten steps of
AdamW, whose first steps take the sign of a gradient and so enlarge its rounding; bfloat16's eight
bits in the forward pass."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was checked.
        ok: whether it is as it should be; None where it does not apply.
        said: the outcome in words.
    """

    name: str
    ok: bool | None
    said: str


def checks(config: PretrainConfig) -> Iterator[Check]:
    """All checks on the device of some settings, each as soon as it is done; none of them raises.

    Args:
        config: a small run; its batches are computed without workers.
    """
    device, _ = choose_device(config)
    trained: dict[tuple[str, str], tuple[list[float], str]] = {}

    def losses(on: str, precision: str) -> tuple[list[float], str]:
        if (on, precision) not in trained:
            trained[on, precision] = train(config, on, precision)
        return trained[on, precision]

    def against_the_cpu() -> tuple[bool | None, str]:
        if device.type == "cpu":
            return None, "the device is the CPU"
        error = _apart(losses(device.type, "float32")[0], losses("cpu", "float32")[0])
        return error <= TRAINING, f"losses differ by {error:.1e} (at most {TRAINING:.0e})"

    def bfloat16() -> tuple[bool | None, str]:
        if device.type == "cpu" and not devices.computes_bfloat16(device):
            return None, "this processor would have to emulate it, which is slow"
        found, wanted = (losses(device.type, one)[0] for one in ("bfloat16", "float32"))
        error = _apart(found, wanted)
        return error <= BF16, f"losses differ by {error:.1e} from float32's"

    def determinism() -> tuple[bool | None, str]:
        first, again = losses(device.type, "float32"), train(config, device.type, "float32")
        same = first[1] == again[1]
        return same, "two runs give the same bytes" if same else "two runs give different weights"

    for name, check in (
        ("SIGReg against float64", lambda: sigreg(device)),
        (f"{STEPS} training steps against the CPU's", against_the_cpu),
        ("bfloat16", bfloat16),
        ("determinism", determinism),
    ):
        yield _checked(name, check)


def sigreg(device: torch.device) -> tuple[bool, str]:
    """Value and gradient of SIGReg in float32 on a device against float64 on the CPU."""
    z = torch.randn(2, 300, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = [_value_and_gradient(x) for x in (z, z.float().to(device))]
    error = max(
        float((found - truth).norm() / truth.norm()) for truth, found in zip(*values, strict=True)
    )
    return error <= SIGREG, f"value and gradient within {error:.1e} (at most {SIGREG:.0e})"


def _value_and_gradient(z: Tensor) -> tuple[Tensor, Tensor]:
    z = z.clone().requires_grad_()
    # The same directions in both precisions; the kernel of the statistic is what is compared.
    directions = SIGReg(num_slices=64).slices(torch.zeros(1, z.shape[-1], dtype=torch.float64))
    value = SIGReg().statistic_of(z @ directions.to(z)).mean()
    value.backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    return value.detach().cpu().double(), z.grad.cpu().double()


def train(config: PretrainConfig, device: str, precision: str) -> tuple[list[float], str]:
    """The loss of each of some steps, and a digest of the weights after them."""
    changes = {"device": device, "precision": precision, "steps": STEPS}
    plan = make_plan(config.model_copy(update=changes))
    state = RunState.start(plan)
    learn = Step(plan, state)
    losses = []
    for batch in batches(plan, 0):
        learn(batch)
        losses.append(state.meter.take().get("loss", math.nan))
        state.step += 1
    return losses, weights_digest(state.network.state_dict())


def _apart(found: list[float], wanted: list[float]) -> float:
    """The largest relative difference; NaN where one is no number."""
    apart = [abs(a - b) / max(abs(b), 1e-12) for a, b in zip(found, wanted, strict=True)]
    return max(apart) if all(map(math.isfinite, apart)) else math.nan


def _checked(name: str, check: Callable[[], tuple[bool | None, str]]) -> Check:
    try:
        return Check(name, *check())
    except Exception as error:  # whatever a device does: the other checks still tell something
        # What the error says may hold paths, and people paste this.
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        return Check(name, False, f"{type(error).__name__} in {place}")
