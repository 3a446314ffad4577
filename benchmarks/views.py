"""Milliseconds a view, by domain, dtype and size; and what keying and fusing cost or save.

    python benchmarks/views.py --out benchmarks/results/views-cpu.json

One core, everything counted that a view takes: key, randomness, transforms. For 8-bit RGB the
domain `natural` is timed beside the same albumentations pipeline with nothing of this project
around it, the calls in turn, and the ratio of the medians is given; the aim is 1.2 at the most.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from domainjepa.config import ViewsConfig
from domainjepa.domains.intensity import Identity
from domainjepa.domains.natural import Natural
from domainjepa.registry import DOMAINS
from domainjepa.views.views import ViewMaker

SIZES = {"48 -> 32": (48, 32), "256 -> 98": (256, 98), "256 -> 224": (256, 224)}
"""Pixels a side of the image and of the view."""
KINDS = {"uint8 x 1": (np.uint8, 1), "uint8 x 3": (np.uint8, 3), "float32 x 3": (np.float32, 3)}


def cpu_name() -> str:
    """The processor as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def picture(side: int, dtype: type, channels: int) -> NDArray[Any]:
    """Smooth, with values over the whole range."""
    draw = np.random.default_rng(0).uniform(0, 1, (side // 8, side // 8, channels))
    light = np.stack([cv2.resize(band, (side, side)) for band in draw.transpose(2, 0, 1)], axis=2)
    return (light * 255).astype(dtype) if dtype is np.uint8 else light.astype(dtype)


def maker(name: str, size: int) -> ViewMaker:
    """Makes one global view at a time, which no run could learn from."""
    views = ViewsConfig(global_size=size, local_size=8)
    views = views.model_copy(update={"num_global": 1, "num_local": 0})
    return ViewMaker(DOMAINS.load(name)(), Identity(), views, seed=0)


def milliseconds(calls: list[Callable[[int], Any]], repeats: int) -> list[float]:
    """Median of each call, the calls taking turns."""
    times: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats + 5):
        for call, spent in zip(calls, times, strict=True):
            start = time.thread_time()
            call(repeat)
            spent.append(1e3 * (time.thread_time() - start))
    return [statistics.median(spent[5:]) for spent in times]


def one_view(made: ViewMaker, image: NDArray[Any]) -> Callable[[int], Any]:
    return lambda sample: made(image, epoch=0, sample=sample)


def bare(size: int) -> A.Compose:
    """The pipeline of `natural` as a user of albumentations writes it."""
    return A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(0.3, 1.0), area_for_downscale="image"),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1), p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, max(0.5, size / 112)), p=0.5),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    table = Table("domain", "values", *SIZES, title="milliseconds a view, one core")
    records: list[dict[str, Any]] = []
    for name in DOMAINS.builtin:
        for kind, (dtype, channels) in KINDS.items():
            row = []
            for size_name, (side, size) in SIZES.items():
                call = one_view(maker(name, size), picture(side, dtype, channels))
                (spent,) = milliseconds([call], arguments.repeats)
                records.append({"domain": name, "values": kind, "size": size_name, "ms": spent})
                row.append(f"{spent:.3f}")
            table.add_row(name, kind, *row)
    ratios = {}
    for size_name, (side, size) in SIZES.items():
        image, pipeline = picture(side, np.uint8, 3), bare(size)
        assert len(pipeline.transforms) == len(
            Natural().transforms(maker("natural", size).spec(image, local=False))
        )
        ours, theirs = milliseconds(
            [
                one_view(maker("natural", size), image),
                lambda _, pipeline=pipeline, image=image: pipeline(image=image),
            ],
            3 * arguments.repeats,
        )
        ratios[size_name] = {"natural": ours, "albumentations": theirs, "ratio": ours / theirs}
    console = Console()
    console.print(table)
    for size_name, one in ratios.items():
        console.print(
            f"uint8 RGB, {size_name}: natural {one['natural']:.3f} ms, bare albumentations "
            f"{one['albumentations']:.3f} ms, ratio {one['ratio']:.2f}"
        )
    if arguments.out:
        result = {
            "command": "python benchmarks/views.py",
            "machine": f"{cpu_name()}, one thread",
            "versions": {"albumentations": A.__version__, "opencv": cv2.__version__}
            | {"numpy": np.__version__},
            "views": records,
            "natural_against_albumentations": ratios,
        }
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
