"""One step: views -> network -> objective -> optimiser, as long as all of it is numbers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from domainjepa.backbones.attention import attention_by
from domainjepa.data.sampling import key
from domainjepa.distributed import rank, world_size
from domainjepa.encoder.standardise import Standardise
from domainjepa.errors import UserError
from domainjepa.pretraining.batches import Batch, suspects
from domainjepa.pretraining.micro_batches import MicroBatches, Views, parts_of_a_batch
from domainjepa.pretraining.network import Outputs
from domainjepa.pretraining.parallel import parallel
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.probe import probe_loss
from domainjepa.pretraining.progress import Display
from domainjepa.pretraining.run_folder import INTACT
from domainjepa.pretraining.running_statistics import RunningStatistics
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
        self._statistics = RunningStatistics(state.buffers())
        parts = parts_of_a_batch(plan.config, world_size())
        # Computed once, a batch moves them once: then there is nothing to copy.
        again = parts > 1 or plan.config.activation_checkpointing
        moved = RunningStatistics(state.network.backbone.buffers() if again else ())
        self._micro = MicroBatches(self._features, parts, moved, self._network.alone)

    def __call__(self, batch: Batch) -> Learned:
        """One step of the optimiser, or none: then running statistics are as they were, too."""
        plan, state, config = self._plan, self._state, self._plan.config
        groups = [batch[name] for name in ("global", "local") if name in batch]
        before = self._statistics.taken()
        # Of the backward pass, too: a part that is computed again takes the same kernels.
        with attention_by(config.attention):
            features = self._micro.features(groups)
            with self._autocast():
                outputs = self._network.heads(features, config.views.num_global)
            terms = plan.objective(
                outputs.embeddings,
                config.views.num_global,
                plan.draw(state.step),
                center=self._center(groups),
                predicted=outputs.predicted,
            )
            probe = probe_loss(outputs.logits, batch, plan, state)
            gradient = state.update(terms.loss + probe, plan, self._micro.backward)
        if gradient.fault:
            self._statistics.put(before)
        else:
            sums = {name: value.item() for name, value in terms._asdict().items()}
            state.meter.add(steps=1, gradient_norm=gradient.norm, **sums)
        return Learned(outputs, gradient.fault)

    def _features(self, groups: Views, part: int) -> Tensor:
        """The features of a part of a batch, given as it was loaded, the global group first."""
        # Whatever is random inside the network (drop path) is keyed by the step, too.
        draws = (self._plan.config.seed, "network", self._plan.draw(self._state.step), rank())
        torch.manual_seed(key(*draws, part) if part else key(*draws))
        with self._autocast():
            features: Tensor = self._network.features(self._seen(groups))
        return features

    def _center(self, groups: Views) -> Tensor | None:
        """The centre from averaged weights, (N, K), or None where the views' own mean serves."""
        if self._state.averaged is None:
            return None
        with self._autocast():
            parts = self._micro.parts(groups[:1])
            return self._state.center(self._seen(part) for part in parts)

    def _seen(self, groups: Views) -> list[Tensor]:
        """The views as the network takes them."""
        device = self._plan.device
        return [self._standardise(views.to(device, non_blocking=True)) for views in groups]

    def _autocast(self) -> torch.autocast:
        bfloat16 = self._plan.config.precision == "bfloat16"
        return torch.autocast(self._plan.device.type, torch.bfloat16, enabled=bfloat16)


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
