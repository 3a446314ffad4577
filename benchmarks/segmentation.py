"""Are patch features worth more for masks after pretraining, against what costs nothing?

Pretrains on the images of a data set, whose masks no pretraining reads, and evaluates the encoder,
its untrained twin, raw intensity and, of images, EfficientNet-Lite0 of ImageNet. `em` are the 15
sections of the ISBI 2012 challenge; `hippocampus-2d` slices and `hippocampus-3d` volumes of the
Medical Segmentation Decathlon, of which patients are never split.

    python benchmarks/segmentation.py em --data em_membrane --folder runs/em \\
        --weights tf_efficientnet_lite0.safetensors --out benchmarks/results/segmentation-em.json
    python benchmarks/segmentation.py hippocampus-3d --data hippocampus_msd --folder runs/3d \\
        --out benchmarks/results/segmentation-hippocampus-3d.json

A run that is in the folder already is not made again, nor are features in it. `--set` changes the
pretraining, `--layers` and `--scale` what is read, `--side` to how many pixels images are enlarged
for the published encoder, `--baseline` what else is compared, or none. `--protocol` names others:
segmentation-knn, segmentation-finetune (`--finetune crop=96` and the like change its settings).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch
from rich.console import Console

from domainjepa import settings
from domainjepa.catalog import find
from domainjepa.config import TargetConfig
from domainjepa.data.opening import open_source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import Protocol, read_protocol
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain

SHOTS = (1, 5, 10, "all")
RECIPES = {"em": "microscopy", "hippocampus-2d": "mr-slices", "hippocampus-3d": "mr-volumes"}
"""What each is pretrained with: a few minutes of two cores."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=RECIPES)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--side", type=int)
    parser.add_argument("--baseline", action="append")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--protocol", action="append")
    parser.add_argument("--layers", default="auto")
    parser.add_argument("--scale", type=float)
    parser.add_argument("--finetune", action="append", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    run, clock = arguments.folder / "run", Clock()
    if not (run / "report.html").exists():
        recipe = settings.read_recipe(find("recipes", RECIPES[arguments.case]))
        flags = {"data.path": arguments.data}
        config = settings.resolve(recipe, ["data.workers=1", *arguments.set], flags)
        pretrain(config, run, resume=(run / "config.toml").exists(), console=Console())
    pretraining = clock.minutes()
    encoder = FrozenEncoder(run).called("pretrained")
    names = [one for one in arguments.baseline or ["untrained", "intensity"] if one != "none"]
    if arguments.weights:
        side = f"@{arguments.side}" if arguments.side else ""
        names.append(f"timm:tf_efficientnet_lite0{side}={arguments.weights}")
    results = evaluate(
        [encoder],
        open_source(arguments.data, dimensions=encoder.card.dimensions),
        [_protocol(name, arguments) for name in arguments.protocol or ["segmentation"]],
        arguments.folder / "evaluation",
        baselines=baselines(names, [encoder]),
        target=TargetConfig(background=255) if arguments.case == "em" else None,
        cache=arguments.folder / "features",
        console=Console(),
    )
    terminal.show(results, Console())
    found = {
        "command": _command(arguments),
        "machine": f"{os.cpu_count()} cores, shared with other work; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads",
        "minutes": {"pretraining": pretraining, "evaluation": clock.minutes()},
        "pretraining": encoder.card.config,
        "last_metrics": read_metrics(run / "metrics.jsonl")[-1],
        "settings": results.settings,
        "warnings": results.warnings,
        "summary": results.summary,
        "differences": [one for one in results.differences if one["encoder"] == encoder.name],
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


class Clock:
    """Minutes since it was last asked: of the wall, and of processors."""

    def __init__(self) -> None:
        self.last = self._now()

    def minutes(self) -> dict[str, float]:
        before, self.last = self.last, self._now()
        return {name: round((self.last[name] - before[name]) / 60, 1) for name in before}

    def _now(self) -> dict[str, float]:
        spent = os.times()
        processor = spent.user + spent.system + spent.children_user + spent.children_system
        return {"wall": time.perf_counter(), "processor": processor}


def _protocol(name: str, arguments: argparse.Namespace) -> Protocol:
    """A protocol with what the command line changes of it."""
    told = read_protocol(name).model_dump()
    if told["ladder"]:
        told["shots"] = SHOTS
    layers = arguments.layers
    if layers != "auto":
        told["patches"]["layers"] = tuple(int(one) for one in layers.split(","))
    told["patches"]["scale"] = arguments.scale
    for text in arguments.finetune:
        key, _, value = text.partition("=")
        told["finetune"][key] = json.loads(value)
    return Protocol.model_validate(told)


def _command(arguments: argparse.Namespace) -> str:
    """As it was given, without the folders of this machine."""
    told = ["python benchmarks/segmentation.py", arguments.case]
    told += ["--data", Path(arguments.data).name, "--folder", "RUN"]
    if arguments.weights:
        told += ["--weights", arguments.weights.name]
    if arguments.side:
        told += ["--side", str(arguments.side)]
    for option in ("set", "baseline", "protocol", "finetune"):
        for value in getattr(arguments, option) or ():
            told += [f"--{option}", value]
    if arguments.layers != "auto":
        told += ["--layers", arguments.layers]
    if arguments.scale:
        told += ["--scale", str(arguments.scale)]
    return " ".join(told)


if __name__ == "__main__":
    main()
