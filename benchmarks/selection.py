"""Does the training loss foretell the probe? A sweep over lambda and backbones.

Pretrains 12 short runs on the simulated survey, ranks them by loss / lambda^alpha without a label,
and correlates the ranking with the accuracy of a linear probe on the frozen features.

    python benchmarks/selection.py --data simulated-survey.h5 --runs runs/selection \\
        --out benchmarks/results/selection-survey.json

The survey is that of `domainjepa demo`. Runs that are finished are not repeated.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from itertools import product
from pathlib import Path

import torch
from rich.console import Console

from domainjepa import selection, settings
from domainjepa.catalog import find
from domainjepa.data.opening import open_source
from domainjepa.encoder.artefact import FILE_NAME
from domainjepa.pretraining.run import pretrain

LAMBDAS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5)
BACKBONES = ("resnet10t", "resnet18")
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    console = Console()
    recipe = settings.read_recipe(find("recipes", "demo"))
    folders = []
    for backbone, lam in product(BACKBONES, LAMBDAS):
        flags = {
            "data.path": asked.data,
            "backbone.name": backbone,
            "objective.lam": lam,
            "steps": asked.steps,
        }
        folders.append(asked.runs / f"{backbone}-{lam:g}")
        if not (folders[-1] / FILE_NAME).exists():
            config = settings.resolve(recipe, (), flags)
            begun = (folders[-1] / "config.toml").exists()
            pretrain(config, folders[-1], console=console, resume=begun)
    source = open_source(asked.data)
    probes = selection.probe(folders, source)
    found = {alpha: selection.select(folders, alpha=alpha, probes=probes) for alpha in ALPHAS}
    console.print(selection.render(found[selection.ALPHA]))
    if asked.out:
        told = {
            "command": f"python {shlex.join(sys.argv)}",
            "machine": f"{torch.get_num_threads()} threads, torch {torch.__version__}",
            "data": source.public_name,
            "steps": asked.steps,
            "spearman_by_alpha": {str(alpha): one.by_score for alpha, one in found.items()},
            "spearman_by_loss": found[selection.ALPHA].by_loss,
            "runs": found[selection.ALPHA].to_dict()["runs"],
        }
        asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
