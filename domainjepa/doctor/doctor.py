"""The examination: machine, checks, timing; as JSON and as a page of a terminal."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from domainjepa import settings
from domainjepa.config import PretrainConfig
from domainjepa.data.simulated.survey import simulate_survey
from domainjepa.doctor import surroundings, timing
from domainjepa.doctor.checks import Check, checks
from domainjepa.doctor.timing import Timing
from domainjepa.pretraining.machine import choose_device
from domainjepa.waiting import stage

SMALL = {
    "batch_size": 16,
    "steps": 10,
    "data": {"workers": 0},
    "backbone": {"name": "test_resnet", "stem_reduction": 2},
    "projector": {"hidden": 128, "out": 32},
    "objective": {"num_slices": 64},
    "views": {"num_local": 0, "global_size": 32},
    "log": {"probe": False, "shortcuts": False},
}
"""What the checks train: seconds of two cores."""
TRIED = {
    "batch_size": 16,
    "data": {"workers": 0},
    "backbone": {"name": "resnet10t"},
    "log": {"probe": False, "shortcuts": False},
}
"""What is timed where nothing else is asked for: the usual projector, slices and views."""
QUICK = {**TRIED, "backbone": {"name": "resnet10t", "stem_reduction": 1}}
"""The same on simulated galaxies, which are small: a stem as it is, to be done in a minute."""


@dataclass(frozen=True)
class Examination:
    """What was found. It names no path, no host and no user: it is made to be pasted.

    Attributes:
        device: that was examined.
        versions, extras, machine: see `surroundings`.
        checks: each with its outcome.
        timing: milliseconds a sample; None where the checks alone were asked for.
        advice: a line each.
    """

    device: str
    versions: dict[str, str]
    extras: list[dict[str, Any]]
    machine: dict[str, Any]
    checks: list[Check]
    timing: Timing
    advice: list[str]

    @property
    def well(self) -> bool:
        """Whether no check failed."""
        return all(check.ok is not False for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "well": self.well}


def examine(
    console: Console, *, data: str | None, flags: dict[str, Any], assignments: list[str]
) -> Examination:
    """Examine this machine.

    Args:
        console: for progress.
        data: of the user, to be timed; simulated galaxies without.
        flags: `device`, `backbone.name`, `batch_size` of the timed run, None where not given.
        assignments: further settings of it.

    Raises:
        UserError: a device that is not there; data or settings that cannot be used.
    """
    with _galaxies() as galaxies:
        small = settings.resolve(SMALL, (), {"data.path": galaxies, "device": flags["device"]})
        layer = TRIED if data or flags["backbone.name"] else QUICK
        tried = settings.resolve(layer, assignments, {"data.path": data or galaxies, **flags})
        device, _ = choose_device(small)
        stage(console, "looking at the machine")
        machine = surroundings.machine()
        found = list(_told(console, small))
        seen = "your data" if data else "simulated galaxies"
        stage(console, f"timing {tried.backbone.name} on {seen}")
        timed = timing.measure(tried)
    return Examination(
        device=device.type,
        versions=surroundings.versions(),
        extras=surroundings.extras(),
        machine=machine,
        checks=found,
        timing=timed,
        advice=timed.advice(*timing.device_memory(tried)),
    )


@contextmanager
def _galaxies() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "galaxies.h5"
        simulate_survey(path, samples=128, size=64)
        yield str(path)


def _told(console: Console, config: PretrainConfig) -> Iterator[Check]:
    stage(console, "checking the objective and ten training steps")
    for check in checks(config):
        stage(console, f"{check.name}: {check.said}")
        yield check


def render(one: Examination) -> RenderableType:
    """For a terminal."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold cyan", no_wrap=True)
    facts.add_column()

    def row(name: str, text: str, style: str = "") -> None:
        facts.add_row(name, Text(text, style))

    row("versions", ", ".join(f"{name} {text}" for name, text in one.versions.items()))
    machine = one.machine
    row(
        "machine",
        f"{machine['processor']}, {machine['cores']} cores ({machine['busy_cores']} busy), "
        f"{machine['memory_gib']} GiB",
    )
    for device in machine["devices"]:
        memory = f"{device['memory_gib']} GiB" if device["memory_gib"] else ""
        capability = f"capability {device['capability']}" if device["capability"] else ""
        row("", ", ".join(filter(None, (device["name"], memory, capability))))
    missing = [extra for extra in one.extras if extra["missing"]]
    row("extras", ", ".join(e["extra"] for e in one.extras if not e["missing"]) or "none")
    for extra in missing:
        row("", f"{extra['extra']} is missing: {extra['opens']}", "dim")
    row("device", one.device)
    words = {True: ("right", "green"), False: ("WRONG", "bold red"), None: ("–", "dim")}
    for check in one.checks:
        word, style = words[check.ok]
        row("", f"{word}  {check.name}: {check.said}", style)
    timed = one.timing
    steps = ", ".join(f"{value:g} in {name}" for name, value in timed.step.items())
    row(
        "ms a sample",
        f"reading {timed.reading:g}, views {timed.views:g} (one process each), transfer "
        f"{timed.transfer:g}, step {steps}, batches of {timed.batch_size}",
    )
    for number, line in enumerate(one.advice):
        row("advice" if not number else "", line)
    return Group(facts)
