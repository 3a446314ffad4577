"""Is any view burnt out? Newly clipped pixels and local contrast kept, on real images.

    python benchmarks/tones.py --data DATA --out benchmarks/results/tones.json

For every set and both kinds of view: the 99th percentile of the share of values that are newly
black or white, and the first percentile of the local contrast over the crop's, of 400 views
(`domainjepa.views.tones`). The DICOM series are looked at in 8 bits, too, and as radiographs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from domainjepa.data.opening import open_source
from domainjepa.data.sampling import key
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.registry import DOMAINS
from domainjepa.views.tones import tones

Image = NDArray[Any]
Render = Callable[[list[Image]], list[Image]]
SAMPLES, DRAWS = 40, 400
GLOBAL, LOCAL = (64, (0.3, 1.0)), (28, (0.05, 0.3))


def as_they_are(images: list[Image]) -> list[Image]:
    return images


def rendered(low: float, high: float) -> Render:
    """Stored values -> 8 bits, as a viewer shows them, between two percentiles of all."""

    def render(images: list[Image]) -> list[Image]:
        first, last = np.nanpercentile(np.concatenate([one.ravel() for one in images]), (low, high))
        shown = [(one.astype(np.float32) - first) / (last - first) * 255 for one in images]
        return [np.nan_to_num(one).clip(0, 255).astype(np.uint8) for one in shown]

    return render


SETS = [
    ("galaxyzoo1.h5", "astronomy", as_they_are),
    ("fits_multiband/hsc_cosmos_35.npz", "astronomy", as_they_are),
    ("frdeep_first.npz", "radio", as_they_are),
    ("flowers102/flowers-102", "natural", as_they_are),
    ("breastmnist.npz", "ultrasound", as_they_are),
    ("em_membrane", "microscopy", as_they_are),
    ("dicom_t1w", "mri", as_they_are),
    ("dicom_t1w", "mri", rendered(0, 99.5)),
    ("dicom_t1w", "radiography", rendered(0, 99.5)),
    ("dicom_ct_head", "ct", as_they_are),
    ("dicom_ct_head", "ct", rendered(60, 99)),
    ("dicom_ct_head", "radiography", rendered(0, 99.9)),
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    table = Table("data", "domain", "values", "view", "newly clipped", "contrast kept")
    records = []
    for path, name, render in SETS:
        source = open_source(asked.data / path)
        chosen = np.random.default_rng(key("tones", path)).permutation(len(source))[:SAMPLES]
        images = render([source[int(row)] for row in np.sort(chosen)])
        domain = DOMAINS.load(name)()
        intensity = domain.fit_intensity(images)
        seen = [intensity(image) for image in images]
        for kind, (size, scale) in {"global": GLOBAL, "local": LOCAL}.items():
            spec = ViewSpec(size, scale, seen[0].shape[2], seen[0].dtype, kind == "local")
            found = tones(domain, seen, spec, DRAWS)
            values = f"{images[0].dtype}{'' if render is as_they_are else ', rendered'}"
            records.append(
                {"data": path, "domain": name, "values": values, "view": kind, **asdict(found)}
            )
            row = (path, name, values, kind, f"{found.clipped:.3f}", f"{found.contrast:.2f}")
            table.add_row(*row, style="" if found.well else "bold red")
    Console(width=100).print(table)
    command = "python benchmarks/tones.py --data DATA"
    if asked.out:
        asked.out.write_text(json.dumps({"command": command, "views": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
