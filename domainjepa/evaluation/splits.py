"""Which labels train a probe, which test it: the same for every encoder, and never both.

Everything is keyed by (seed, purpose, shots, draw) and nothing but labels and groups is looked at,
so that encoders are compared over the very same draws.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from domainjepa.data.metadata.targets import OF_EACH, Target
from domainjepa.data.sampling import key
from domainjepa.errors import DataError

Rows = NDArray[np.int64]
Shots = int | Literal["all"]
Fold = tuple[Rows, Rows]

TEST_PARTS = 5
"""Without a split of its own, a fifth of the data becomes the test set."""
TUNING_FOLDS = 3
MANY = 3000
"""Labels from which one fold is enough: a thousand samples to validate on tell penalties apart, and
three folds would take most of an evaluation's time."""


@dataclass(frozen=True)
class Split:
    """What trains probes, and what tests them: samples, or units of them.

    Attributes:
        train, test: ascending positions, no group in both.
        decisions, warnings: readable lines on how it came about.
    """

    train: Rows
    test: Rows
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _folds(
    labels: Rows, groups: Rows | None, parts: int, seed: int
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(
        parts, shuffle=True, random_state=seed % 2**32
    )
    with warnings.catch_warnings():
        # A class smaller than the folds is spread as far as it goes; the report names it.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(np.zeros((len(labels), 1)), labels, groups))


class Divisible(Protocol):
    """What can be divided into training and test: the samples of a source, or units of them."""

    @property
    def name(self) -> str: ...
    @property
    def groups(self) -> Rows | None: ...
    @property
    def split(self) -> NDArray[np.str_] | None: ...


def train_test(source: Divisible, target: Target, seed: int) -> Split:
    """The source's own split; else a keyed one, stratified, that keeps groups whole.

    What the target does not know takes no part.

    Raises:
        DataError: one class or value only, or too few samples or groups to hold a test set out.
    """
    known = np.flatnonzero(target.known)
    own = None if source.split is None else source.split[known]
    if own is not None and "train" in own and np.isin(own, ("test", "val")).any():
        held_out = "test" if "test" in own else "val"
        train, test = known[own == "train"], known[own == held_out]
        decision = f"the source's split: labels of train ({len(train)}), scores on {held_out}"
        if held_out == "val":
            decision += "; there is no test split, and pretraining has seen the images of val"
    else:
        groups = None if source.groups is None else source.groups[known]
        parts = _hold_out(source, target, target.strata(target.values[known]), groups, seed)
        train, test = (known[part] for part in parts)
        whole = "" if groups is None else ", groups kept whole"
        decision = (
            f"no split in the source to test on: 1/{TEST_PARTS} held out, stratified{whole}, seed "
            f"{seed}; {len(train)} labels to train on. Pretraining may have seen the test images, "
            "never their labels; scores on the test"
        )
    said: list[str] = []
    if source.groups is not None:
        shared = np.isin(source.groups[train], source.groups[test])
        if shared.any():
            train = train[~shared]
            said.append(
                f"{shared.sum()} training samples share a group with the test set: left out"
            )
    _check(source, target, train, test)
    if target.kind == "classes":
        unseen = np.setdiff1d(target.values[test], target.values[train])
        if len(unseen):
            said.append(f"{len(unseen)} classes of the test set have no training label")
    if target.kind == "multi-label":
        said += _not_scored(target, target.values[test])
    return Split(np.sort(train), np.sort(test), [f"{decision} ({len(test)})"], said)


def all_test(source: Divisible, target: Target, why: str = "") -> Split:
    """All that the target knows as the test set, and nothing to train on.

    Args:
        why: to add to the warnings.

    Raises:
        DataError: one class or value only.
    """
    known = np.flatnonzero(target.known)
    _differ(source, target, "test", known)
    return Split(
        np.arange(0), known, [f"all of it is the test set ({len(known)})"], [why][: len(why)]
    )


def _not_scored(target: Target, marks: NDArray[Any]) -> list[str]:
    """Labels of which the test set does not hold both yes and no."""
    absent = np.array(target.classes)[~((marks == 1).any(axis=0) & (marks == 0).any(axis=0))]
    if not len(absent):
        return []
    return [
        f"{', '.join(absent)}: of the test set not both yes and no are known, so there is no score "
        "and no part in the means over labels"
    ]


def _check(source: Divisible, target: Target, train: Rows, test: Rows) -> None:
    _differ(source, target, "training", train)
    _differ(source, target, "test", test)


def _differ(source: Divisible, target: Target, name: str, rows: Rows) -> None:
    what = "two classes" if target.kind == "classes" else "two different values"
    if len(np.unique(target.values[rows], axis=0)) < 2:
        raise DataError(f"the {name} labels of {source.name} hold fewer than {what}")


def _hold_out(
    source: Divisible, target: Target, strata: Rows, groups: Rows | None, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Training and test positions in `strata`."""
    largest = np.bincount(strata).max()
    if largest < TEST_PARTS:
        raise DataError(
            f"{source.name} has at most {largest} labels a {OF_EACH[target.kind]}; holding a test "
            f"set out needs {TEST_PARTS} or more."
        )
    if groups is not None and len(np.unique(groups)) < TEST_PARTS:
        raise DataError(
            f"{source.name} has {len(np.unique(groups))} groups; holding whole groups out for the "
            f"test needs {TEST_PARTS} or more."
        )
    return _folds(strata, groups, TEST_PARTS, key(seed, "test"))[0]


def _seen_before(groups: Rows) -> Rows:
    """For each entry, how many earlier ones are of the same group."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
    lengths = np.diff(starts, append=len(groups))
    count = np.empty(len(groups), dtype=np.int64)
    count[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return count


def draw_shots(
    labels: Rows, shots: Shots, *, seed: int, draw: int, groups: Rows | None = None
) -> Rows:
    """The labels of one draw: `shots` of each class, or all of them.

    For other targets the strata of `Target.strata` stand for classes.

    Within a class, one sample of every group comes before a second one of any, so that k labels are
    k patients or fields wherever there are that many. A class with fewer is taken whole.

    Args:
        labels: (N,) classes or strata of the training rows.
        groups: (N,) or None.

    Returns:
        Ascending positions in `labels`.
    """
    if shots == "all":
        return np.arange(len(labels))
    order = np.random.default_rng(key(seed, "draw", shots, draw)).permutation(len(labels))
    chosen = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        if groups is not None:
            of_class = of_class[np.argsort(_seen_before(groups[of_class]), kind="stable")]
        chosen.append(of_class[:shots])
    return np.sort(np.concatenate(chosen))


def tuning_folds(
    labels: Rows,
    *,
    seed: int,
    groups: Rows | None = None,
    parts: int = TUNING_FOLDS,
    whole: bool = True,
) -> Sequence[Fold] | None:
    """Folds inside the training labels, on which a probe's regularisation is chosen.

    Args:
        labels: (N,) classes or strata.
        parts: how many folds.
        whole: whether each part of a fold must hold every class.

    Returns:
        (fit, validate) positions, stratified, groups whole; None where a fold would miss a class,
        as with one or two labels a class. From `MANY` labels on the first fold alone.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if (counts.min() if whole else counts.max()) < parts:
        return None
    if groups is not None and len(np.unique(groups)) < parts:
        return None
    folds = _folds(labels, groups, parts, key(seed, "tune"))
    if len(labels) >= MANY:
        folds = folds[:1]
    if not whole:
        return folds
    complete = all(len(np.unique(labels[part])) == len(classes) for fold in folds for part in fold)
    return folds if complete else None
