"""What one answer is given for: a sample, or all samples of a patient, a volume, a slide, a visit.

Labels, splits, draws and intervals are of units; features are of the samples in them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from domainjepa.data.metadata.blanks import EMPTY, as_values
from domainjepa.data.metadata.columns import as_text
from domainjepa.data.metadata.targets import Target
from domainjepa.data.source import Source
from domainjepa.errors import DataError, UserError

Rows = NDArray[np.int64]
Within = Literal["same", "majority", "max", "mean", "leave-out"]
"""The label of a unit whose samples have several: refused, the most common, the largest (the worst
grade; a mark that any sample has), the mean of numbers, or none."""
GROUPS = "groups"
"""`per` that stands for the groups of the source."""


@dataclass(frozen=True)
class Units:
    """The units of a source, numbered from 0.

    Attributes:
        name: of the source, for messages.
        one: what a unit is called, such as "sample" or the name of the column.
        rows: (n,) of the source, unit after unit, ascending within each.
        starts: (U,) where each unit begins in `rows`.
        groups: (U,) equal for units that must not be split, or None.
        split: (U,) out of train, val, test, or None.
        said: readable lines on samples that are in no unit.
    """

    name: str
    one: str
    rows: Rows
    starts: Rows
    groups: Rows | None
    split: NDArray[np.str_] | None
    said: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def single(self) -> bool:
        """Whether every unit is a sample."""
        return len(self.rows) == len(self.starts)

    @property
    def sizes(self) -> Rows:
        """(U,) samples of each unit."""
        return np.diff(self.starts, append=len(self.rows))

    def rows_of(self, chosen: Rows) -> tuple[Rows, Rows]:
        """Rows of some units, unit after unit, and where each of them begins there."""
        sizes = self.sizes[chosen]
        starts = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(self.starts[chosen] - starts, sizes)
        return self.rows[places], starts

    def shown(self, chosen: Rows) -> Rows:
        """The row in the middle of each of some units: what a picture of it shows."""
        middle: Rows = self.rows[self.starts[chosen] + self.sizes[chosen] // 2]
        return middle


def samples_of(source: Source, lost: Rows) -> Units:
    """Every sample a unit; those that are lost have none."""
    rows = np.setdiff1d(np.arange(len(source)), lost)
    groups = None if source.groups is None else source.groups[rows]
    split = None if source.split is None else source.split[rows]
    return Units(source.name, "sample", rows, np.arange(len(rows)), groups, split)


def units_of(source: Source, per: str, lost: Rows) -> Units:
    """The samples that share a value of a column, or a group, as one unit each.

    A sample without a value is a unit of its own. A unit with samples in the test split is tested
    on those alone, one with samples in train and val is of train; the others take no part. Units
    that share a group of the source are one group, as visits of one patient are.

    Args:
        source: of the samples.
        per: `groups`, or a column with one value for each sample.
        lost: rows that cannot be read; they are in no unit.

    Raises:
        DataError: no groups, no such column, or one that tells nothing apart.
    """
    one = "group" if per == GROUPS else per
    units = units_by(source, _numbers(source, per), lost, one)
    if len(units) == len(source):
        raise DataError(f"--per {per}: every sample of {source.name} has a value of its own")
    return units


def units_by(source: Source, number: Rows, lost: Rows, one: str) -> Units:
    """The samples with the same number as one unit each, as `units_of` has it.

    Args:
        number: (N,) of the samples.
        one: what a unit is called.
    """
    rows = np.setdiff1d(np.arange(len(source)), lost)
    said = []
    if source.split is not None:
        rank = np.select([source.split == "test", source.split == "train"], [2, 1], 0)
        part = np.zeros(number.max() + 1, np.int64)
        np.maximum.at(part, number[rows], rank[rows])
        elsewhere = part[number[rows]] != rank[rows]
        if elsewhere.any():
            cut = len(np.unique(number[rows[elsewhere]]))
            said.append(
                f"{cut:,} units ({one}) have samples in several parts of the split: each counts to "
                f"test before train before val, and {elsewhere.sum():,} samples take no part"
            )
        rows = rows[~elsewhere]
    rows = rows[np.argsort(number[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(number[rows], prepend=-1))
    split = None if source.split is None else source.split[rows[starts]]
    unit = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows)))
    groups = None if source.groups is None else _tied(unit, source.groups[rows], len(starts))
    return Units(source.name, one, rows, starts, groups, split, tuple(said))


def _numbers(source: Source, per: str) -> Rows:
    """(N,) the unit of each sample."""
    if per == GROUPS:
        if source.groups is None:
            raise DataError(
                f"--per groups: {source.name} has no groups. Name them with --set data.groups=NAME,"
                " or give a column, --per COLUMN."
            )
        return np.unique(source.groups, return_inverse=True)[1].astype(np.int64)
    values = np.asarray(source.column(per))
    if values.shape not in ((len(source),), (len(source), 1)):
        raise DataError(
            f"--per {per}: the column has shape {values.shape}; one value for each of the "
            f"{len(source):,} samples is needed"
        )
    texts, found = as_text(values), as_values(values)
    blank = np.isin(texts, EMPTY) if found is None else ~found.known
    names, number = np.unique(texts, return_inverse=True)
    number[blank] = len(names) + np.arange(blank.sum())
    return np.unique(number, return_inverse=True)[1].astype(np.int64)


def _tied(unit: Rows, groups: Rows, units: int) -> Rows:
    """(U,) units tied by the groups of their samples, directly or through others."""
    names, group = np.unique(groups, return_inverse=True)
    size = units + len(names)
    links = coo_array((np.ones(len(unit)), (unit, units + group)), shape=(size, size))
    tied: Rows = connected_components(links, directed=False)[1][:units].astype(np.int64)
    return tied


def target_of_units(target: Target, units: Units, within: Within = "same") -> Target:
    """The target of units, from the labels that their samples are known to have.

    Args:
        target: of the samples of the source.
        within: what becomes of a unit whose samples differ.

    Raises:
        DataError: samples of a unit differ, and `within` is "same".
        UserError: a mean of classes or marks.
    """
    if within == "mean" and target.kind != "numbers":
        raise UserError(
            f"--within mean: {target.name} holds {target.kind}; choose majority, max or leave-out"
        )
    if units.single:
        rows = units.rows
        return replace(target, values=target.values[rows], known=target.known[rows])
    values = target.values[units.rows].reshape(len(units.rows), -1)
    known = _known(target, units.rows)
    top = _top(values.dtype)
    low = np.minimum.reduceat(np.where(known, values, top), units.starts)
    high = np.maximum.reduceat(np.where(known, values, -top), units.starts)
    of_unit = np.logical_or.reduceat(known, units.starts)
    differ = (low < high) & of_unit
    decision = target.decision
    if differ.any():
        count = int(differ.any(axis=1).sum())
        told = f"labels differ within {count:,} of {len(units):,} units"
        if within == "same":
            first = np.flatnonzero(differ.any(axis=1))[0]
            shown = ", ".join(_shown(target, units, int(first)))
            raise DataError(
                f"{told} ({units.one}), first {shown}. Say which one counts: --within majority, "
                "max, mean (of numbers) or leave-out."
            )
        decision += f"; {told}: {within}"
        if within == "leave-out":
            of_unit &= ~differ
    chosen = _chosen(values, known, units, high, within)
    chosen = np.where(of_unit, chosen, -1).astype(values.dtype)
    return replace(
        target,
        values=chosen.reshape(len(units), *target.values.shape[1:]),
        known=np.asarray(of_unit.any(axis=1)),
        decision=decision,
    )


def _known(target: Target, rows: Rows) -> NDArray[np.bool_]:
    """(n, 1) whether a value is known; of several labels (n, L), each by itself."""
    known = target.known[rows][:, None]
    return known & (target.values[rows] >= 0) if target.kind == "multi-label" else known


def _chosen(
    values: NDArray[Any], known: NDArray[np.bool_], units: Units, high: NDArray[Any], how: Within
) -> NDArray[Any]:
    """(U, ...) the value of each unit: of one value, whatever way, the value itself."""
    if how == "mean":
        sums = np.add.reduceat(np.where(known, values, 0), units.starts)
        mean = sums / np.maximum(np.add.reduceat(known.astype(np.int64), units.starts), 1)
        low = np.minimum.reduceat(np.where(known, values, np.inf), units.starts)
        return np.where(low < high, mean, high)
    if how != "majority":
        return high
    chosen = high.copy()
    for unit, (first, size) in enumerate(zip(units.starts, units.sizes, strict=True)):
        for column in range(values.shape[1]):
            part = values[first : first + size, column][known[first : first + size, column]]
            if len(part):  # of equally common ones the smallest
                found, counts = np.unique(part, return_counts=True)
                chosen[unit, column] = found[counts.argmax()]
    return chosen


def _shown(target: Target, units: Units, unit: int) -> list[str]:
    """The different labels of one unit, in words, three at most."""
    rows = units.rows_of(np.array([unit]))[0]
    if target.kind == "multi-label":
        values, known = target.values[rows], _known(target, rows)
        for label, name in enumerate(target.classes):
            if len(np.unique(values[known[:, label], label])) > 1:
                return [f"{name} is 0 and 1"]
    found = np.unique(target.values[rows][target.known[rows]])[:3]
    names = target.classes if target.kind == "classes" else None
    return [names[one] if names else f"{one:g}" for one in found.tolist()]


def _top(dtype: np.dtype[Any]) -> Any:
    """Larger than all values."""
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max
