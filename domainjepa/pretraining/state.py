"""All that a run changes: what a checkpoint holds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from domainjepa.data.checks.quarantine import Quarantine
from domainjepa.data.sampling import key
from domainjepa.errors import ConfigError, UserError
from domainjepa.pretraining.gradient import Gradient
from domainjepa.pretraining.machine import sharded
from domainjepa.pretraining.network import Network, Outputs
from domainjepa.pretraining.optimizer import build_optimizer
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.progress import Meter, Recent
from domainjepa.pretraining.schedule import learning_rate
from domainjepa.pretraining.sharding import divided, own_part, shard, whole

PROBED = 500
"""Held-out rows that the accuracy of the online probe is of: a standard error of two points."""
_NOT_FIT = "Restore it from a backup, or begin a new run with another --out."


class _Counted(BaseModel):
    """The plain numbers of a checkpoint."""

    model_config = ConfigDict(strict=True)

    step: int = Field(ge=0)
    unreadable: list[int]
    meter: dict[str, float]
    probed: dict[str, float] = {}


@dataclass
class RunState:
    """The weights and everything that moves with them.

    Attributes:
        network: backbone, projector, probe.
        optimizer: of all of them.
        averaged: the averaged weights that yield the centre, None unless asked for.
        meter: sums since the last log line.
        probed: hits of the online probe on the newest held-out rows.
        unreadable: the rows that could not be read.
        step: steps done.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    averaged: Network | None
    unreadable: Quarantine
    meter: Meter = field(default_factory=Meter)
    probed: Recent = field(default_factory=lambda: Recent(PROBED))
    step: int = 0

    @classmethod
    def start(cls, plan: Plan) -> RunState:
        """The state before the first step; all weights are keyed by the seed.

        Raises:
            ConfigError: an objective that the first step could not compute.
        """
        config = plan.config
        try_out(plan)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(config.seed, "projector"))
            network = Network(
                plan.backbone,
                config.projector,
                predictor=config.objective.predictor,
                classes=plan.classes,
            )
        network.train()  # and what is frozen is not, whoever tried the backbone out in between
        if sharded(config):
            shard(network, plan)
        else:
            network.to(plan.device)
            if plan.backbone.dimensions == 2:
                # Of volumes no layout was found to be faster than another.
                network.to(memory_format=torch.channels_last)
        averaged = None
        if config.objective.average_weights:
            averaged = copy.deepcopy(network).requires_grad_(False)
        unreadable = Quarantine(len(plan.rows), config.data.skip_unreadable)
        return cls(network, build_optimizer(network, config), averaged, unreadable)

    @torch.no_grad()
    def center(self, parts: Iterable[Sequence[Tensor]]) -> Tensor:
        """The centre from averaged weights, (N, K), of the global views, which come in parts."""
        assert self.averaged is not None
        features = torch.cat([self.averaged.features(part) for part in parts], dim=1)
        outputs: Outputs = self.averaged.heads(features, len(features))
        return outputs.embeddings.float().mean(0)

    def update(
        self, loss: Tensor, plan: Plan, backward: Callable[[Tensor], None] = Tensor.backward
    ) -> Gradient:
        """One step of the optimiser at the learning rate of this step, on all ranks or on none:
        only where the loss and every gradient are numbers on each of them.

        Args:
            loss: of the batch.
            plan: of the run.
            backward: puts the gradient of a loss into the weights.
        """
        chosen = plan.config.optimizer
        self.optimizer.zero_grad(set_to_none=True)
        backward(loss)
        gradient = Gradient.of(self.network, loss)
        if gradient.fault:
            return gradient
        gradient.clip(self.network, chosen.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(
                self.step, plan.steps, group["peak"], chosen.warmup, chosen.final_lr
            )
        self.optimizer.step()
        if self.averaged is not None:
            self._average(plan.config.objective.average_weights)
        return gradient

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        assert self.averaged is not None
        pairs = zip(self.averaged.parameters(), self.network.parameters(), strict=True)
        for old, new in pairs:
            old.lerp_(new, 1 - decay)

    def buffers(self) -> list[Tensor]:
        """Running statistics: a forward pass moves them, whether or not a step follows."""
        networks = [self.network, self.averaged] if self.averaged else [self.network]
        return [buffer for network in networks for buffer in network.buffers()]

    def finite(self) -> bool:
        """Whether all weights, statistics and moments that this rank holds are numbers.

        The moments hold every gradient since the first: one that overflowed stays in them. Asking
        synchronises with the device.
        """
        networks = [self.network, self.averaged] if self.averaged else [self.network]
        tensors = [tensor for network in networks for tensor in network.state_dict().values()]
        tensors += [
            tensor for moments in self.optimizer.state.values() for tensor in moments.values()
        ]
        device = next(self.network.parameters()).device  # counts of steps may lie elsewhere
        finite = [own_part(tensor).isfinite().all().to(device) for tensor in tensors]
        return bool(torch.stack(finite).all())

    def pack(self, plan: Plan) -> dict[str, Any]:
        """Plain tensors and numbers for a checkpoint. Every rank calls it: the main rank has it
        whole."""
        packed = {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "meter": dict(self.meter.sums),
            "probed": dict(self.probed.sums),
            "unreadable": sorted(self.unreadable.rows),
            "fingerprint": plan.identity.fingerprint,
            "stamp": plan.identity.stamp,
        }
        return cast(dict[str, Any], whole(packed))

    def encoder(self) -> dict[str, Tensor]:
        """The state dict of the backbone. Every rank calls it: the main rank has it whole."""
        return cast(dict[str, Tensor], whole(self.network.backbone.state_dict()))

    def load(self, packed: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: it is none of this run's network.
        """
        try:
            counted = _Counted.model_validate(packed)
            own = self.network.state_dict()
            weights = {name: divided(v, own.get(name, v)) for name, v in packed["network"].items()}
            self.network.load_state_dict(weights)
            for group in packed["optimizer"]["param_groups"]:
                group["fused"] = self.optimizer.defaults["fused"]  # perhaps another device's
            self.optimizer.load_state_dict(self._divided_moments(packed["optimizer"]))
            if self.averaged is not None:
                self.averaged.load_state_dict(packed["averaged"])
            self._refuse_other_moments()
        except ValidationError as error:
            wrong = ", ".join(str(problem["loc"][0]) for problem in error.errors())
            raise UserError(f"the checkpoint does not fit this run: {wrong}. {_NOT_FIT}") from error
        except Exception as error:  # plain data of anybody's make the loaders raise anything
            reason = _first_line(error)
            raise UserError(f"the checkpoint does not fit this run: {reason} {_NOT_FIT}") from error
        self.step, self.meter.sums = counted.step, counted.meter
        self.probed.sums = counted.probed
        self.unreadable.rows = set(counted.unreadable)
        if self.meter.sums.get("steps"):  # version 0.1 summed no gradients
            self.meter.sums.setdefault("gradient_norm", math.nan)

    def go_on_from(self, parent: dict[str, Any]) -> None:
        """Take over weights and moments of another run's checkpoint; steps and rates are one's own.

        Raises:
            UserError: it is of another network.
        """
        own = [{n: v for n, v in one.items() if n != "params"} for one in self._groups()]
        self.load({**parent, "step": 0, "meter": {}, "unreadable": []})
        for group, settings in zip(self._groups(), own, strict=True):
            group.update(settings)

    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def _divided_moments(self, packed: dict[str, Any]) -> dict[str, Any]:
        """The state of the optimiser with this rank's part of every moment."""
        ordered = [weight for group in self._groups() for weight in group["params"]]
        moments = {
            number: {name: divided(value, ordered[number]) for name, value in of_weight.items()}
            for number, of_weight in packed["state"].items()
        }
        return {**packed, "state": moments}

    def _refuse_other_moments(self) -> None:
        """Raises ValueError where a moment is not of its weight's shape: nothing else asks."""
        for weight, moments in self.optimizer.state.items():
            for name, moment in moments.items():
                if getattr(moment, "shape", None) not in (weight.shape, torch.Size([])):
                    raise ValueError(f"the moment {name} has another shape than its weight")


def try_out(plan: Plan) -> None:
    """The parts of the objective that depend on settings or on others' code, on a few numbers.

    Raises:
        ConfigError: they fail, here and not at the first step.
    """
    config, sigreg = plan.config.objective, plan.objective.sigreg
    width = plan.config.projector.out
    try:
        sigreg.slices(torch.zeros(1, width))
    except Exception as error:
        raise ConfigError(
            f"objective.num_slices = {config.num_slices}, objective.directions = "
            f"{config.directions!r}, projector.out = {width}: {_first_line(error)}"
        ) from error
    if not callable(sigreg.statistic):
        return
    wanted = "a differentiable function of projections, a tensor (N, M) -> a tensor (M,)"
    samples = torch.linspace(-2, 2, 4 * plan.config.batch_size, device=plan.device)
    projections = samples.view(-1, 4).requires_grad_()
    try:
        tested = sigreg.statistic_of(projections)
        fits = tested.shape == (4,) and tested.requires_grad
    except Exception as error:
        raise ConfigError(
            f"objective.statistic = {config.statistic!r}: {_first_line(error)}. It is {wanted}."
        ) from error
    if not fits:
        raise ConfigError(f"objective.statistic = {config.statistic!r} is not {wanted}.")


def _first_line(error: Exception) -> str:
    """PyTorch adds a stack of C++ below it."""
    return str(error).partition("\n")[0]
