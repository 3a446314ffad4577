"""What trackers are told of a run. It leaves the house, so it is less than the card of an encoder
holds: nothing that was typed of the data (paths, patterns, columns, conditions) is among it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import domainjepa
from domainjepa import settings
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.run_folder import RunFolder
from domainjepa.tracking.tracker import TrackedRun, Value

_WITHHELD = ("data", "target", "init")


def tracked(plan: Plan, folder: RunFolder, step: int) -> TrackedRun:
    """The run as trackers see it: what decides what is learned but for `data.*`, `target.*` and
    `init.*`, and of the data their public name, their number and their shape."""
    learned = settings.learned_from(plan.config)
    source = plan.source
    facts: dict[str, Value] = {
        "data.name": plan.data_name,
        "data.samples": len(plan.rows),
        "data.shape": "x".join(map(str, source.shape)),
        "data.dtype": str(source.dtype),
        "device": plan.device.type,
        "version": domainjepa.__version__,
    }
    told = _flat({name: value for name, value in learned.items() if name not in _WITHHELD})
    return TrackedRun(folder.path.name, {**told, **facts}, step, None, folder.path)


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Dotted name -> a value that every tracker takes."""
    values: dict[str, Value] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            values |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            values[f"{prefix}{name}"] = ", ".join(map(str, value))
        else:
            values[f"{prefix}{name}"] = value
    return values
