"""How often the 95 % intervals of scores of masks cover the truth.

Every case has a quality of its own, every draw of training images another, and each pair of both a
rest; a Dice is their sum, cut to 0..1, its true mean known from a million of them. Cases are alone,
or patients of unequal numbers of images that share half of their variance; a second class is
missing in a third of the cases. Single scores and paired differences are counted.

    python benchmarks/coverage_masks.py --trials 500 --out benchmarks/results/coverage-masks.json
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa.evaluation.segmentation.cells import cell_of_masks

LEVELS = {"a good encoder": 0.88, "a poor one": 0.35}
CASE, DRAW, REST = 0.10, 0.03, 0.04
"""Standard deviations over cases, over draws of training images, and of what is left."""
MISSING = 1 / 3
"""Of the cases, those without the second class."""

Array = NDArray[np.float64]


def drawn(rng: np.random.Generator, level: float, draws: int, case: Array, shift: Array) -> Array:
    """(draws, cases, 2) Dice of two classes."""
    shape = (draws, len(case), 2)
    noise = REST * rng.normal(size=shape)
    values = level + CASE * case[None, :, None] + DRAW * shift[:, None, None] + noise
    return np.asarray(np.clip(values - [0.0, 0.1], 0, 1))


def of_cases(rng: np.random.Generator, groups: NDArray[np.int64] | None, cases: int) -> Array:
    """(cases,) normal; half of the variance is of the patient."""
    alone = rng.normal(size=cases)
    if groups is None:
        return alone
    return np.asarray((alone + rng.normal(size=groups.max() + 1)[groups]) / np.sqrt(2))


def patients(rng: np.random.Generator, cases: int) -> NDArray[np.int64]:
    """(cases,) of one to four images a patient."""
    return np.repeat(np.arange(cases), rng.integers(1, 5, cases))[:cases]


def covered(cases: int, draws: int, grouped: bool, trials: int) -> dict[str, float]:
    """Shares of trials in which the interval holds the truth."""
    rng = np.random.default_rng(cases * 1000 + draws * 2 + grouped)
    many = rng.normal(size=(3, 1_000_000))
    truth = {}
    for name, level in LEVELS.items():
        value = level + CASE * many[0] + DRAW * many[1] + REST * many[2]
        truth[name] = np.mean([np.clip(value - less, 0, 1).mean() for less in (0.0, 0.1)])
    good, poor = LEVELS
    hits = {**dict.fromkeys(LEVELS, 0), "their difference": 0}
    for _ in range(trials):
        groups = patients(rng, cases) if grouped else None
        case = of_cases(rng, groups, cases)
        shift = rng.normal(size=draws)
        absent = rng.random(cases) < MISSING
        cells = {}
        for name, level in LEVELS.items():
            scores = drawn(rng, level, draws, case, shift)
            scores[:, absent, 1] = np.nan
            cells[name] = cell_of_masks({"dice": scores}, ["a", "b"], groups, 0)
            low, high, _ = cells[name].interval("dice")
            hits[name] += low <= truth[name] <= high
        low, high, _ = (cells[good] - cells[poor]).interval("dice")
        hits["their difference"] += low <= truth[good] - truth[poor] <= high
    return {name: hit / trials for name, hit in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = []
    for cases, draws, grouped in [
        (5, 10, False), (10, 10, False), (35, 10, False), (35, 10, True), (100, 10, False),
    ]:  # fmt: skip
        found = covered(cases, draws, grouped, given.trials)
        rows.append({"cases": cases, "draws": draws, "patients": grouped, "covered": found})
        print(rows[-1], flush=True)  # noqa: T201
    if given.out:
        machine = {"python": platform.python_version(), "numpy": np.__version__}
        command = f"python benchmarks/coverage_masks.py --trials {given.trials}"
        told = {"command": command, "trials": given.trials, "rows": rows, "versions": machine}
        given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
