"""How often the 95 % intervals of an evaluation cover the truth, metric by metric.

Answers are drawn from a known distribution, so that the true score is known from a million samples
(of a label, of four grades, of numbers, of redshifts with outliers); samples are alone, or in
groups of unequal size whose members share half of their noise. Beside the share of trials that the
interval covers stands that of the bootstrap's percentiles, which it replaced.

    python benchmarks/coverage.py --trials 1000 --out benchmarks/results/coverage.json
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import norm

from domainjepa.data.metadata.targets import Kind, Target
from domainjepa.evaluation.metrics import Answer
from domainjepa.evaluation.results import cells
from domainjepa.evaluation.results.cells import Cell, cell_of_answers
from domainjepa.evaluation.results.intervals import over_resamples
from domainjepa.evaluation.results.scores import score_each

Groups = NDArray[np.int64] | None
Drawn = tuple[NDArray[Any], Answer]
RARE = 3
"""The grade that a twentieth of the samples has."""
EVERY = {
    "label": ["roc_auc", "average_precision", "sensitivity_at_90_specificity", "macro_f1"],
    "grades": ["accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "quadratic_kappa"],
    "numbers": ["r2", "mae", "rmse"],
    "redshifts": ["rmse", "scatter", "outliers", "bias"],
}


def noise(rng: np.random.Generator, samples: int, groups: Groups) -> NDArray[np.float64]:
    """Normal; half of the variance is of the group."""
    alone = rng.normal(size=samples)
    if groups is None:
        return alone
    shared = rng.normal(size=groups.max() + 1)[groups]
    return np.asarray((alone + shared) / np.sqrt(2))


def label(rng: np.random.Generator, samples: int, groups: Groups) -> Drawn:
    """A label of 30 %, a standard deviation and a half apart."""
    truth = (rng.random((samples, 1)) < 0.3).astype(np.int64)
    chance = norm.cdf(noise(rng, samples, groups)[:, None] + 1.5 * (truth - 0.5))
    return truth, Answer((chance > 0.5).astype(np.int64), chance)


def grades(rng: np.random.Generator, samples: int, groups: Groups) -> Drawn:
    """Four grades, the last one rare."""
    truth = rng.choice(4, samples, p=[0.5, 0.3, 0.15, 0.05])
    seen = truth + 0.7 * noise(rng, samples, groups)
    chance = softmax(-2 * (seen[:, None] - np.arange(4)) ** 2, axis=1)
    return truth, Answer(chance.argmax(axis=1), chance)


def redshifts(rng: np.random.Generator, samples: int, groups: Groups) -> Drawn:
    """Up to 1.5, with a scatter of 0.05 and one in twenty that is three times as far off."""
    truth = rng.uniform(0, 1.5, samples)
    far = np.where(rng.random(samples) < 0.05, 3.0, 1.0)
    return truth, Answer(truth + 0.05 * far * noise(rng, samples, groups) * (1 + truth))


def numbers(rng: np.random.Generator, samples: int, groups: Groups) -> Drawn:
    """A tenth of their variance is not told."""
    truth = rng.normal(size=samples)
    return truth, Answer(truth + np.sqrt(0.1) * noise(rng, samples, groups))


KINDS: dict[str, tuple[Kind, Callable[[np.random.Generator, int, Groups], Drawn]]] = {
    "label": ("multi-label", label),
    "grades": ("classes", grades),
    "numbers": ("numbers", numbers),
    "redshifts": ("numbers", redshifts),
}


def target_of(name: str) -> Target:
    classes = {"label": ("label",), "grades": ("0", "1", "2", "3")}.get(name, ())
    values = np.zeros((1, 1) if name == "label" else 1)
    return Target(name, KINDS[name][0], values, np.ones(1, bool), classes, "")


def truths(name: str) -> dict[str, float]:
    """Every score on a million samples, also of the rare grade alone."""
    kind, draw = KINDS[name]
    whole, each = score_each(kind, EVERY[name], *draw(np.random.default_rng(7), 1_000_000, None))
    found = {metric: float(value[0]) for metric, value in whole.items()}
    if name == "grades":
        found |= {f"{metric} of one": float(rows[RARE, 0]) for metric, rows in each.items()}
    return found


def parts_of(cell: Cell, name: str) -> dict[str, tuple[Cell, str]]:
    """What is to be covered -> its cell and its name there."""
    found = {metric: (cell, metric) for metric in EVERY[name]}
    if name == "grades" and str(RARE) in cell.each:
        rare = cell.each[str(RARE)]
        names = {"balanced_accuracy": "recall", "macro_f1": "f1", "macro_precision": "precision"}
        found |= {f"{metric} of one": (rare, of_one) for metric, of_one in names.items()}
    return found


def coverage(name: str, samples: int, patients: int | None, trials: int) -> dict[str, Any]:
    """Metric -> the share of trials covered, by our interval and by percentiles."""
    true, target = truths(name), target_of(name)
    hits: dict[str, list[tuple[bool, bool]]] = {metric: [] for metric in true}
    of_each = [m for m in EVERY[name] if m.startswith(("balanced", "macro"))]
    for trial in range(trials):
        rng = np.random.default_rng([trial, samples])
        groups: Groups = None
        if patients:
            sizes = rng.integers(1, 2 * samples // patients, patients)
            groups = np.repeat(np.arange(patients), sizes)
        number = samples if groups is None else len(groups)
        truth, answer = KINDS[name][1](rng, number, groups)
        if name == "label" and not 2 <= truth.sum() <= number - 2:
            continue
        cell = cell_of_answers(
            target, EVERY[name], truth, groups, [answer], trial, of_each if name == "grades" else ()
        )
        for metric, (part, inside) in parts_of(cell, name).items():
            low, high, _ = part.interval(inside)
            below, above = over_resamples(part.resampled[inside][0])
            hits[metric].append((low <= true[metric] <= high, below <= true[metric] <= above))
    return {
        metric: dict(
            zip(("covered", "percentiles"), np.round(np.mean(found, axis=0), 3), strict=True)
        )
        for metric, found in hits.items()
        if found
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    cells.RESAMPLES = 300  # a third of what an evaluation draws
    found = {}
    for name in KINDS:
        for samples, patients in ((30, None), (100, None), (400, None), (300, 60), (300, 25)):
            where = f"{samples} samples" + (f" in {patients} groups" if patients else "")
            found[f"{name}, {where}"] = coverage(name, samples, patients, chosen.trials)
            print(name, where, found[f"{name}, {where}"], flush=True)  # noqa: T201
    said = {
        "command": f"python benchmarks/coverage.py --trials {chosen.trials}",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "nominal": 0.95,
        "coverage": found,
    }
    if chosen.out:
        chosen.out.write_text(json.dumps(said, indent=2, default=float) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
