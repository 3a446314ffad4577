"""Does a run end within its budget, and where do larger images begin to win?

Pretrains with each budget at 32 px and at 48 px, whatever else the rules choose, and tells the time
of the whole command as a share of the budget, the steps, and the probe with 10 labels a class and
with all, against the untrained network.

    python benchmarks/budget.py --data galaxyzoo1.h5 --runs runs/budget --budgets 3m 6m 12m 24m \\
        --out benchmarks/results/budget-galaxyzoo1.json

Shares mean something where the load of the machine does not change; its load before each run is
told. Runs that are finished are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from evidence import cpu_name

from domainjepa.config import seconds_of
from domainjepa.data.opening import open_source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.suite import evaluate

SIZES = {
    "32 px": ["views.global_size=32", "views.global_scale=[0.5,1.0]"],
    "48 px": ["views.global_size=48", "views.global_scale=[0.4,1.0]"],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--budgets", nargs="+", default=["3m", "6m"])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = [
        measured(arguments.data, arguments.runs / f"{budget}-{size[:2]}", budget, size)
        for budget in arguments.budgets
        for size in SIZES
    ]
    told = {
        "command": f"python benchmarks/budget.py --data {Path(arguments.data).name} --budgets "
        + " ".join(arguments.budgets),
        "machine": f"{cpu_name()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "runs": found,
    }
    arguments.out.write_text(json.dumps(told, indent=1) + "\n")


def measured(data: str, run: Path, budget: str, size: str) -> dict[str, Any]:
    """One run: its time, and what its encoder is worth."""
    noted = run.with_suffix(".json")
    if not noted.is_file():
        load, begun = os.getloadavg()[0], time.monotonic()
        words = ["pretrain", "--data", data, "--budget", budget, "--out", str(run)]
        more = [*SIZES[size], "backbone.stem_reduction=2"]
        sets = [word for setting in more for word in ("--set", setting)]
        subprocess.run([sys.executable, "-m", "domainjepa", *words, *sets], check=True)
        share = (time.monotonic() - begun) / seconds_of(budget)
        noted.write_text(json.dumps({"load": load, "share": round(share, 3)}))
    encoder = FrozenEncoder(run)
    protocol = read_protocol("few-shot").model_copy(update={"shots": (10, "all")})
    rivals = [encoder, *baselines(["untrained"], [encoder])]
    results = evaluate(rivals, open_source(data), [protocol], run / "evaluation")
    return {
        "budget": budget,
        "size": size,
        "steps": encoder.card.step,
        **json.loads(noted.read_text()),
        "summary": results.summary,
        "differences": results.differences,
    }


if __name__ == "__main__":
    main()
