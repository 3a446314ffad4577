"""LeJEPA by `domainjepa pretrain`, probe, checkpoints and report included."""

from __future__ import annotations

from itertools import pairwise

from rich.console import Console
from shared import FIRST, Meter, run_config, task, versions

from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain


def main() -> None:
    asked = task()
    meter = Meter()
    config = run_config(asked.data, asked.steps, asked.set)
    pretrain(config, asked.out / "run", console=Console())
    lines = read_metrics(asked.out / "run" / "metrics.jsonl")
    steps = seconds = 0.0
    for before, line in pairwise(lines):
        if before["step"] >= FIRST:
            steps += line["step"] - before["step"]
            spent = (line["step"] - before["step"]) * config.batch_size / line["samples_per_s"]
            seconds += spent
    meter.write(asked.out, seconds / steps, versions=versions("domainjepa", "albumentations"))


if __name__ == "__main__":
    main()
