"""What is planted, is it found? Rare samples, wrong labels, samples that are alike, labels to come.

Data with a class of each sample, seen by a pretrained encoder, its untrained twin and raw pixels:

- alike: the share of the 20 nearest that are of a sample's class, the mean over classes, for plain
  features and for whitened ones by several ridges;
- rare: all of a rare class are taken out but 0.5 % of what is left. How many of them are among the
  50 oddest, by each measure, as a share of what is possible; the mean over draws;
- foreign: the same with samples of other data;
- wrong: 5 % of the labels become another class. How many of these are among the 5 % most doubtful,
  and recall and precision of those that are suspected;
- next: labels for a probe, drawn at random, by typicality, or by the margin: its accuracy on a
  third of the samples, from which no label is drawn.

    python benchmarks/discovery.py RUN --data galaxyzoo1.h5 --rare merger \\
        --foreign food101_64 --out benchmarks/results/discovery-galaxyzoo1.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from rich.console import Console
from sklearn.pipeline import Pipeline

from domainjepa.data.opening import open_source
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.discovery import space as spaces
from domainjepa.discovery.labelling import Known, cross_validated, fitted, suspects, typical, unsure
from domainjepa.discovery.neighbours import neighbours_of_all
from domainjepa.discovery.odd import oddest
from domainjepa.discovery.outlyingness import (
    distance_to_kth,
    isolation,
    local_outlier_factor,
)
from domainjepa.discovery.space import Space, space_of
from domainjepa.embed.blocks import Blocks, Features
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import Pixels
from domainjepa.evaluation.encoders.features import features_of

SHARE, FLIPPED, TOP = 0.005, 0.05, 50
NEIGHBOURS = (5, 20, 50, 100)
RIDGES = (0.0, 0.01, 0.1, 1.0)
BUDGETS = (20, 40, 80)
Labels = NDArray[np.int64]


def ridged(ridge: float, features: Features) -> Space:
    """The whitened space with another ridge."""
    kept, spaces.RIDGE = spaces.RIDGE, ridge
    try:
        return space_of("whitened", Blocks(features))
    finally:
        spaces.RIDGE = kept


def alike(features: Features, labels: Labels) -> dict[str, float]:
    """Percent of the 20 nearest that are of the same class, the mean over classes."""
    found = {}
    named: dict[str, Space] = {"plain": Space()}
    named |= {f"whitened, ridge {one:g}": ridged(one, features) for one in RIDGES}
    for name, space in named.items():
        where, _ = neighbours_of_all(Blocks(features), space, 20)
        same = (labels[where] == labels[:, None]).mean(axis=1)
        found[name] = 100 * np.mean([same[labels == one].mean() for one in np.unique(labels)])
    return {name: round(float(value), 1) for name, value in found.items()}


def rare(common: Features, pool: Features, draws: int) -> dict[str, Any]:
    """Percent of the planted samples among the 50 oddest, of as many as could be there.

    Args:
        common: (N, D).
        pool: (n, D) of which some are planted.
    """
    count = min(round(SHARE * len(common) / (1 - SHARE)), len(pool))
    truth = np.arange(len(common) + count) >= len(common)
    found: dict[str, list[float]] = {}
    for draw in range(draws):
        order = np.random.default_rng(key("discovery", "rare", draw))
        seen = np.concatenate([common, pool[order.permutation(len(pool))[:count]]])
        for name, space in (("plain", Space()), ("whitened", space_of("whitened", Blocks(seen)))):
            where, cosines = neighbours_of_all(Blocks(seen), space, max(NEIGHBOURS))
            scores = {}
            for k in NEIGHBOURS:
                near = where[:, :k], cosines[:, :k]
                scores[f"knn, k {k}"] = distance_to_kth(near)
                scores[f"density, k {k}"] = local_outlier_factor(near)
            scores["forest"] = isolation(Blocks(seen), space)
            for measure, one in scores.items():
                hits = truth[oddest(one, TOP)].sum()
                of = found.setdefault(f"{measure}, {name}", [])
                of.append(100 * hits / min(count, TOP))
    by_chance = 100 * TOP / len(truth)
    told = {name: round(float(np.mean(one)), 1) for name, one in found.items()}
    return {"planted": count, "draws": draws, "by chance": round(by_chance, 1), **told}


def wrong(features: Features, labels: Labels, draws: int) -> dict[str, float]:
    """Percent of the wrong labels that are found."""
    classes = int(labels.max()) + 1
    found: dict[str, list[float]] = {}
    for draw in range(draws):
        order = np.random.default_rng(key("discovery", "wrong", draw))
        planted = order.permutation(len(labels))[: round(FLIPPED * len(labels))]
        given = labels.copy()
        given[planted] = (given[planted] + order.integers(1, classes, len(planted))) % classes
        chance = cross_validated(features, Known(given, tuple(map(str, range(classes)))))
        assert chance is not None
        of = suspects(chance, given)
        truth = np.isin(of.order, planted)
        told = {
            "recall among the 5 % most doubtful": truth[: len(planted)].mean(),
            "recall of those suspected": truth[: of.suspected].sum() / len(planted),
            "precision of those suspected": truth[: of.suspected].mean(),
            "share suspected": of.suspected / len(labels),
        }
        for name, value in told.items():
            found.setdefault(name, []).append(100 * float(value))
    return {name: round(float(np.mean(one)), 1) for name, one in found.items()}


class Pool:
    """Two thirds of the samples, of which labels can be asked for; the others test."""

    def __init__(self, features: Features, labels: Labels, draw: int) -> None:
        order = np.random.default_rng(key("discovery", "next", draw)).permutation(len(labels))
        self.test, self.rows = order[: len(order) // 3], np.sort(order[len(order) // 3 :])
        self.features, self.labels = features, labels
        self.seen, self.unit = features[self.rows], Space()(features[self.rows])
        random = np.random.default_rng(key("discovery", "random", draw))
        self.order = random.permutation(len(self.rows))
        self.names = tuple(map(str, range(int(labels.max()) + 1)))

    def probe(self, known: Labels) -> Pipeline:
        """Of these labels."""
        labels = np.full(len(self.rows), -1)
        labels[known] = self.labels[self.rows[known]]
        return fitted(self.seen, Known(labels, self.names))

    def next(self, how: str, known: Labels, more: int) -> Labels:
        """Whose labels to ask for."""
        if how == "typicality":
            return typical(self.unit, known, more)
        if how == "margin" and len(np.unique(self.labels[self.rows[known]])) > 1:
            free = np.setdiff1d(np.arange(len(self.rows)), known)
            return unsure(self.probe(known), self.seen, free, more)
        return self.order[~np.isin(self.order, known)][:more]

    def accuracy(self, known: Labels) -> float:
        """Percent, the mean over classes."""
        truth = self.labels[self.test]
        right = self.probe(known).predict(self.features[self.test]) == truth
        return 100 * float(np.mean([right[truth == one].mean() for one in np.unique(truth)]))


def following(features: Features, labels: Labels, draws: int) -> dict[str, dict[str, float]]:
    """Accuracy in percent, the mean over classes, of a probe of so many labels."""
    found: dict[str, dict[str, list[float]]] = {}
    for draw in range(draws):
        pool = Pool(features, labels, draw)
        for how in ("random", "typicality", "margin"):
            known = np.zeros(0, np.int64)
            for budget in BUDGETS:
                known = np.concatenate([known, pool.next(how, known, budget - len(known))])
                of = found.setdefault(how, {}).setdefault(f"{budget} labels", [])
                of.append(pool.accuracy(known))
    return {
        name: {budget: round(float(np.mean(one)), 1) for budget, one in of.items()}
        for name, of in found.items()
    }


def some(source: Source) -> Labels:
    """100 rows of other data."""
    order = np.random.default_rng(key("discovery", "foreign")).permutation(len(source))
    return np.sort(order[:100])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--data", required=True)
    parser.add_argument("--rare", required=True, help="name of the class to plant")
    parser.add_argument("--foreign", help="other data, of which samples are planted, too")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    source, console = open_source(asked.data), Console(stderr=True)
    if source.labels is None or source.classes is None:
        parser.error("the data have no classes")
    rows = source.rows(labelled=True)
    labels = source.labels[rows]
    encoder = FrozenEncoder(asked.run)
    foreign = open_source(asked.foreign) if asked.foreign else None
    results = {}
    for one, name in (
        (encoder, "pretrained"),
        (encoder.untrained(), "untrained"),
        (Pixels(), "pixels"),
    ):
        features = features_of(one, source, rows, console=console)
        kind = labels == source.classes.index(asked.rare)
        results[name] = {
            "alike": alike(features, labels),
            "rare": rare(features[~kind], features[kind], asked.draws),
            "wrong": wrong(features, labels, asked.draws),
            "next": following(features, labels, asked.draws),
        }
        if foreign is not None:
            pool = features_of(one, foreign, some(foreign), console=console)
            results[name]["foreign"] = rare(features, pool, asked.draws)
        console.print_json(json.dumps({name: results[name]}))
    told = {
        "command": shlex.join(["python", *(Path(word).name for word in sys.argv)]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} used",
        "versions": {"numpy": np.__version__, "sklearn": sklearn.__version__},
        "samples": len(rows),
        "rare": asked.rare,
        "percent": results,
    }
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
