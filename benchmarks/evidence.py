"""Pretraining on one's own images against a published encoder, set by set.

Pretrains by the recipe of a data set, on the rows of train and val, no label used; then probes with
1, 5, 10, 100 and all labels a class read out the encoder, the same network untrained, raw pixels,
and an ImageNet encoder (EfficientNet-Lite0) as its authors feed it, at 224 px. All see the same
labels in the same draws; tested once, on the official test rows where there are such. A set without
them is cross-validated: pretrained and probed anew for each fold, whose images pretraining does not
see; its intervals are Student's over the folds.

    python benchmarks/evidence.py frdeep --data DATA --weights tf_efficientnet_lite0.safetensors
    python benchmarks/evidence.py --tables

The first writes `results/evidence-SET.json`, and the report of the evaluation into
`runs/evidence/SET`; `all` stands for every set. What is there already is not made again: a run that
was stopped goes on, and its minutes are then those since it went on. The second prints the tables
of README and docs/evidence.md from the results. DATA is the folder that holds the files of `SETS`:
SDSS cut-outs with the labels of Galaxy Zoo 1 (Lintott et al. 2008, 2011) as HDF5 with `images`
uint8 (N, 64, 64, 3), `ans` and `split`; FITS cut-outs of MiraBest (Porter & Scaife 2023), named as
there; Flowers-102 and Food-101 in torchvision's folders, scaled to 112 and 64 px; the others as
their cards have them. The survey of the demo is simulated where it is not there.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from scipy import stats

from domainjepa import settings
from domainjepa.catalog import find
from domainjepa.config import PretrainConfig
from domainjepa.data.opening import open_configured
from domainjepa.data.sampling import key
from domainjepa.data.simulated.survey import simulate_survey
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain

RESULTS = Path(__file__).parent / "results"
MODEL = "tf_efficientnet_lite0"
OURS = "pretrained here"
RIVAL = f"timm:{MODEL}@224"
SHOTS = (1, 5, 10, 100, "all")
ROWS = {
    "pixels": "raw pixels",
    f"{OURS} untrained": "untrained network",
    RIVAL: "EfficientNet-Lite0 of ImageNet, 224 px",
    OURS: "pretrained here",
}
"""Encoders as the tables call them."""


class Set(NamedTuple):
    """A data set of the table.

    Attributes:
        title: for people.
        path: below the folder of data.
        recipe: of `recipes/`.
        more: settings over those of the recipe, by dotted name.
        folds: of a cross-validation, where there is no test split.
    """

    title: str
    path: str
    recipe: str
    more: Mapping[str, Any] = {}
    folds: int = 0


SETS = {
    "galaxyzoo1": Set("Galaxy Zoo 1, SDSS galaxies", "galaxyzoo1.h5", "galaxyzoo1"),
    "frdeep": Set("FR-DEEP, radio galaxies", "frdeep_first.npz", "radio"),
    "mirabest": Set(
        "MiraBest, 44 radio galaxies",
        "mirabest_fits",
        "radio",
        {"batch_size": 32, "steps": 100},
        folds=4,
    ),
    "simulated-survey": Set("simulated survey", "simulated-survey.h5", "demo"),
    "breastmnist": Set("BreastMNIST, ultrasound", "breastmnist.npz", "ultrasound"),
    "flowers102": Set("Flowers-102, photographs", "flowers102/flowers-102", "flowers102-cpu"),
    "food101_64": Set("Food-101, photographs", "food101_64/food-101", "food101-cpu"),
}


def measured(name: str, data: Path, weights: Path, folder: Path) -> dict[str, Any]:
    """The runs and evaluations of a set, each made where it is not there."""
    one, place = SETS[name], folder / name
    path = data / one.path
    if name == "simulated-survey" and not path.exists():
        path = place / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            simulate_survey(path, samples=6000)
    given = [
        ({"data.path": str(part), "data.root": str(path)}, place / f"fold-{fold}")
        for fold, part in enumerate(folds_of(path, place, one.folds))
    ] or [({"data.path": str(path)}, place)]
    runs = []
    for flags, inside in given:
        recipe = settings.read_recipe(find("recipes", one.recipe))
        config = settings.resolve(recipe, (), {**one.more, **flags})
        runs.append(run_of(config, weights, inside))
    last, command = runs[-1], f"python benchmarks/evidence.py {name}"
    return {
        "command": f"{command} --data DATA --weights {MODEL}.safetensors",
        "machine": f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "minutes_of_pretraining": round(sum(run["minutes"] for run in runs), 1),
        "pretrained_on": last["rows"],
        "tested_on": sum(run["tested"] for run in runs),
        "config": last["config"],
        "last_metrics": last["last_metrics"],
        **(over_folds(runs) if one.folds else {k: last[k] for k in ("summary", "differences")}),
    }


def run_of(config: PretrainConfig, weights: Path, folder: Path) -> dict[str, Any]:
    """One run and its evaluation."""
    console = Console()
    run, scores, minutes = folder / "run", folder / "evaluation", folder / "minutes.txt"
    if not minutes.exists():
        started = time.perf_counter()
        pretrain(config, run, resume=(run / "config.toml").exists(), console=console)
        minutes.write_text(f"{(time.perf_counter() - started) / 60:.1f}")
    encoder, source = FrozenEncoder(run), open_configured(config.opening())
    if not (scores / "results.json").exists():
        results = evaluate(
            [encoder.called(OURS)],
            source,
            [read_protocol("few-shot").model_copy(update={"shots": SHOTS})],
            scores,
            baselines=[
                *baselines(["untrained", "pixels"], [encoder.called(OURS)]),
                *baselines([f"{RIVAL}={weights}"], []),
            ],
            cache=folder / "features",
            console=console,
        )
        terminal.show(results, console)
    found = json.loads((scores / "results.json").read_text())
    return {
        "minutes": float(minutes.read_text()),
        "rows": len(source.rows("train")) + len(source.rows("val")),
        "tested": len(source.rows("test", labelled=True)),
        "config": encoder.card.config,
        "last_metrics": read_metrics(run / "metrics.jsonl")[-1],
        "summary": found["summary"],
        "differences": found["differences"],
    }


def folds_of(cutouts: Path, folder: Path, folds: int) -> Iterator[Path]:
    """Tables of MiraBest's files, FR I and FR II, one a fold: its test rows, balanced by class."""
    files = (
        [one.name for one in sorted(cutouts.glob("*.fits")) if one.name[0] in "12"] if folds else []
    )
    order = np.random.default_rng(key(0, "folds")).permutation(len(files))
    ranked = sorted(range(len(files)), key=lambda row: (files[row][0], order[row]))
    fold_of = {row: place % folds for place, row in enumerate(ranked)}
    for fold in range(folds):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"fold-{fold}.csv"
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "label", "split"])
            for row, name in enumerate(files):
                kind = "FR I" if name[0] == "1" else "FR II"
                table.writerow([name, kind, "test" if fold_of[row] == fold else "train"])
        yield path


def over_folds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over folds, and Student's 95 % interval of them.

    Folds share training images, so that the interval is a little too narrow (Nadeau & Bengio 2003).
    """
    joined: dict[str, Any] = {}
    for kind, of in (("summary", ("encoder",)), ("differences", ("encoder", "versus"))):
        same = (*of, "protocol", "shots", "metric", "label")
        cells: dict[tuple[Any, ...], list[float]] = {}
        for run in runs:
            for row in run[kind]:
                cells.setdefault(tuple(row.get(name) for name in same), []).append(row["mean"])
        joined[kind] = [
            {
                **{
                    name: value for name, value in zip(same, cell, strict=True) if value is not None
                },
                **interval(np.array(means), least=0.0 if kind == "summary" else -1.0),
            }
            for cell, means in cells.items()
            if len(means) == len(runs)
        ]
    return joined


def interval(means: np.ndarray[Any, Any], least: float) -> dict[str, Any]:
    """Of the folds' means, within what a share, or a difference of shares, can be."""
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return {
        "mean": float(means.mean()),
        "low": float(max(means.mean() - half, least)),
        "high": float(min(means.mean() + half, 1.0)),
        "interval": f"95 %, Student's t over {len(means)} folds",
    }


def cpu_name() -> str:
    """The processor as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def tables() -> Iterator[str]:
    """Lines of Markdown: the short table, then one a set."""
    found = {
        name: json.loads(path.read_text())
        for name in SETS
        if (path := RESULTS / f"evidence-{name}.json").exists()
    }
    names = [f"{shots} a class" if shots != "all" else "all labels" for shots in SHOTS]
    yield f"| pretrained here / ImageNet, % | minutes | {' | '.join(names)} |"
    yield "| --- | --- |" + " --- |" * len(SHOTS)
    for name, told in found.items():
        cells = [_short(told, shots) for shots in SHOTS]
        yield f"| {SETS[name].title} | {told['minutes_of_pretraining']:.0f} | {' | '.join(cells)} |"
    for name, told in found.items():
        yield f"\n## {SETS[name].title}\n"
        yield f"`{told['command']}`: {told['machine']}.\n"
        yield f"| accuracy, % | {' | '.join(names)} |"
        yield "| --- |" + " --- |" * len(SHOTS)
        for encoder, row in ROWS.items():
            cells = [_cell(_row(told["summary"], encoder, shots)) for shots in SHOTS]
            yield f"| {row} | {' | '.join(cells)} |"
        cells = [_cell(_difference(told, shots), signed=True) for shots in SHOTS]
        yield f"| pretrained here - ImageNet, paired | {' | '.join(cells)} |"


def _row(rows: Sequence[Mapping[str, Any]], encoder: str, shots: int | str) -> Mapping[str, Any]:
    """The accuracy of a cell; nothing where it was not measured."""
    asked = {"encoder": encoder, "shots": shots, "metric": "accuracy"}
    return next((row for row in rows if asked.items() <= row.items() and "label" not in row), {})


def _difference(told: Mapping[str, Any], shots: int | str) -> Mapping[str, Any]:
    against = [row for row in told["differences"] if row["versus"] == RIVAL]
    return _row(against, OURS, shots)


def _cell(row: Mapping[str, Any], signed: bool = False) -> str:
    if not row:
        return "–"
    mean, low, high = (100 * row[name] for name in ("mean", "low", "high"))
    return (
        f"{mean:+.1f} [{low:.1f}, {high:.1f}]" if signed else f"{mean:.1f} [{low:.1f}, {high:.1f}]"
    )


def _short(told: Mapping[str, Any], shots: int | str) -> str:
    """Both means; bold what is better beyond the interval of the paired difference."""
    ours, theirs = (_row(told["summary"], name, shots) for name in (OURS, RIVAL))
    if not ours or not theirs:
        return "–"
    texts = [f"{100 * row['mean']:.1f}" for row in (ours, theirs)]
    difference = _difference(told, shots)
    if difference["low"] > 0:
        texts[0] = f"**{texts[0]}**"
    elif difference["high"] < 0:
        texts[1] = f"**{texts[1]}**"
    return " / ".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("set", nargs="*", choices=[*SETS, "all", []])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path, help=f"{MODEL}.safetensors")
    parser.add_argument("--folder", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--tables", action="store_true")
    asked = parser.parse_args()
    if asked.set and not (asked.data and asked.weights):
        parser.error("sets need --data and --weights")
    for name in SETS if "all" in asked.set else asked.set:
        found = measured(name, asked.data, asked.weights, asked.folder)
        (RESULTS / f"evidence-{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    if asked.tables:
        sys.stdout.write("\n".join(tables()) + "\n")


if __name__ == "__main__":
    main()
