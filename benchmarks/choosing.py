"""Which of several runs to take, without a look at the test rows.

Some of the labelled training rows are held out by key; probes on the others read out each run, its
untrained twin, the weights that it began with, and EfficientNet-Lite0 of ImageNet at 224 px.
Pretraining may have seen the held out images: it is told no label. The figures on radio galaxies in
docs/evidence.md are of

    domainjepa pretrain --data frdeep_first.npz --recipe radio --steps 700 --out runs/small \\
        --set views.global_size=40
    domainjepa pretrain --data frdeep_first.npz --init timm:tf_efficientnet_lite0=FILE \\
        --backbone tf_efficientnet_lite0 --steps 200 --batch-size 64 --out runs/begun \\
        --set views.num_local=0 --set views.global_size=128 --set backbone.stem_reduction=1 \\
        --set projector.hidden=1024 --set projector.out=64 --set objective.num_slices=256 \\
        --set optimizer.lr=2e-4 --set precision=float32
    python benchmarks/choosing.py runs/small runs/begun --data frdeep_first.npz --hold 150 \\
        --weights FILE --out benchmarks/results/choosing-frdeep.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from evidence import RIVAL, SHOTS, cpu_name
from rich.console import Console

from domainjepa.data.opening import open_source
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate


def held_out(source: Source, count: int) -> Source:
    """The source with so many of its training rows for test rows, and its test rows left out."""
    rows = source.rows("train", labelled=True)
    order = np.random.default_rng(key("choosing", len(source))).permutation(rows)
    split = np.full(len(source), "val", "U5")
    split[order[count:]], split[order[:count]] = "train", "test"
    source.split = split
    return source


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--hold", type=int, default=150)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    encoders = [FrozenEncoder(run).called(run.name) for run in asked.runs]
    results = evaluate(
        encoders,
        held_out(open_source(asked.data), asked.hold),
        [read_protocol("few-shot").model_copy(update={"shots": SHOTS})],
        baselines=[
            *baselines(["untrained"], encoders),
            *baselines([f"{RIVAL}={asked.weights}"], []),
        ],
        console=Console(),
    )
    terminal.show(results, Console())
    told = {
        "command": f"python benchmarks/choosing.py {' '.join(run.name for run in asked.runs)} "
        f"--data {Path(asked.data).name} --hold {asked.hold}",
        "machine": cpu_name(),
        "runs": {encoder.name: encoder.card.config for encoder in encoders},
        "summary": results.summary,
        "differences": results.differences,
    }
    asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
