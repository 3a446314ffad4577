"""How much memory do micro-batches and activation checkpointing save?

Two steps of a whole batch for each way, each in a process of its own on the CPU. Memory is the
peak of the resident set beyond that before the first step (getrusage(2)): activations, gradients
and moments. No GPU: there the allocator differs, the activations do not.

    python benchmarks/micro_batches.py --out benchmarks/results/micro-batches-cpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Memory that was freed goes back at once, so that the peak is of what is held.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import numpy as np
import torch
from rich.console import Console

from domainjepa import settings
from domainjepa.pretraining.batches import batches
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.state import RunState
from domainjepa.pretraining.step import Step

BATCH, SIZE = 64, 96
BACKBONES = ("vit_tiny_patch16_224", "convnext_atto")
WAYS: dict[str, dict[str, Any]] = {
    "undivided": {},
    "micro_batch=16": {"micro_batch": 16},
    "activation_checkpointing": {"activation_checkpointing": True},
    "micro_batch=16 and activation_checkpointing": {
        "micro_batch": 16,
        "activation_checkpointing": True,
    },
}


def measure(data: Path, backbone: str, way: str) -> float:
    """Peak memory of two steps in this process, in MiB."""
    changes = {
        "data.path": str(data),
        "data.workers": 0,
        "device": "cpu",
        "backbone.name": backbone,
        "backbone.stem_reduction": 1,
        "batch_size": BATCH,
        "steps": 2,
        "views.num_local": 0,
        "projector.hidden": 256,
        "projector.out": 64,
        "objective.num_slices": 64,
        **WAYS[way],
    }
    plan = make_plan(settings.resolve({}, (), changes))
    state = RunState.start(plan)
    learn, feed = Step(plan, state), batches(plan, 0)
    batch = next(feed)
    before = _peak()
    for _ in range(2):
        learn(batch)
        state.step += 1
    return round(_peak() - before, 1)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """All ways, side by side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.one:
        data, backbone, way = asked.one
        sys.stdout.write(json.dumps(measure(Path(data), backbone, way)))
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.h5"
        with h5py.File(data, "w") as file:
            draw = np.random.default_rng(0)
            file["images"] = draw.integers(0, 256, (2 * BATCH, SIZE, SIZE, 3), dtype=np.uint8)
        for backbone in BACKBONES:
            for way in WAYS:
                words = [sys.executable, __file__, "--one", str(data), backbone, way]
                said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
                found.setdefault(backbone, {})[way] = json.loads(said)
    result = {
        "command": "python benchmarks/micro_batches.py",
        "machine": f"{platform.machine()}, CPU, 1 thread, torch {torch.__version__}",
        "batch": f"{BATCH} samples, 2 global views of {SIZE} px, float32",
        "peak_mib": found,
    }
    Console().print_json(data=result)
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
