"""Pretraining on one's own images against a published encoder, set by set.

Pretrains by the recipe of a data set, on the rows of train and val, no label used; then probes with
1, 5, 10, 100 and all labels a class read out the encoder, the same network untrained, raw pixels,
and an ImageNet encoder (EfficientNet-Lite0) as its authors feed it, at 224 px. All see the same
labels in the same draws; tested once, on the official test rows where there are such.

    python benchmarks/evidence.py frdeep --data DATA --weights tf_efficientnet_lite0.safetensors

writes `results/evidence-SET.json`, and the report of the evaluation into `runs/evidence/SET`. What
is there already is not made again: a run that was stopped goes on, and its minutes are then those
since it went on. DATA is the folder that holds the files of `SETS`. Galaxy Zoo 1: SDSS cut-outs
with the labels of Lintott et al. 2008, 2011, as HDF5 with `images` uint8 (N, 64, 64, 3), `ans` and
`split`; FR-DEEP: the card `frdeep`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from domainjepa import settings
from domainjepa.catalog import find
from domainjepa.data.opening import open_configured
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain

RESULTS = Path(__file__).parent / "results"
MODEL = "tf_efficientnet_lite0"
OURS = "pretrained here"


class Set(NamedTuple):
    """A data set of the table.

    Attributes:
        path: below the folder of data.
        recipe: of `recipes/`.
    """

    path: str
    recipe: str


SETS = {
    "galaxyzoo1": Set("galaxyzoo1.h5", "galaxyzoo1"),
    "frdeep": Set("frdeep_first.npz", "radio"),
}


def measured(name: str, data: Path, weights: Path, folder: Path) -> dict[str, Any]:
    """The run and its evaluation, each made where it is not there."""
    console = Console()
    one, run, scores = SETS[name], folder / name / "run", folder / name / "evaluation"
    path = data / one.path
    config = settings.resolve(
        settings.read_recipe(find("recipes", one.recipe)),
        (),
        {"data.path": str(path)},
    )
    minutes = folder / name / "minutes.txt"
    if not minutes.exists():
        started = time.perf_counter()
        pretrain(config, run, resume=(run / "config.toml").exists(), console=console)
        minutes.write_text(f"{(time.perf_counter() - started) / 60:.1f}")
    encoder = FrozenEncoder(run)
    if not (scores / "results.json").exists():
        protocol = read_protocol("few-shot").model_copy(update={"shots": (1, 5, 10, 100, "all")})
        results = evaluate(
            [encoder.called(OURS)],
            open_configured(config.opening()),
            [protocol],
            scores,
            baselines=[
                *baselines(["untrained", "pixels"], [encoder]),
                *baselines([f"timm:{MODEL}@224={weights}"], []),
            ],
            cache=folder / name / "features",
            console=console,
        )
        terminal.show(results, console)
    found = json.loads((scores / "results.json").read_text())
    return {
        "command": f"python benchmarks/evidence.py {name}",
        "machine": f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "minutes_of_pretraining": float(minutes.read_text()),
        "config": encoder.card.config,
        "last_metrics": read_metrics(run / "metrics.jsonl")[-1],
        "summary": found["summary"],
        "differences": found["differences"],
    }


def cpu_name() -> str:
    """The processor as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("set", nargs="+", choices=SETS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help=f"{MODEL}.safetensors")
    parser.add_argument("--folder", type=Path, default=Path("runs/evidence"))
    asked = parser.parse_args()
    for name in asked.set:
        found = measured(name, asked.data, asked.weights, asked.folder)
        (RESULTS / f"evidence-{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
