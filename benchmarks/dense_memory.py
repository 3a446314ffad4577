"""How much memory and time the patch features of one large image, or volume, take.

Each case in a process of its own: an encoder of one channel with fresh weights, the features of an
array of int16 in memory. "peak" is that of the whole process, libraries and image included;
"before" is it before the first forward pass.

    python benchmarks/dense_memory.py --out benchmarks/results/dense-memory-cpu.json \\
        resnet18:224:1:2048 monai:resnet18:64:1:256

A case is backbone, size of pretraining, division of the stem's stride, side of the image.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from domainjepa import FrozenEncoder
from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig
from domainjepa.encoder.artefact import EncoderCard, save_encoder


def peak() -> float:
    """GiB, of this process until now."""
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measured(case: str) -> dict[str, Any]:
    name, size, reduction, side = case.rsplit(":", 3)
    volumes = name.startswith("monai:")
    card = EncoderCard(
        backbone=BackboneConfig(name=name, stem_reduction=int(reduction)),
        channels=1,
        size=int(size),
        spacing=1.0 if volumes else None,
        dtype="int16",
        domain="ct",
        intensity={"kind": "linear", "low": [0.0], "high": [1000.0]},
        mean=(0.5,),
        std=(0.3,),
        data={},
        step=0,
        config={},
        versions={},
    )
    shape = (1, *[int(side)] * (3 if volumes else 2))
    images = np.random.default_rng(0).integers(0, 1000, shape, np.int16)
    with tempfile.TemporaryDirectory() as folder:
        save_encoder(
            Path(folder) / "encoder.safetensors", Backbone(card.backbone, 1, int(size)), card
        )
        encoder = FrozenEncoder(folder, output="patches", spacing=(1, 1, 1) if volumes else None)
        _ = encoder.network
        before, begun = peak(), time.perf_counter()
        found = encoder.transform(images)
        seconds = time.perf_counter() - begun
    return {
        "case": case,
        "features": list(found.shape),
        "peak_gib": round(peak(), 2),
        "before_gib": round(before, 2),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    results = []
    for case in chosen.cases:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            results.append(alone.submit(measured, case).result())
        Console().print(json.dumps(results[-1]), highlight=False)
    told = {
        "command": f"python benchmarks/dense_memory.py --out {chosen.out} {' '.join(chosen.cases)}",
        "machine": f"{torch.get_num_threads()} threads, torch {torch.__version__}",
        "results": results,
    }
    chosen.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
