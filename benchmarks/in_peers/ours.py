"""LeJEPA by `domainjepa pretrain`, probe, checkpoints and report included."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from shared import Meter, run_config, task, versions

from domainjepa.pretraining import run
from domainjepa.pretraining.progress import Display


def main() -> None:
    asked = task()
    meter = Meter()

    class Ticks(Display):
        def advance(self, *done: Any) -> None:
            super().advance(*done)
            meter.tick()

    run.Display = Ticks  # type: ignore[misc]
    config = run_config(asked.data, asked.steps, asked.set)
    run.pretrain(config, asked.out / "run", console=Console())
    meter.write(asked.out, versions=versions("domainjepa", "albumentations"))


if __name__ == "__main__":
    main()
