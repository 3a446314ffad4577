"""Does a long run grow? The memory of all of its processes over 10,000 steps of a tiny network.

Starts `domainjepa pretrain` with one process that makes views, and adds up the proportional set
size of every process of it (smaps_rollup, proc(5)), once a second. Compares the median over the 200
steps from step 500 on with that over the last 200.

    python benchmarks/memory.py --steps 10000 --out benchmarks/results/memory.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

from forks import Command
from kills import CONSOLE, blobs

from domainjepa.pretraining.progress import read_metrics

FIRST, WINDOW, MOST = 500, 200, 0.05


def mib(pids: list[int]) -> float:
    """What the processes hold together, shared pages counted once."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def main() -> None:
    """One run; status 1 where it grew by 5 % or more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = ["pretrain", "--data", str(blobs(Path(folder) / "data.h5")), "--out", str(out)]
        words += ["--backbone", "test_resnet", "--batch-size", "8", "--steps", str(asked.steps)]
        words += ["--set=data.workers=1", "--set=views.num_local=0", "--set=projector.hidden=32"]
        words += ["--set=projector.out=8", "--set=objective.num_slices=16", "--set=device=cpu"]
        words += ["--set=log.every_steps=10", "--set=log.shortcuts=false"]
        command = Command(words, Path(folder) / "said.txt", real=True)
        seen: list[tuple[int, float]] = []
        while command.poll() is None:
            lines = read_metrics(out / "metrics.jsonl")
            if lines:
                seen.append((lines[-1]["step"], mib(command.processes())))
            time.sleep(1)
        assert command.status == 0, command.said.read_text()
    spans = {"early": FIRST, "late": asked.steps - WINDOW}
    held = {
        name: statistics.median(mib for step, mib in seen if start <= step <= start + WINDOW)
        for name, start in spans.items()
    }
    growth = held["late"] / held["early"] - 1
    found = {
        "mib_after_500_steps": round(held["early"], 1),
        "mib_at_the_end": round(held["late"], 1),
        "growth": round(growth, 4),
        "steps": asked.steps,
        "command": shlex.join(["python", "benchmarks/memory.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    CONSOLE.print_json(data=found)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(growth >= MOST)


if __name__ == "__main__":
    main()
