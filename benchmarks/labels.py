"""How long an evaluation of 12,000 samples with 14 labels with holes takes, of known features.

Features of 512 numbers hold the labels weakly; a third of each label is unknown, as in chest
radiographs. Probes, intervals and, with --report, the whole report are timed; images are noise of
4 x 4 px and their features are looked up, so no network runs.

    python benchmarks/labels.py --out benchmarks/results/labels-12000.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import Image, Source
from domainjepa.evaluation.suite import evaluate

LABELS = 14


@dataclass(kw_only=True)
class Noise(Source):
    """Images that hold their row number, and columns of labels."""

    images: NDArray[np.float32]
    marks: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [self.images[index] for index in indices]

    def content_key(self) -> str:
        return hashlib.sha256(self.images.tobytes()).hexdigest()

    def column(self, name: str) -> NDArray[Any]:
        return self.marks[:, int(name)]


@dataclass
class Known:
    """An encoder whose features are known."""

    name: str
    features: NDArray[np.float32]

    def transform(self, images: Any) -> NDArray[np.float32]:
        return self.features[[int(image[0, 0, 0]) for image in images]]


def made(samples: int, width: int) -> tuple[Noise, Known]:
    """Labels of 2 to 40 % with a third unknown, and features that hold them."""
    rng = np.random.default_rng(0)
    frequency = np.geomspace(0.02, 0.4, LABELS)
    marks = (rng.random((samples, LABELS)) < frequency).astype(np.float64)
    signal = 0.2 * marks @ rng.normal(size=(LABELS, width))
    features = signal + 2 * rng.normal(size=(samples, width))
    marks[rng.random(marks.shape) < 1 / 3] = np.nan
    images = (1e5 * rng.normal(size=(samples, 4, 4, 1))).astype(np.float32)
    images[:, 0, 0, 0] = np.arange(samples)
    source = Noise(
        name="noise",
        loader="memory",
        shape=(4, 4, 1),
        dtype=images.dtype,
        groups=np.arange(samples) // 2,
        images=images,
        marks=marks,
    )
    return source, Known("known", features.astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=12_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--protocol", nargs="+", default=["linear", "few-shot"])
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    source, encoder = made(chosen.samples, chosen.width)
    target = ",".join(map(str, range(LABELS)))
    found = {}
    for protocol in chosen.protocol:
        with tempfile.TemporaryDirectory() as folder:
            before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            out = Path(folder) if chosen.report else None
            results = evaluate([encoder], source, [protocol], out, target=target)
            seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        found[protocol] = {
            "seconds": round(seconds, 1),
            "processor_seconds": round(after.ru_utime - before.ru_utime, 1),
            "kernel_seconds": round(after.ru_stime - before.ru_stime, 1),
            "roc_auc": round(
                next(
                    row["mean"]
                    for row in results.summary
                    if row["metric"] == "roc_auc" and row["shots"] == "all" and "label" not in row
                ),
                4,
            ),
        }
        print(protocol, found[protocol], flush=True)  # noqa: T201
    said = {
        "command": "python benchmarks/labels.py --protocol " + " ".join(chosen.protocol)
        + (" --report" if chosen.report else ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}",
        "load_average": round(os.getloadavg()[0], 1),
        "samples": chosen.samples,
        "features": chosen.width,
        "labels": LABELS,
        "evaluation": found,
    }  # fmt: skip
    if chosen.out:
        chosen.out.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
