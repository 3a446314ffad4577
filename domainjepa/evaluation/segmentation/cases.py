"""What masks are scored on: images and volumes, put together where slices or tiles were cut.

A case is an image or a volume, the one that slices were cut from among them. A unit is what shots
count, splits keep whole and intervals are over: a case, or with `--per` all cases of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domainjepa.data.chosen import ChosenSource
from domainjepa.data.parts.parts import PartsSource
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.errors import DataError
from domainjepa.evaluation.cohorts.units import Units, units_by, units_of
from domainjepa.evaluation.splits import TEST_PARTS, Rows, Split

FEWEST = 5
"""Test units, where a fifth would be fewer and a third is left."""


def cases_of(source: Source) -> Rows:
    """(N,) equal for samples that were cut from one image or volume."""
    if isinstance(source, PartsSource):
        return source.of
    whole = getattr(source, "whole", None)
    if isinstance(source, ChosenSource):
        return cases_of(source.whole)[source.chosen]
    if isinstance(whole, Source) and len(whole) == len(source):
        return cases_of(whole)
    return np.arange(len(source))


def units_with_masks(source: Source, per: str | None) -> Units:
    """Units of the samples that can be read and have a mask.

    Raises:
        DataError: there are no masks, or no such column.
    """
    if source.masks is None or not source.masks.known.any():
        raise DataError(
            f"{source.name} has no masks to score an encoder on. They are found as folders of pairs"
            " (images/ and labels/, x.png and x_mask.png), in the layouts of nnU-Net and BIDS, and "
            "as arrays called masks beside the images; --set data.masks=PATTERN names others."
        )
    lost = np.union1d(
        np.flatnonzero(~source.masks.known), source.unreadable(range(len(source)))
    ).astype(np.int64)
    if per is not None:
        return units_of(source, per, lost)
    cases = cases_of(source)
    one = "image" if len(source.shape) == 3 and len(np.unique(cases)) == len(source) else "volume"
    return units_by(source, cases, lost, one)


def held_out(units: Units, seed: int) -> Split:
    """The source's own split; else a keyed one that keeps groups whole.

    A fifth of the units tests; where that is fewer than five, five, but no more than a third.

    Raises:
        DataError: fewer than three units, or than three groups of them.
    """
    own = units.split
    if own is not None and "train" in own and np.isin(own, ("test", "val")).any():
        test = "test" if "test" in own else "val"
        train_rows, test_rows = np.flatnonzero(own == "train"), np.flatnonzero(own == test)
        said = f"the source's split: {len(train_rows)} {units.one}s to train on, scores on {test}"
        if test == "val":
            said += "; there is no test split, and pretraining has seen the images of val"
        shared = _shared(units, train_rows, test_rows)
        left = [f"{shared.sum()} of them share a group with the test set: left out"]
        return Split(
            train_rows[~shared], test_rows, [f"{said} ({len(test_rows)})"], left[: shared.sum()]
        )
    group = np.arange(len(units)) if units.groups is None else units.groups
    found = np.random.default_rng(key(seed, "test")).permutation(np.unique(group))
    number = max(round(len(found) / TEST_PARTS), min(FEWEST, len(found) // 3))
    if not number:
        raise DataError(
            f"{units.name} has masks of {len(found)} {units.one}s that are apart; holding some out "
            "for the test needs 3 or more."
        )
    tested = np.isin(group, found[:number])
    whole = "" if len(found) == len(units) else ", groups kept whole"
    said = (
        f"no split in the source to test on: {tested.sum()} of {len(units)} {units.one}s held out"
        f"{whole}, seed {seed}; {(~tested).sum()} to train on. Pretraining may have seen the test "
        f"images, never their masks; scores on the test ({tested.sum()})"
    )
    return Split(np.flatnonzero(~tested), np.flatnonzero(tested), [said])


def _shared(units: Units, train: Rows, test: Rows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which training units share a group with a test unit."""
    if units.groups is None:
        return np.zeros(len(train), bool)
    return np.isin(units.groups[train], units.groups[test])


@dataclass(frozen=True)
class Numbering:
    """Of the samples of some units, the unit and the case of each.

    Attributes:
        rows: (n,) of the source, unit after unit.
        unit: (n,) from 0, as the units were given.
        case: (n,) from 0.
        unit_of_case: (C,) the unit of each case.
    """

    rows: Rows
    unit: Rows
    case: Rows
    unit_of_case: Rows

    @classmethod
    def of(cls, units: Units, chosen: Rows, cases: Rows) -> Numbering:
        """Of these units."""
        rows, starts = units.rows_of(chosen)
        unit = np.repeat(np.arange(len(chosen)), np.diff(starts, append=len(rows)))
        _, first, case = np.unique(cases[rows], return_index=True, return_inverse=True)
        return cls(rows, unit, case.astype(np.int64), unit[first])
