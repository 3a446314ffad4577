"""What views of related slices are worth where the truth is planted, and what nonsense looks like.

Simulated scans: all slices of a volume carry the faint stripes of its class, which run in one of
four directions, and each slice has strong stripes of any direction and bright and dark bodies of
its own. The same budget with views of one slice (`plain`), of neighbouring slices (`z:2`, with
crops placed together and freely), of all slices of the volume (`group`), and of samples that share
a number drawn at random (`random`), which is nonsense. All encoders and the untrained network are
scored on slices of other volumes.

    python benchmarks/related.py --runs runs/related --out benchmarks/results/related.json

Runs that are finished are not repeated.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from domainjepa import settings
from domainjepa.catalog import find
from domainjepa.data.opening import open_source
from domainjepa.encoder.artefact import FILE_NAME
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain

SLICES, SIDE, CLASSES = 8, 40, 4
TEXTURE, OWN, BODIES = 10, 30, 4
VARIANTS: dict[str, dict[str, str]] = {
    "plain": {},
    "z:2, together": {"views.related": "z:2"},
    "z:2, free": {"views.related": "z:2", "views.related_crops": "free"},
    "group": {"views.related": "group"},
    "random": {"views.related": "column:random"},
}


def stripes(draw: np.random.Generator, direction: float, period: float) -> NDArray[np.float64]:
    """(SIDE, SIDE) waves of amplitude 1 at any phase; directions are counted in classes."""
    y, x = np.mgrid[:SIDE, :SIDE]
    angle = np.pi * direction / CLASSES
    along = x * np.cos(angle) + y * np.sin(angle)
    return np.sin(2 * np.pi * along / period + draw.uniform(0, 2 * np.pi))


def simulate(volumes: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, D, H, W) scans and the classes of the volumes."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    scans = np.empty((volumes, SLICES, SIDE, SIDE), np.uint8)
    labels = np.arange(volumes) % CLASSES
    for volume, label in enumerate(labels.tolist()):
        for place in range(SLICES):
            image = 110 + draw.normal(0, 8, (SIDE, SIDE)) + TEXTURE * stripes(draw, label, 4)
            image += OWN * stripes(draw, draw.uniform(0, CLASSES), draw.uniform(6, 12))
            for _ in range(BODIES):
                left, top = draw.uniform(0, SIDE, 2)
                far = np.hypot(x - left, (y - top) * draw.uniform(0.6, 1.6))
                body = 1 / (1 + np.exp(far - draw.uniform(3, 8)))
                image += draw.choice([-1, 1]) * draw.uniform(20, 50) * body
            scans[volume, place] = np.clip(image, 0, 255)
    return scans, labels


def write(folder: Path, volumes: int) -> tuple[Path, Path]:
    """Two files of the same slices, a third of the volumes a test set: as volumes; and one by one,
    with a number at random that about eight slices share."""
    scans, labels = simulate(volumes)
    split = np.where(np.arange(volumes) // CLASSES % 3 == 2, b"test", b"train")
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "scans.h5", "w") as file:
        file.create_dataset("images", data=scans[..., None], chunks=(1, *scans.shape[1:], 1))
        file["labels"], file["split"] = labels, split
    with h5py.File(folder / "slices.h5", "w") as file:
        count = volumes * SLICES
        file.create_dataset(
            "images", data=scans.reshape(count, SIDE, SIDE, 1), chunks=(1, SIDE, SIDE, 1)
        )
        for name, of_volume in (("labels", labels), ("split", split)):
            file[name] = np.repeat(of_volume, SLICES)
        file["groups"] = np.repeat(np.arange(volumes), SLICES)
        file["random"] = np.random.default_rng(1).integers(0, count // 8, count)
    return folder / "scans.h5", folder / "slices.h5"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--volumes", type=int, default=150)
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    console = Console()
    scans, slices = write(asked.runs, asked.volumes)
    recipe = settings.read_recipe(find("recipes", "demo"))
    encoders, told = [], {}
    for name in asked.only:
        folder = asked.runs / name.replace(",", "").replace(":", "").replace(" ", "-")
        flags = {
            "data.path": str(slices if name == "random" else scans),
            "domain": "ct",
            "steps": asked.steps,
            "checkpoint.every_steps": asked.steps,
            **VARIANTS[name],
        }
        if not (folder / FILE_NAME).exists():
            config = settings.resolve(recipe, (), flags)
            pretrain(config, folder, console=console, resume=(folder / "config.toml").exists())
        encoders.append(FrozenEncoder(folder))
        last = read_metrics(folder / "metrics.jsonl")[-1]
        told[name] = {
            "effective_rank": round(last["effective_rank"], 1),
            "prediction": round(last["prediction"], 3),
            "said": re.findall(
                r"(?:a sibling is nearer|views\.related:)[^<]*",
                (folder / "report.html").read_text(),
            ),
        }
    protocol = read_protocol("few-shot").model_copy(update={"shots": (10, "all")})
    everyone = [*encoders, *baselines(["untrained"], encoders[:1])]
    source = open_source(scans)
    results = evaluate(everyone, source, [protocol], asked.runs / "evaluation", console=console)
    terminal.show(results, console)
    if asked.out:
        found = {
            "command": f"python {shlex.join(sys.argv)}",
            "machine": f"{torch.get_num_threads()} threads, torch {torch.__version__}",
            "steps": asked.steps,
            "variants": dict(zip(asked.only, (one.name for one in encoders), strict=True)),
            "told": told,
            "summary": [one for one in results.summary if one["metric"] == "accuracy"],
            "against": [one for one in results.differences if one["metric"] == "accuracy"],
        }
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
