"""A real run: Galaxy Zoo 1, pretrained against untrained against pixels.

Pretrains on the rows of train and val (no label used), fits linear probes on the labels of train,
scores on test: the protocol `few-shot` with 1, 5, 10, 100 and all labels a class.

    python benchmarks/galaxyzoo1.py --data galaxyzoo1.h5 --run runs/galaxyzoo1 \\
        --out benchmarks/results/galaxyzoo1.json

The file: SDSS cut-outs with the labels of Lintott et al. 2008, 2011 as HDF5 with `images` uint8
(N, 64, 64, 3), `ans` and `split`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from rich.console import Console

from domainjepa import settings
from domainjepa.catalog import find
from domainjepa.data.opening import open_source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain


def cpu_name() -> str:
    """The processor as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--recipe", default="galaxyzoo1")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    console = Console()
    config = settings.resolve(
        settings.read_recipe(find("recipes", arguments.recipe)),
        (),
        {"data.path": arguments.data, "steps": arguments.steps},
    )
    started = time.perf_counter()
    pretrain(config, arguments.run, console=console)
    minutes = (time.perf_counter() - started) / 60
    encoder = FrozenEncoder(arguments.run)
    results = evaluate(
        [encoder, *baselines(["untrained", "pixels"], [encoder])],
        open_source(arguments.data),
        ["few-shot"],
        arguments.run / "evaluation",
        console=console,
    )
    terminal.show(results, console)
    found = {
        "command": "python benchmarks/galaxyzoo1.py --data galaxyzoo1.h5 --run runs/galaxyzoo1",
        "machine": f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "minutes": round(minutes, 1),
        "config": encoder.card.config,
        "last_metrics": read_metrics(arguments.run / "metrics.jsonl")[-1],
        "summary": results.summary,
        "differences": results.differences,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
