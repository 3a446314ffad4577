"""What views of neighbouring slices are worth on real scans, against views of one slice.

    python benchmarks/related_real.py hippocampus --data hippocampus_msd --runs runs/related \\
        --out benchmarks/results/related-hippocampus.json
    python benchmarks/related_real.py head --data dicom_t1w --runs runs/related \\
        --out benchmarks/results/related-head.json

The same budget with and without `views.related`, paired by seed, and the untrained network. Frozen
features of slices are read by ridge regressions: where a slice lies along the axis, in mm from the
middle of its volume; and, where there are masks, how many pixels of the slice each structure has.
Hippocampi: a fifth of the volumes is never seen by the encoders and is what is scored, from 10 of
the other volumes (ten draws) and from all. The head is one volume, so blocks of eight slices take
turns in being held out, and the encoder has seen them. Intervals are of 2,000 draws of units: the
held-out volumes, the blocks. Runs that are finished are not repeated.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from domainjepa import settings
from domainjepa.catalog import find
from domainjepa.data.opening import open_source
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.encoder.artefact import FILE_NAME
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import untrained
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain

Floats = NDArray[np.float64]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]

CASES: dict[str, dict[str, Any]] = {
    "hippocampus": {"views.global_size": 32, "batch_size": 32},
    "head": {"views.global_size": 48, "batch_size": 32},
}
RELATED = {"hippocampus": "z:3mm", "head": "z:8mm"}
"""Three slices to either side."""
BLOCK, FEW, DRAWS, RESAMPLED = 8, 10, 10, 2000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--volumes", type=int, default=10_000, help="to learn from, at most")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    data, held = asked.data, None
    if asked.case == "hippocampus":
        data, held = parted(asked.data, asked.runs / "volumes", asked.volumes)
    encoders = {
        (kind, seed): trained(asked, data, kind, seed)
        for seed in range(asked.seeds)
        for kind in ("plain", "related")
    }
    for seed in range(asked.seeds):
        encoders["untrained", seed] = untrained([encoders["plain", seed]])[0]
    records, differences = scored(encoders, data, held, asked.seeds)
    show(records, differences)
    if asked.out:
        last = {
            f"{kind}, seed {seed}": read_metrics(folder(asked, kind, seed) / "metrics.jsonl")[-1]
            for kind, seed in encoders
            if kind != "untrained"
        }
        found = {
            "command": f"python {shlex.join(sys.argv)}",
            "machine": f"one core, shared with other work; torch {torch.__version__}",
            "related": RELATED[asked.case],
            "steps": asked.steps,
            "seeds": asked.seeds,
            "effective_rank": {name: round(one["effective_rank"], 1) for name, one in last.items()},
            "scores": records,
            "related_against_plain": differences,
        }
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


def parted(data: Path, out: Path, most: int) -> tuple[Path, Path]:
    """Copies of the volumes and their masks: a fifth is held out, of the others so many are to
    learn from at most."""
    names = sorted(path.name for path in (data / "imagesTr").glob("*.nii.gz"))
    order = np.random.default_rng(key("hold out")).permutation(len(names))
    for place, index in enumerate(order[: len(names) // 5 + most].tolist()):
        for kind in ("imagesTr", "labelsTr"):
            folder = out / ("held" if place < len(names) // 5 else "learnt") / kind
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / names[index]).exists():
                shutil.copy(data / kind / names[index], folder)
    return out / "learnt", out / "held"


def folder(asked: argparse.Namespace, kind: str, seed: int) -> Path:
    return Path(asked.runs / f"{asked.case}-{kind}-{seed}")


def trained(asked: argparse.Namespace, data: Path, kind: str, seed: int) -> FrozenEncoder:
    """An encoder of one budget, by the demo's recipe: two global views."""
    out = folder(asked, kind, seed)
    flags: dict[str, Any] = {
        "data.path": str(data),
        "data.dimensions": 2,
        "data.workers": 0,
        "domain": "mri",
        "log.shortcuts": False,
        "seed": seed,
        "steps": asked.steps,
        **CASES[asked.case],
    }
    if kind == "related":
        flags["views.related"] = RELATED[asked.case]
    if not (out / FILE_NAME).exists():
        recipe = settings.read_recipe(find("recipes", "demo"))
        config = settings.resolve(recipe, (), flags)
        pretrain(config, out, console=Console(), resume=(out / "config.toml").exists())
    return FrozenEncoder(out)


def targets_of(source: Source) -> dict[str, Floats]:
    """Of every slice: its place in mm, and the pixels of each structure where there are masks."""
    assert source.stack is not None
    volume, _, along = source.stack.T
    middle = [np.ptp(along[volume == one]) / 2 + along[volume == one].min() for one in volume]
    found = {"position": along - np.array(middle)}
    if source.masks is not None:
        of_slices = [np.asarray(source.masks[row]) for row in range(len(source))]
        for value, name in ((1, "anterior"), (2, "posterior")):
            found[name] = np.array([float((mask == value).sum()) for mask in of_slices])
    return found


def volumes_of(source: Source) -> NDArray[np.int64]:
    """The volume that each slice is of."""
    assert source.stack is not None
    return source.stack[:, 0].astype(np.int64)


def predicted(
    features: Floats, values: Floats, folds: list[Fold], scored_features: Floats
) -> Floats:
    """(N,) predictions by ridge regressions, each row's by those that did not learn from it."""
    out = np.full(len(scored_features), np.nan)
    for learn, tell in folds:
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
        model.fit(features[learn], values[learn])
        out[tell] = model.predict(scored_features[tell])
    return out


def folds_of(source: Source, held: Source | None) -> dict[str, list[list[Fold]]]:
    """Name of a budget of labels -> draws of it, each a list of folds."""
    if held is None:
        block = np.arange(len(source)) // BLOCK
        turns = [(np.flatnonzero(block != one), np.flatnonzero(block == one)) for one in set(block)]
        return {"other blocks": [turns]}
    every = np.arange(len(held))
    of = volumes_of(source)
    volumes = np.unique(of)
    few = []
    for draw in range(DRAWS):
        chosen = np.random.default_rng(key("few", draw)).permutation(volumes)[:FEW]
        few.append([(np.flatnonzero(np.isin(of, chosen)), every)])
    return {f"{FEW} volumes": few, "all volumes": [[(np.arange(len(source)), every)]]}


def scored(
    encoders: dict[tuple[str, int], Any], data: Path, held_data: Path | None, seeds: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """R2 of every kind and target, the mean over seeds and draws of labels, and how much more the
    related views give, with intervals over units."""
    source = open_source(data, dimensions=2)
    held = open_source(held_data, dimensions=2) if held_data else None
    score = held or source
    units = volumes_of(score) if held else np.arange(len(source)) // BLOCK
    known, truth = targets_of(source), targets_of(score)
    errors: dict[tuple[str, str, str], list[Floats]] = {}
    for (kind, _), encoder in encoders.items():
        features = np.asarray(encoder.transform(source), np.float64)
        told = features if held is None else np.asarray(encoder.transform(held), np.float64)
        for labels, draws in folds_of(source, held).items():
            for target, values in known.items():
                every = [predicted(features, values, folds, told) for folds in draws]
                off = np.mean([(one - truth[target]) ** 2 for one in every], axis=0)
                errors.setdefault((kind, target, labels), []).append(off)
    draw = np.random.default_rng(key("units"))
    names = np.unique(units)
    resampled = [draw.choice(names, len(names)) for _ in range(RESAMPLED)]
    weights = np.stack([np.bincount(one, minlength=names.max() + 1)[units] for one in resampled])
    weights = np.concatenate([np.ones((1, len(units))), weights])

    def r2(kind: str, target: str, labels: str) -> Floats:
        """(1 + RESAMPLED,) of the units as they are, and of each draw of them."""
        value = truth[target]
        mean = (weights @ value) / weights.sum(1)
        spread = weights @ value**2 - weights.sum(1) * mean**2
        return np.asarray(1 - weights @ np.mean(errors[kind, target, labels], axis=0) / spread)

    def told_of(found: Floats) -> dict[str, float]:
        low, high = np.percentile(found[1:], (2.5, 97.5))
        return {"mean": float(found[0]), "low": float(low), "high": float(high)}

    records, differences = [], []
    for kind, target, labels in errors:
        what = {"target": target, "labels": labels}
        records.append({"views": kind, **what, "metric": "R2", **told_of(r2(kind, target, labels))})
        if kind == "related":
            more = r2("related", target, labels) - r2("plain", target, labels)
            differences.append({**what, "metric": "R2", **told_of(more)})
            apart = [
                float(1 - np.sum(one) / np.sum((truth[target] - truth[target].mean()) ** 2))
                for one in errors["related", target, labels] + errors["plain", target, labels]
            ]
            differences[-1]["by_seed"] = [apart[s] - apart[seeds + s] for s in range(seeds)]
    return records, differences


def show(records: list[dict[str, Any]], differences: list[dict[str, Any]]) -> None:
    table = Table("target", "labels", "views", "R2", "95 % interval")
    for one in [*records, *({"views": "related - plain", **one} for one in differences)]:
        interval = f"[{one['low']:.3f}, {one['high']:.3f}]"
        table.add_row(one["target"], one["labels"], one["views"], f"{one['mean']:.3f}", interval)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
