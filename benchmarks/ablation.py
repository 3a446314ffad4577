"""What each transform of a domain is worth: the same budget without each of them in turn.

Pretrains once with the whole domain, once with each transform left out (`--each`), and once with
every domain of `--versus`; then scores all of them, the untrained network and raw pixels with one
protocol, over the same draws of labels.

    python benchmarks/ablation.py --data simulated-survey.h5 --recipe demo --each \\
        --versus natural --runs runs/ablation --out benchmarks/results/ablation-survey.json

The survey is that of `domainjepa demo`. Runs that are finished are not repeated.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from domainjepa import settings
from domainjepa.catalog import find
from domainjepa.data.opening import open_source
from domainjepa.domains.proposal import propose_domain
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.encoder.artefact import FILE_NAME
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.run import pretrain
from domainjepa.registry import DOMAINS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--domain", help="proposed from the data by default")
    parser.add_argument("--versus", nargs="*", default=[], help="other domains at the same budget")
    parser.add_argument("--each", action="store_true", help="leave out each transform in turn")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    console = Console()
    source = open_source(asked.data)
    domain = asked.domain or propose_domain(source)[0]
    variants = {f"{domain}, all": {"domain": domain}}
    if asked.each:
        spec = ViewSpec(32, (0.5, 1.0), source.channels, np.dtype(np.uint8))
        for step in DOMAINS.load(domain)().transforms(spec)[1:]:
            variants[f"without {step.name}"] = {"domain": domain, "views.without": (step.name,)}
    for other in asked.versus:
        variants[other] = {"domain": other}

    recipe = settings.read_recipe(find("recipes", asked.recipe))
    encoders = []
    for name, changes in variants.items():
        folder = asked.runs / name.replace(",", "").replace(" ", "-")
        config = settings.resolve(recipe, asked.set, {"data.path": asked.data, **changes})
        if not (folder / FILE_NAME).exists():
            pretrain(config, folder, console=console, resume=(folder / "config.toml").exists())
        encoders.append(FrozenEncoder(folder))
    protocol = read_protocol("few-shot").model_copy(update={"shots": (10, "all")})
    everyone = [*encoders, *baselines(["untrained", "pixels"], encoders[:1])]
    results = evaluate(everyone, source, [protocol], asked.runs / "evaluation", console=console)
    terminal.show(results, console)
    if asked.out:
        names = {encoder.name: name for encoder, name in zip(encoders, variants, strict=True)}
        first = encoders[0].name
        found = {
            "command": f"python {shlex.join(sys.argv)}",
            "machine": f"{torch.get_num_threads()} threads, torch {torch.__version__}",
            "data": source.public_name,
            "steps": config.steps,
            "variants": names,
            "summary": [one for one in results.summary if one["metric"] == "accuracy"],
            "against_all": [
                one
                for one in results.differences
                if one["encoder"] == first and one["metric"] == "accuracy"
            ],
        }
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
