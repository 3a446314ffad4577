"""What would spoil an experiment on a source: warnings, each with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domainjepa.data.checks.census import Census
from domainjepa.data.checks.likeness import ALIKE
from domainjepa.data.checks.quarantine import told
from domainjepa.data.files.damage import to_skip
from domainjepa.data.source import Source

FEW = 20
"""Scores of a class with fewer samples say next to nothing."""
_NAMED = 8  # classes, at most, in a warning


def class_counts(source: Source) -> dict[str, int] | None:
    """Class -> number of samples, in the order of the labels; None without labels."""
    if source.labels is None:
        return None
    classes = source.classes or range(int(source.labels.max(initial=-1)) + 1)
    numbers = np.bincount(source.labels[source.labels >= 0], minlength=len(classes)).tolist()
    return {str(name): number for name, number in zip(classes, numbers, strict=True)}


def band_names(source: Source, count: int) -> list[str]:
    """What the bands are called: by the data, else by their numbers."""
    names = source.bands or ()
    return list(names) if len(names) == count else [*map(str, range(count))]


def findings(source: Source, census: Census) -> list[str]:
    """What a census of a source and its labels, groups and split say against it, a line each."""
    said: list[str] = []
    if census.unreadable:
        first = next(iter(census.unreadable.values()))
        skip = to_skip(len(census.unreadable), census.looked_at)
        leave = f", or leave them out{skip}" if skip else ""
        said.append(f"unreadable: {told(census.unreadable)}. {first} Copy them again{leave}.")
    if census.blank:
        said.append(
            f"blank: {told(census.blank)}, one value in each band. Leave them out of the file: "
            "there is nothing to learn from them."
        )
    for name, band in zip(band_names(source, len(census.bands)), census.bands, strict=True):
        if band.missing > 0:
            said.append(
                f"band {name}: {100 * band.missing:.3g} % of the pixels have no value (NaN, "
                "infinite, or declared so in the files) and will be replaced. Check that it is so."
            )
        if band.low is not None and band.low == band.high:
            said.append(f"band {name} holds {band.low:g} everywhere. Leave it out of the file.")
    if census.duplicates:
        said.append(
            f"{_repeated(source, census.duplicates, 'set')} of identical samples. Keep one of each "
            "or give them one group: on both sides of a split they flatter the scores."
        )
    if census.near:
        said.append(
            f"{_repeated(source, census.near, 'pair')} of samples that look alike (correlation "
            f"above {ALIKE:g}). Look at them; those of one object belong in one group."
        )
    torn = _torn_groups(source)
    if torn:
        said.append(
            f"{_many(torn, 'group')} in more than one part of the split: scores on the test part "
            "are too good. Split by group."
        )
    few = [f"{name!r} {n}" for name, n in (class_counts(source) or {}).items() if n < FEW]
    if few:
        said.append(
            f"classes of fewer than {FEW} samples: {', '.join(few[:_NAMED])}. Their scores say "
            "next to nothing: leave them out or gather more."
        )
    labels = source.labels
    if labels is not None and source.split is None and (np.diff(labels) >= 0).all():
        said.append(
            "rows are sorted by class: a split by position would hold whole classes. Shuffle "
            "before you split."
        )
    return said


def _repeated(source: Source, sets: Sequence[Sequence[int]], word: str) -> str:
    """How many sets of rows there are, how bad they are, and the first ones."""
    details = []
    for values, what in (
        (source.split, "across the parts of the split"),
        (source.labels, "with conflicting labels"),
    ):
        if values is not None:
            differ = sum(len(set(values[list(rows)].tolist())) > 1 for rows in sets)
            details += [f"{differ:,} {what}"] if differ else []
    first = "; ".join(told(rows) for rows in sets[:3]) + ("; …" if len(sets) > 3 else "")
    return f"{_many(len(sets), word)} ({', '.join([*details, first])})"


def _torn_groups(source: Source) -> int:
    """How many groups have samples in more than one part of the split."""
    if source.groups is None or source.split is None:
        return 0
    parts = np.unique(source.split, return_inverse=True)[1]
    pairs = np.unique(np.stack([source.groups, parts]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
