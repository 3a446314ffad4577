"""Parts of larger samples, slices of volumes and tiles of mosaics, as samples of their own.

A part keeps the label, split, group and spacing of the sample that it is cut from; where the source
has no groups, the samples are the groups, so that no split ever parts what lies side by side. Parts
with nothing on them are left out: they are looked for once, and what was found is kept.
"""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from domainjepa.data.masks.masks import Mask, masks_cut
from domainjepa.data.parts.empty import RULE, background, holds_something
from domainjepa.data.parts.kept import keep, load, place_of
from domainjepa.data.parts.recent import Recent
from domainjepa.data.source import Image, Source, spread
from domainjepa.errors import DataError
from domainjepa.waiting import is_live

Region = tuple[tuple[int, ...], tuple[int, ...]]
"""Start and stop along H, W or D, H, W."""

Known = list[tuple[tuple[int, ...], str | None]]
"""For each sample its sides, and a "1" for each part that holds something and a "0" for the others;
None where it cannot be read."""
_GROUPS = "groups: the parts of a sample are one group"
_VERSION = 1  # of the rule: another number looks anew
_LOOKED_AT = 64  # parts that tell a sample's background
_PIXELS = 4096  # of each
_SHOWN = 20  # samples from which on a bar is shown
READ_AT_ONCE = 2**30
"""Bytes up to which a sample that could be read in parts is read whole to find its empty parts."""


@dataclass(kw_only=True)
class PartsSource(Source):
    """Parts of the samples of another source, read as they are asked for.

    Attributes:
        whole: the source that is cut.
        of: (N,) int64, the sample that each part is of.
        start, stop: (N, 2) or (N, 3) int64, the part of that sample along H, W or D, H, W.
    """

    whole: Source
    of: NDArray[np.int64] = field(repr=False)
    start: NDArray[np.int64] = field(repr=False)
    stop: NDArray[np.int64] = field(repr=False)
    _recent: Recent = field(default_factory=Recent, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.masks = masks_cut(self.whole.masks, self.of, self)

    def __len__(self) -> int:
        return len(self.of)

    @abstractmethod
    def read(self, index: int) -> Image:
        """One part."""

    def read_all(self, indices: Sequence[int]) -> list[Image]:
        """Parts in the order in which they lie, each once."""
        return [self.read(index) for index in indices]

    def within(self, index: int, mask: Mask) -> Mask:
        """What lies in a part of the mask of its sample, turned as the part is."""
        return mask[_where(self.start[index].tolist(), self.stop[index].tolist())]

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"samples {wanted.min()} to {wanted.max()} of {len(self)}")
        # In the order in which they lie, so that what is read whole is read once.
        rows, position = np.unique(wanted, return_inverse=True)
        images = self.read_all(rows.tolist())
        return [images[place] for place in position.tolist()]

    def cut(
        self, sample: int, start: Sequence[int], stop: Sequence[int], *, keep: bool = False
    ) -> Image:
        """A part of a sample of the whole, a copy of its own.

        Args:
            keep: read the whole sample and keep it for other parts, even where parts can be read.
        """
        if self.whole.reads_parts and not keep:
            return self.whole.region(sample, start, stop)
        image = self._recent.get(sample, lambda: self.whole[sample])
        return np.array(image[_where(start, stop)], order="C")

    def file_names(self) -> Sequence[str] | None:
        names = self.whole.file_names()
        return names and [names[sample] for sample in self.of.tolist()]

    def read_column(self, name: str) -> NDArray[Any]:
        values = self.whole.column(name)
        return values[self.of] if len(values) == len(self.whole) else values


@dataclass
class Found:
    """The parts that hold something.

    Attributes:
        of, start, stop: as those of a `PartsSource`.
        sides: sides of each sample of the whole.
        empty: how many parts are left out.
        warnings: what could not be looked at.
    """

    of: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    sides: list[tuple[int, ...]]
    empty: int
    warnings: list[str] = field(default_factory=list)

    @property
    def left_out(self) -> str:
        """The end of a decision."""
        return f"{self.empty:,} empty ones are left out: {RULE}" if self.empty else "none is empty"


def bytes_of(source: Source, sides: Sequence[int]) -> int:
    """Of a sample with these sides."""
    return math.prod(sides) * source.channels * source.dtype.itemsize


def inherited(whole: Source, found: Found, names: Sequence[str]) -> dict[str, Any]:
    """The fields of a `PartsSource` that it takes from the whole.

    Args:
        names: (N,) of the parts within their samples: an id gets its part's name after a colon.
    """
    of = found.of
    groups = whole.groups[of] if whole.groups is not None else of
    ids = None
    if whole.ids is not None:
        ids = np.array([f"{whole.ids[one]}:{name}" for one, name in zip(of, names, strict=True)])
    return {
        "whole": whole,
        "of": of,
        "start": found.start,
        "stop": found.stop,
        "name": whole.name,
        "loader": whole.loader,
        "dtype": whole.dtype,
        "labels": whole.labels[of] if whole.labels is not None else None,
        "classes": whole.classes,
        "groups": groups,
        "ids": ids,
        "split": whole.split[of] if whole.split is not None else None,
        "modality": whole.modality,
        "origin": whole.origin,
        "card": whole.card,
        "keys": whole.keys,
        "decisions": [*whole.decisions, *([] if whole.groups is not None else [_GROUPS])],
        "warnings": [*whole.warnings, *found.warnings],
    }


def find_parts(
    whole: Source, kind: str, divide: Callable[[tuple[int, ...]], list[Region]]
) -> Found:
    """Divides every sample and leaves out the parts with nothing on them.

    Every sample is read once for it; what was found is kept in the cache folder, by the content of
    the source. Parts of a sample that cannot be read are all kept: whoever reads them is told.

    Args:
        kind: names the division, such as "slices 0".
        divide: sides of a sample -> its parts, in order.

    Raises:
        DataError: nothing is left, or no sample can be read.
    """
    place = place_of(whole, f"{_VERSION} {kind}")
    known = _known(load(place))
    if len(known) != len(whole):
        known = _look(whole, divide)
        if all(kept is not None for _, kept in known):
            keep(place, known)
    of, regions, empty, unread = [], [], 0, 0
    for sample, (sides, kept) in enumerate(known):
        parts = divide(sides)
        unread += kept is None
        for part, holds in zip(parts, kept or "1" * len(parts), strict=True):
            if holds == "1":
                of.append(sample)
                regions.append(part)
            else:
                empty += 1
    if not of:
        raise DataError(
            f"{whole.name} has nothing on it: of all its {empty:,} parts, {RULE}. "
            "`domainjepa inspect` shows the values."
        )
    found = Found(
        of=np.array(of, dtype=np.int64),
        start=np.array([start for start, _ in regions], dtype=np.int64),
        stop=np.array([stop for _, stop in regions], dtype=np.int64),
        sides=[sides for sides, _ in known],
        empty=empty,
    )
    if unread:
        found.warnings.append(f"{unread:,} samples cannot be read; their parts are all kept")
    return found


def _known(kept: Any) -> Known:
    try:
        return [(tuple(sides), parts) for sides, parts in kept or ()]
    except (ValueError, TypeError):
        return []  # damaged: look anew


def _look(whole: Source, divide: Callable[[tuple[int, ...]], list[Region]]) -> Known:
    """Looks at every sample; raises the first one's DataError where none can be read."""
    console = Console(stderr=True)
    known: Known = []
    errors: list[DataError] = []
    for sample in track(
        range(len(whole)),
        "looking for empty parts",
        console=console,
        transient=True,
        disable=len(whole) < _SHOWN or not is_live(console),
    ):
        try:
            sides, read = _reader(whole, sample)
            known.append((sides, _holding(read, divide(sides))))
        except DataError as error:
            errors.append(error)
            known.append((_sides_told(whole, sample), None))
    if len(errors) == len(whole):
        raise errors[0]
    return known


def _reader(whole: Source, sample: int) -> tuple[tuple[int, ...], Callable[[Region], Image]]:
    """The sides of a sample, and what reads its parts: all at once unless it is very large."""
    if whole.reads_parts:
        sides = whole.sides(sample)
        if bytes_of(whole, sides) > READ_AT_ONCE or whole.large(sample) is not None:
            return sides, lambda region: whole.region(sample, *region)
    image = whole[sample]
    return image.shape[:-1], lambda region: image[_where(*region)]


def _sides_told(whole: Source, sample: int) -> tuple[int, ...]:
    """The sides of a sample that cannot be read: as its header tells, else those of the first."""
    if whole.reads_parts:
        with contextlib.suppress(DataError):
            return whole.sides(sample)
    return whole.shape[:-1]


def _where(start: Sequence[int], stop: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, last) for first, last in zip(start, stop, strict=True))


def _holding(read: Callable[[Region], Image], parts: list[Region]) -> str:
    """A "1" for each part that holds something, a "0" for the others."""
    pixels = []
    for number in spread(len(parts), _LOOKED_AT):
        part = read(parts[number])
        part = part.reshape(-1, part.shape[-1])
        pixels.append(part[np.linspace(0, len(part) - 1, _PIXELS).astype(np.int64)])
    low, high = background(np.concatenate(pixels))
    return "".join(str(int(holds_something(read(part), low, high))) for part in parts)
