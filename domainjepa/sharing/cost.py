"""What a run has cost: time that was logged, and from it an estimate of energy and carbon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domainjepa import settings
from domainjepa.encoder.artefact import EncoderCard


@dataclass(frozen=True)
class Power:
    """What is not measured and has to be assumed.

    Attributes:
        watts: that one device draws with its share of the machine.
        grams: of CO2 equivalents a kilowatt-hour emits; 473 is the mean of the world's electricity
            in 2024 (Ember, Global Electricity Review 2025).
        assumed: whether these are ours and not the user's.
    """

    watts: float = 300.0
    grams: float = 473.0
    assumed: bool = True


@dataclass(frozen=True)
class Cost:
    """What a run has cost.

    Attributes:
        hours: of training steps; without what came before and after.
        devices: number and kind, in words.
        kilowatt_hours: hours times devices times watts.
        kilograms: of CO2 equivalents, by the method of Lacoste et al. 2019 (arXiv:1910.09700).
        power: what was assumed.
    """

    hours: float
    devices: str
    kilowatt_hours: float
    kilograms: float
    power: Power


def cost_of(
    run: Path, metrics: Sequence[dict[str, Any]], card: EncoderCard, power: Power
) -> Cost | None:
    """The cost of a run; None where it has logged no speed.

    Args:
        run: its folder, whose `config.toml` says on what it ran.
        metrics: its lines of `metrics.jsonl`.
        card: of its encoder.
        power: what is assumed.
    """
    batch, seconds, before = card.config.get("batch_size", 0), 0.0, 0
    for line in metrics:
        if line.get("samples_per_s"):
            seconds += (line["step"] - before) * batch / line["samples_per_s"]
        before = line["step"]
    if not seconds:
        return None
    path = run / "config.toml"
    config = settings.read_recipe(path) if path.is_file() else {}
    count, kind = int(config.get("devices", 1)), str(config.get("device", "auto"))
    hours = seconds / 3600
    energy = hours * count * power.watts / 1000
    devices = f"{count} x {kind}" if kind != "auto" else f"{count} of unknown kind"
    return Cost(hours, devices, energy, energy * power.grams / 1000, power)
