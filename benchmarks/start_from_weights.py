"""Is an encoder better for a domain after some pretraining there than as it was published?

Pretraining goes on from published ImageNet weights, for 100 steps unless told otherwise, on the
rows of train and val. Then probes with 1, 5, 10 (five draws) and all labels a class read out: the
encoder after it, what it began with (the same weights at 64 px), and the published encoder as its
authors feed it, at 224 px.

    python benchmarks/start_from_weights.py --data galaxyzoo1.h5 frdeep_first.npz \\
        --weights tf_efficientnet_lite0.safetensors --folder runs/start \\
        --out benchmarks/results/start-from-weights.json

`--set init.statistics=moving` and the like change the run. What is in the folder already is not
made again, and other runs in the results stay there. The published encoder at 224 px takes most of
the time and is the same beside every run on the same data: `--without-published` leaves it out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from domainjepa import settings
from domainjepa.data.opening import open_source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain

MODEL = "tf_efficientnet_lite0"
SETTINGS = (
    *("views.num_local=0", "views.global_size=64", "backbone.stem_reduction=1"),
    *("projector.hidden=512", "projector.out=64", "objective.num_slices=256"),
    *("batch_size=32", "steps=100", "data.workers=0"),
    *("log.shortcuts=false", "log.every_steps=10", "checkpoint.every_steps=50"),
)


def measured(
    data: Path, weights: Path, folder: Path, name: str, changes: Sequence[str], published: bool
) -> dict[str, Any]:
    """The card of the run, its last metrics and the scores of the three encoders."""
    run, scores = folder / f"run-{name}", folder / f"eval-{name}"
    if not (run / "report.html").exists():
        flags = {
            "data.path": str(data),
            "backbone.name": MODEL,
            "init.weights": f"timm:{MODEL}={weights}",
        }
        changed = [text.partition("=")[0] for text in changes]
        kept = [text for text in SETTINGS if text.partition("=")[0] not in changed]
        config = settings.resolve(None, [*kept, *changes], flags)
        pretrain(config, run, resume=(run / "config.toml").exists(), console=Console())
    if not (scores / "results.json").exists():
        trained = FrozenEncoder(run)
        begun = trained.initial()
        assert begun is not None
        protocol = read_protocol("few-shot").model_copy(
            update={"shots": (1, 5, 10, "all"), "draws": ((10, 5),)}
        )
        evaluate(
            [trained.called("continued"), begun.called("initial")],
            open_source(data),
            [protocol],
            scores,
            baselines=baselines([f"timm:{MODEL}@224={weights}"], []) if published else [],
            cache=folder / "features",
            console=Console(),
        )
    found = json.loads((scores / "results.json").read_text())
    return {
        "init": FrozenEncoder(run).card.init,
        "first_metrics": read_metrics(run / "metrics.jsonl")[0],
        "last_metrics": read_metrics(run / "metrics.jsonl")[-1],
        "summary": found["summary"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--without-published", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"runs": {}}
    if arguments.out and arguments.out.exists():
        found = json.loads(arguments.out.read_text())
    found |= {
        "command": "python benchmarks/start_from_weights.py --data galaxyzoo1.h5 frdeep_first.npz "
        f"--weights {MODEL}.safetensors --folder runs/start",
        "machine": f"2 cores of an AMD EPYC, shared with other work, torch {torch.__version__}",
        "settings": SETTINGS,
    }
    for data in arguments.data:
        name = " ".join([data.stem, *arguments.set])
        found["runs"][name] = measured(
            data,
            arguments.weights,
            arguments.folder,
            name,
            arguments.set,
            not arguments.without_published,
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
