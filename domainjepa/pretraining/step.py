"""One step: views -> network -> objective -> optimiser, as long as all of it is numbers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from domainjepa.backbones.attention import attention_by
from domainjepa.data.sampling import key
from domainjepa.distributed import rank
from domainjepa.encoder.standardise import Standardise
from domainjepa.errors import UserError
from domainjepa.pretraining.batches import Batch, suspects
from domainjepa.pretraining.network import Outputs
from domainjepa.pretraining.parallel import parallel
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.probe import probe_loss
from domainjepa.pretraining.progress import Display
from domainjepa.pretraining.run_folder import INTACT
from domainjepa.pretraining.state import RunState

MAX_BAD_STEPS = 3


class Learned(NamedTuple):
    """What a step leaves for those who watch.

    Attributes:
        outputs: of the network, before the step was taken.
        fault: why the weights did not move, in words; empty where they did.
    """

    outputs: Outputs
    fault: str


class Step:
    """Learns from one batch; the weights are those of the state.

    Args:
        plan: of the run.
        state: what a step changes.
    """

    def __init__(self, plan: Plan, state: RunState) -> None:
        self._plan, self._state = plan, state
        self._network = parallel(state.network, plan)
        standardise = Standardise(plan.mean, plan.std, plan.backbone.dimensions)
        self._standardise = standardise.to(plan.device)

    def __call__(self, batch: Batch) -> Learned:
        """One step of the optimiser, or none: then running statistics are as they were, too."""
        plan, state, config = self._plan, self._state, self._plan.config
        # Whatever is random inside the network (drop path) is keyed by the step, too.
        torch.manual_seed(key(config.seed, "network", state.step, rank()))
        groups = self._groups(batch)
        buffers = [buffer.clone() for buffer in state.buffers()]
        bfloat16 = config.precision == "bfloat16"
        autocast = torch.autocast(plan.device.type, torch.bfloat16, enabled=bfloat16)
        with autocast, attention_by(config.attention):
            outputs = self._network(groups)
            center = state.center(groups)
        terms = plan.objective(
            outputs.embeddings,
            config.views.num_global,
            state.step,
            center=center,
            predicted=outputs.predicted,
        )
        probe = probe_loss(outputs.logits, batch, plan, state)
        gradient = state.update(terms.loss + probe, plan)
        if gradient.fault:
            for buffer, before in zip(state.buffers(), buffers, strict=True):
                buffer.copy_(before)
        else:
            sums = {name: value.item() for name, value in terms._asdict().items()}
            state.meter.add(steps=1, gradient_norm=gradient.norm, **sums)
        return Learned(outputs, gradient.fault)

    def _groups(self, batch: Batch) -> list[Tensor]:
        """The views as the network takes them, the global group first."""
        return [
            self._standardise(batch[name].to(self._plan.device, non_blocking=True))
            for name in ("global", "local")
            if name in batch
        ]


class BadSteps:
    """Counts the steps in a row that were not taken, and tells of each."""

    def __init__(self, plan: Plan, display: Display) -> None:
        self._plan, self._display = plan, display
        self.in_a_row = 0

    def watch(self, learned: Learned, step: int, batch: Batch) -> None:
        """After each step.

        Raises:
            UserError: too many in a row.
        """
        self.in_a_row = self.in_a_row + 1 if learned.fault else 0
        if not learned.fault:
            return
        rows = suspects(batch, self._plan.device)
        shown = ", ".join(map(str, rows[:8])) + (" …" if len(rows) > 8 else "")
        self._display.say(
            f"step {step}: {learned.fault} is NaN or infinite; no step taken. Rows: {shown}"
        )
        if self.in_a_row >= MAX_BAD_STEPS:
            raise UserError(
                f"{learned.fault} was NaN or infinite {self.in_a_row} times in a row (last at step "
                f"{step}, rows {shown}). {INTACT} Look at those rows with `domainjepa inspect`, "
                "and begin a new run with another --out and a lower --set optimizer.lr, or with "
                "--set optimizer.clip=1.0."
            )
