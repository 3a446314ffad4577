"""How often the intervals of units cover the truth: pooled, in parts, elsewhere, and differences.

Visits of 1 to 8 samples, patients of 1 to 4 visits who share half of the noise; three sites, of a
half, three tenths and a fifth of the patients. A fixed linear probe, so that the truth is known
from a hundred thousand patients. Elsewhere the class lies along another direction; the probe of its
own is compared with the one from home on the same patients. Of few shots there are five probes,
drawn around one.

    python benchmarks/units.py --trials 1000 --out benchmarks/results/units.json
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from domainjepa.data.metadata.targets import Target
from domainjepa.evaluation.probes.pooling import Bags, pooled_features
from domainjepa.evaluation.results.cells import Cell
from domainjepa.evaluation.results.scores import Answer, score
from domainjepa.evaluation.scoring import Asked, cell_of

METRICS = ("accuracy", "roc_auc")
WIDTH = 3
HOME, THERE = np.array([1.0, 0.0, 0.0]), np.array([0.6, 0.8, 0.0])
DRAWS, SPREAD = 5, 0.3
TARGET = Target("label", "classes", np.zeros(0, np.int64), np.zeros(0, bool), ("0", "1"), "")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """Visits of a population: pooled features, class, patient and site."""

    features: Array
    truth: NDArray[np.int64]
    patient: NDArray[np.int64]
    site: NDArray[np.int64]


def visits(rng: np.random.Generator, patients: int, axis: Array) -> Drawn:
    """Patients, their visits, the samples of these, averaged."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    sizes = rng.integers(1, 9, len(patient))
    unit = np.repeat(np.arange(len(patient)), sizes)
    label = rng.integers(0, 2, patients)[patient]
    site = rng.choice(3, patients, p=[0.5, 0.3, 0.2])[patient]
    shared = rng.normal(size=(patients, WIDTH))[patient]
    of_visit = 1.4 * label[:, None] * axis + 0.7 * shared + 0.5 * site[:, None] * axis
    samples = of_visit[unit] + rng.normal(size=(len(unit), WIDTH))
    starts = np.cumsum(sizes) - sizes
    bags = Bags(None, np.arange(len(unit)), starts, samples.astype(np.float32))  # type: ignore[arg-type]
    return Drawn(pooled_features(bags, "mean").astype(np.float64), label, patient, site)


def answer(drawn: Drawn, probe: Array) -> Answer:
    """What a linear probe says."""
    chance = expit(2 * (drawn.features @ probe - 0.9))
    return Answer((chance > 0.5).astype(np.int64), np.stack([1 - chance, chance], 1))


def asked(drawn: Drawn) -> Asked:
    return Asked(None, drawn.truth, drawn.patient)  # type: ignore[arg-type]


def truth_of(drawn: Drawn, probe: Array, chosen: NDArray[np.bool_] | None = None) -> Array:
    """The scores of a probe on a population."""
    at = np.flatnonzero(np.ones(len(drawn.truth), bool) if chosen is None else chosen)
    found = score("classes", METRICS, drawn.truth[at], answer(drawn, probe).of(at))
    return np.array([found[metric][0] for metric in METRICS])


def cell(drawn: Drawn, probes: list[Array], chosen: NDArray[np.int64] | None = None) -> Cell:
    """The scores of probes, as an evaluation takes them."""
    answers = [answer(drawn, probe) for probe in probes]
    return cell_of(TARGET, METRICS, asked(drawn), answers, 0, chosen)


def around(rng: np.random.Generator, number: int) -> list[Array]:
    """Probes of few shots."""
    return list(HOME + SPREAD * rng.normal(size=(number, WIDTH)))


def main(
    trials: int, patients: int, out: Path | None = None, population: int = 100_000
) -> dict[str, dict[str, float]]:
    """Name of what is scored -> metric -> share of the trials whose interval covers the truth."""
    rng = np.random.default_rng(0)
    here, there = (visits(rng, population, axis) for axis in (HOME, THERE))
    wide = np.mean([truth_of(here, probe) for probe in around(rng, 200)], axis=0)
    truths = {
        "all visits": truth_of(here, HOME),
        "part: half of the patients": truth_of(here, HOME, here.site == 0),
        "part: a fifth of the patients": truth_of(here, HOME, here.site == 2),
        "elsewhere": truth_of(there, HOME),
        "elsewhere - at home there": truth_of(there, HOME) - truth_of(there, THERE),
        "few shots, five draws": wide,
    }
    cells: dict[str, Callable[[Drawn, Drawn], Cell]] = {
        "all visits": lambda a, b: cell(a, [HOME]),
        "part: half of the patients": lambda a, b: cell(a, [HOME], np.flatnonzero(a.site == 0)),
        "part: a fifth of the patients": lambda a, b: cell(a, [HOME], np.flatnonzero(a.site == 2)),
        "elsewhere": lambda a, b: cell(b, [HOME]),
        "elsewhere - at home there": lambda a, b: cell(b, [HOME]) - cell(b, [THERE]),
        "few shots, five draws": lambda a, b: cell(a, around(rng, DRAWS)),
    }
    covered = {name: np.zeros((trials, len(METRICS))) for name in truths}
    for trial in range(trials):
        a, b = visits(rng, patients, HOME), visits(rng, patients, THERE)
        for name, make in cells.items():
            found = make(a, b)
            for place, metric in enumerate(METRICS):
                low, high, _ = found.interval(metric)
                covered[name][trial, place] = low <= truths[name][place] <= high
    shares = {
        name: dict(zip(METRICS, map(float, of.mean(axis=0)), strict=True))
        for name, of in covered.items()
    }
    if out is not None:
        machine = {"processor": platform.processor() or platform.machine(), "trials": trials}
        found = {**machine, "patients": patients, "covered": shares}
        out.write_text(json.dumps(found, indent=1) + "\n")
    return shares


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=80)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for name, of in main(given.trials, given.patients, given.out).items():
        print(name, of)  # noqa: T201
