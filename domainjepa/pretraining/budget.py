"""`--budget 45m`: a run that fills a time, whatever the machine; docs/budget.md has the figures.

In the first minutes the number of optimiser steps decides what is learned: few views, a small
network, small images and a high learning rate win. So what a step of that kind costs here is
measured, and what was left unset follows from how many of them fit. Seconds are those of the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from domainjepa import devices
from domainjepa.backbones import Traits, traits
from domainjepa.config import PretrainConfig, Settings, seconds_of
from domainjepa.distributed import gather_over_ranks
from domainjepa.errors import ConfigError
from domainjepa.pretraining.batches import batches
from domainjepa.pretraining.machine import choose_device, threads_of
from domainjepa.pretraining.notes import looks_for_shortcuts
from domainjepa.pretraining.plan import Plan, make_plan
from domainjepa.pretraining.state import RunState
from domainjepa.pretraining.step import Step
from domainjepa.views.shortcuts import SAMPLES, VIEWS

SHORT: Mapping[str, Any] = {
    "batch_size": 128,
    "views.num_global": 2,
    "views.num_local": 0,
    "views.global_size": 32,
    "views.global_scale": (0.5, 1.0),
    "backbone.name": "resnet10t",
    "backbone.stem_reduction": 2,
    "projector.hidden": 1024,
    "projector.out": 64,
    "objective.num_slices": 256,
    "optimizer.lr": 2e-3,
}
"""Where few steps fit: minutes of two cores."""
LONGER: Mapping[str, Any] = {**SHORT, "views.global_size": 48, "views.global_scale": (0.4, 1.0)}
"""Where `FEW` steps of `SHORT` fit and more: from a quarter of an hour of two cores on."""
PAPER: Mapping[str, Any] = {"backbone.name": "resnet34"}
"""Where `MANY` fit, on an accelerator: the defaults, 2 global and 8 local views of whole images."""
FEW, MANY = 3_000, 100_000
"""Steps of `SHORT`. The first lies between the longest run at 32 px and the shortest good one at 48
px that were measured; the second was not measured."""
AIM = 0.95
"""Share of the budget that is planned: reports, checkpoints and a little load take the rest."""
MEASURED = 3.0
"""Seconds over which steps are timed, after a first one and those whose views were made ahead."""
VOLUMES = 16
"""Volumes of a batch; not measured."""
FEWEST = 10
"""Steps that a budget must hold."""
_AT_THE_END = 3.0  # seconds: the encoder, the last checkpoint, the report
_OF_SIZE = ("views.global_size", "views.global_scale", "backbone.stem_reduction")
_OF_RATE = ("optimizer.lr",)


@dataclass(frozen=True)
class Fitted:
    """A run that fills its budget.

    Attributes:
        config: the settings, with steps.
        notes: for the plan: what was chosen, and why.
        seconds: of a step, as measured; 0 where nothing was, since the steps were known.
    """

    config: PretrainConfig
    notes: list[tuple[str, str]]
    seconds: float = 0.0


def fit(config: PretrainConfig, begun: float, most: int | None = None) -> Fitted:
    """The settings with all resolved that a budget decides; unchanged where none is to be measured.

    Args:
        config: the settings; what was given in them stays.
        begun: when the command began, on `time.monotonic`.
        most: steps that are enough.

    Raises:
        UserError: settings or data that cannot be used, or a budget that is too short.
    """
    if config.budget is None or config.steps is not None:
        return Fitted(config, [])
    budget = seconds_of(config.budget)
    why = f"fewer than {FEW:,} steps with views of 32 px fit"
    measured = _measured(config, SHORT, begun, budget)
    short = measured.steps
    if short >= FEW and most is None:
        why, kind = f"at least {FEW:,} steps with views of 32 px fit", LONGER
        if short >= MANY and measured.plan.device.type != "cpu":
            why, kind = f"at least {MANY:,} steps with views of 32 px fit", PAPER
        measured = _measured(config, kind, begun, budget)
    steps = min(measured.steps, most or measured.steps)
    if steps < FEWEST:
        raise ConfigError(
            f"budget = {config.budget!r} holds {max(steps, 0)} steps of {measured.seconds:.2g} s: "
            f"give more, such as {measured.least()} s, or a smaller backbone, views or batch."
        )
    settled = {"steps": steps, "threads": measured.plan.config.threads}
    notes = _notes(config, measured.values, why, steps, measured.seconds)
    return Fitted(overlaid(measured.config, settled), notes, measured.seconds)


@dataclass(frozen=True)
class Measured:
    """A kind of run and what it costs here.

    Attributes:
        config: the settings, without steps.
        values: what was chosen in them: dotted name -> value.
        plan: of them.
        seconds: of a step.
        spent: of the budget, before the first step.
        looks: steps that take as long as a full look for shortcuts; 0 where there is none.
        budget: seconds.
    """

    config: PretrainConfig
    values: dict[str, Any]
    plan: Plan
    seconds: float
    spent: float
    looks: float
    budget: float

    @property
    def steps(self) -> int:
        """That fit."""
        return steps_that_fit(self.budget, self.spent + _AT_THE_END, self.seconds, self.looks)

    def least(self) -> int:
        """Seconds of the shortest budget."""
        return math.ceil((self.spent + _AT_THE_END + 1.1 * FEWEST * self.seconds) / AIM)


def steps_that_fit(budget: float, beside: float, seconds: float, looks: float = 0.0) -> int:
    """Steps that fill `AIM` of a budget.

    Args:
        budget: seconds in all.
        beside: seconds of all that is no step: opening, measuring, what comes at the end.
        seconds: of a step.
        looks: steps that a full look for shortcuts takes as long as: at most a tenth of the run's.
    """
    whole = (AIM * budget - beside) / seconds
    return math.floor(max(whole - looks, whole / 1.1))


def choices(config: PretrainConfig, kind: Mapping[str, Any], nominal: Traits) -> dict[str, Any]:
    """What a kind of run settles of what was left unset: dotted name -> value.

    Args:
        config: the settings; what was given stays.
        kind: `SHORT`, `LONGER` or `PAPER`.
        nominal: traits of the backbone, the user's or that of `kind`.
    """
    wanted = {name: value for name, value in kind.items() if not said(config, name)}
    convolutional = nominal.dimensions == 2 and nominal.patch == 1 and not nominal.transformer
    # Of volumes and transformers nothing was measured: sizes and rates stay what they are.
    out = [] if convolutional else [*_OF_SIZE, *_OF_RATE]
    if said(config, "views.global_size"):  # the stem and the crops are made for the size
        out += _OF_SIZE
    if config.init.given:
        out += [*_OF_RATE, "backbone.stem_reduction"]
    return {name: value for name, value in wanted.items() if name not in out}


def said(config: PretrainConfig, name: str) -> bool:
    """Whether a setting was given: by a recipe, by `--set`, by a flag, or in Python."""
    group: Any = config
    for part in name.split("."):
        if part not in group.model_fields_set:
            return False
        group = getattr(group, part)
    return group is not None


def overlaid(config: PretrainConfig, values: Mapping[str, Any]) -> PretrainConfig:
    """The settings with others in their places, by dotted name."""
    update: dict[str, Any] = {}
    for name, value in values.items():
        group, _, last = name.rpartition(".")
        if group:
            held: Settings = update.get(group, getattr(config, group))
            update[group] = held.model_copy(update={last: value})
        else:
            update[last] = value
    return config.model_copy(update=update)


def as_begun(config: PretrainConfig, before: PretrainConfig) -> PretrainConfig:
    """The settings of a run that goes on with what was found out when it began, unless they say
    otherwise: the threads, since another number would round sums another way, and what fills a
    budget."""
    config = overlaid(config, {"threads": config.threads or before.threads})
    if config.budget is None or config.steps is not None or config.budget != before.budget:
        return config
    found = [name for name in (*SHORT, "steps", "precision") if not said(config, name)]
    return overlaid(config, {name: _value(before, name) for name in found})


def seconds_a_step(plan: Plan, end: float) -> float:
    """Seconds of a step in the run itself, its views made beside it.

    Args:
        plan: of the run.
        end: when to be done, on `time.monotonic`; one step is taken even if it ends later.
    """
    ahead = 2 * (plan.config.data.workers or 0)  # batches that were made while nobody took them
    with threads_of(plan.config), closing(batches(plan, 0)) as feed:
        learn = Step(plan, RunState.start(plan))

        def timed() -> float:
            now = time.monotonic()
            learn(next(feed))  # which asks for its loss, and so waits for the device
            return time.monotonic() - now

        alone, begun = timed(), time.monotonic()
        for _ in range(ahead):
            if time.monotonic() - begun > MEASURED or time.monotonic() + alone > end:
                break
            alone = timed()
        seconds: list[float] = []
        while sum(seconds) < MEASURED and time.monotonic() + alone < end:
            seconds.append(timed())
    return sum(seconds) / len(seconds) if seconds else alone


def _measured(
    config: PretrainConfig, kind: Mapping[str, Any], begun: float, budget: float
) -> Measured:
    """What a kind of run costs here, measured."""
    now = time.monotonic()
    named = said(config, "backbone.name")
    nominal = traits(config.backbone.name if named else kind["backbone.name"])
    values = _in_bfloat16(config, choices(config, kind, nominal))
    plan = make_plan(overlaid(config, {**values, "steps": MANY}), batches=False)
    small = _of_small_data(config, plan)
    if small:
        values |= small
        plan = make_plan(overlaid(config, {**values, "steps": MANY}))
    opening = time.monotonic() - now
    seconds = seconds_a_step(plan, begun + budget / 2)
    spent = time.monotonic() - begun + opening  # the run opens the data once more
    seconds, spent = (max(_of_all_ranks(number, plan)) for number in (seconds, spent))
    looks = 0.0
    if looks_for_shortcuts(plan.config, plan.source):
        # Views twice and one forward pass: about half of what a step does with a view, each time.
        views = plan.config.views.num_global + plan.config.views.num_local
        looks = SAMPLES * VIEWS / (views * plan.config.batch_size)
    return Measured(overlaid(config, values), values, plan, seconds, spent, looks, budget)


def _in_bfloat16(config: PretrainConfig, values: dict[str, Any]) -> dict[str, Any]:
    """The choices, and bfloat16 where a processor computes in it and the network is ours: of its
    gradients at these sizes it is known that they are right."""
    own = "backbone.name" in values and "views.global_size" in values
    device, _ = choose_device(config)
    unset = own and device.type == "cpu" and not said(config, "precision")
    if unset and devices.computes_bfloat16(device):
        return {**values, "precision": "bfloat16"}
    return values


def _of_small_data(config: PretrainConfig, plan: Plan) -> dict[str, Any]:
    """What has to be smaller where samples are few or small, or are volumes."""
    smaller: dict[str, Any] = {}
    batch = VOLUMES if plan.source.volumetric else plan.config.batch_size
    batch = min(batch, 2 ** int(math.log2(max(len(plan.rows), 2))))
    if batch < plan.config.batch_size and not said(config, "batch_size"):
        smaller["batch_size"] = batch
    side, size = min(plan.source.shape[:-1]), plan.config.views.global_size
    if size and side < size and not said(config, "views.global_size"):
        smaller |= {"views.global_size": max(side, 8), "precision": config.precision}
    return smaller


def _of_all_ranks(number: float, plan: Plan) -> list[float]:
    """A number of each rank: what is decided from all of them is decided alike."""
    found: list[float] = gather_over_ranks(torch.tensor([number], device=plan.device)).tolist()
    return found


def _notes(
    config: PretrainConfig, chosen: dict[str, Any], why: str, steps: int, seconds: float
) -> list[tuple[str, str]]:
    """What was chosen for a budget and why, for the plan."""
    listed = ", ".join(f"{name}={_shown(value)}" for name, value in chosen.items())
    kept = ", ".join(name for name in (*SHORT, "precision") if said(config, name))
    told = f"{config.budget}: {steps:,} steps of {seconds:.3g} s, as measured here, fill it"
    return [
        ("budget", told),
        ("", f"{why}, so {listed}" if listed else ""),
        ("", f"as you set them: {kept}" if kept else ""),
    ]


def _shown(value: object) -> str:
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)


def _value(config: PretrainConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value
