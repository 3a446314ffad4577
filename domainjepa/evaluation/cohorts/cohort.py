"""A data set as it is scored: its units, what is to be told of them, which train and which test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.console import Console

from domainjepa.config import TargetConfig
from domainjepa.data.checks.quarantine import told
from domainjepa.data.metadata.targets import Target, target_of
from domainjepa.data.source import Source
from domainjepa.evaluation.cohorts.units import (
    Rows,
    Units,
    Within,
    samples_of,
    target_of_units,
    units_of,
)
from domainjepa.evaluation.encoders.features import Encoder, Features, features_of
from domainjepa.evaluation.encoders.scratch import trained_anew
from domainjepa.evaluation.probes.pooling import Bags
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.splits import Split, train_test


@dataclass(frozen=True)
class Cohort:
    """Units of a source, their target and their splits.

    Attributes:
        source: of the images.
        units: what answers are given for.
        target: of the units.
        splits: protocol's name -> train and test, positions in `units`.
        warnings: readable lines on how it came about, and on what takes no part.
        idle: of these, how many samples take no part, and why.
    """

    source: Source
    units: Units
    target: Target
    splits: dict[str, Split]
    warnings: tuple[str, ...]
    idle: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> Rows:
        """Ascending rows of all units that train or test anything."""
        return np.unique(self.units.rows_of(self._used)[0])

    @property
    def _used(self) -> Rows:
        parts = [part for split in self.splits.values() for part in (split.train, split.test)]
        return np.unique(np.concatenate(parts))

    def row_splits(self) -> list[Split]:
        """The splits as rows of the source."""
        return [
            replace(
                split,
                train=self.units.rows_of(split.train)[0],
                test=self.units.rows_of(split.test)[0],
            )
            for split in self.splits.values()
        ]

    def features(self, encoder: Encoder, cache: Path | None, console: Console | None) -> Features:
        """(len(rows), D) of the samples in `rows`; without any of what is trained anew."""
        if trained_anew(encoder):
            return np.zeros((len(self.rows), 0), np.float32)
        return features_of(encoder, self.source, self.rows, cache=cache, console=console)

    def bags(self, features: Features, chosen: Rows) -> Bags:
        """Some units with their samples' features, of those that `features` gives."""
        rows, starts = self.units.rows_of(chosen)
        return Bags(self.source, rows, starts, features[np.searchsorted(self.rows, rows)])

    def groups(self, chosen: Rows) -> Rows | None:
        """The groups of some units, or None."""
        return None if self.units.groups is None else self.units.groups[chosen]


def cohort_of(
    source: Source,
    protocols: Sequence[Protocol],
    target: str | TargetConfig | None = None,
    *,
    per: str | None = None,
    within: Within = "same",
    matched: Callable[[Target], Target] = lambda found: found,
    divide: Callable[[Units, Target, int], Split] = train_test,
) -> Cohort:
    """A source made ready for some protocols.

    Args:
        target: the column to tell; by default the source's labels.
        per: `groups` or a column: one answer for all samples that share its value.
        within: what becomes of the label of a unit whose samples have several.
        matched: brings the target of the samples to another's classes.
        divide: (units, target, seed) -> the split.

    Raises:
        DataError: labels that nothing can be scored on.
    """
    lost = np.asarray(source.unreadable(range(len(source))), np.int64)
    of_samples = matched(target_of(source, target))
    units = samples_of(source, lost) if per is None else units_of(source, per, lost)
    wanted = target_of_units(of_samples, units, within)
    splits = {one.name: divide(units, wanted, one.seed) for one in protocols}
    said = [text for split in splits.values() for text in split.warnings]
    if len(lost):
        said.append(f"{len(lost)} of {len(source)} samples cannot be read: {told(lost.tolist())}")
    idle = _idle(source, units, wanted, splits[protocols[0].name], len(lost))
    said += [*units.said, *idle]
    return Cohort(source, units, wanted, splits, tuple(dict.fromkeys(said)), tuple(idle))


def _idle(source: Source, units: Units, target: Target, split: Split, lost: int) -> list[str]:
    """How many samples take no part, and why."""
    sizes = units.sizes
    used = np.zeros(len(units), bool)
    used[split.train] = used[split.test] = True
    tested = units.split is not None and (units.split[split.test] == "test").any()
    in_val = target.known & ~used & (units.split == "val") if tested else np.zeros(len(units), bool)
    counts = {
        "have no label": int(sizes[~target.known & ~used].sum()),
        "are of the val split": int(sizes[in_val].sum()),
        "share a group with the test set": int(sizes[target.known & ~used & ~in_val].sum()),
        "are in a part of the split that their unit is not": len(source) - lost - len(units.rows),
        "cannot be read": lost,
    }
    why = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    total = sum(counts.values())
    return [f"{total:,} of {len(source):,} samples take no part: {why}"] if total else []
