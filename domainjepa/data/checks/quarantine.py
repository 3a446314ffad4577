"""Samples that cannot be read, left out where the user allows it: counted, capped and told."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.checks.census import in_batches
from domainjepa.data.chosen import of_rows
from domainjepa.data.files.damage import to_skip
from domainjepa.data.masks.masks import Mask, Masks, masks_of
from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.large import Large
from domainjepa.errors import DataError
from domainjepa.waiting import bar

ATTEMPTS = 20
"""Times that another sample is drawn in the place of one that cannot be read."""
NAMED = 8


@dataclass(kw_only=True)
class _Around(Source):
    """Another source, `whole`, but for what happens where a sample cannot be read."""

    whole: Source

    def __len__(self) -> int:
        return len(self.whole)

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self.whole.region(index, start, stop)

    def sides(self, index: int) -> tuple[int, ...]:
        return self.whole.sides(index)

    @property
    def reads_parts(self) -> bool:
        return self.whole.reads_parts

    def chunks(self, index: int) -> tuple[int, ...] | None:
        return self.whole.chunks(index)

    def large(self, index: int) -> Large | None:
        return self.whole.large(index)

    def read_column(self, name: str) -> NDArray[Any]:
        return self.whole.column(name)

    def file_names(self) -> Sequence[str] | None:
        return self.whole.file_names()

    def content_key(self) -> str:
        return self.whole.content_key()

    def fingerprint(self) -> str:
        return self.whole.fingerprint()


@dataclass(kw_only=True)
class StrictSource(_Around):
    """Another source, in which a sample that cannot be read is an error that says how to go on.

    Attributes:
        lost: rows that are known to be unreadable; they have no label.
    """

    lost: Collection[int] = ()

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        with self._how():
            return self.whole.__getitems__(indices)

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        with self._how():
            return self.whole.region(index, start, stop)

    def sides(self, index: int) -> tuple[int, ...]:
        with self._how():
            return self.whole.sides(index)

    @contextlib.contextmanager
    def _how(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            skip = to_skip(1, len(self))
            how = f" To leave such samples out{skip}" if skip else ""
            raise DataError(f"{error}{how}") from error

    def unreadable(self, rows: Sequence[int]) -> list[int]:
        return [row for row in rows if row in self.lost]


@dataclass(kw_only=True)
class LenientSource(_Around):
    """Another source, in which a sample that cannot be read gives way to one that can.

    Which one stands in depends on the row that it stands for and on the seed alone, so workers,
    ranks and resumes see the same ones.

    Attributes:
        stand_ins: (n,) rows that may take another's place.
        seed: of the run.
    """

    stand_ins: NDArray[np.int64] = field(repr=False)
    seed: int
    _taken: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    _lost: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        wanted = [self._taken.get(int(index), int(index)) for index in indices]
        try:
            return self.whole.__getitems__(wanted)
        except DataError:
            return [self._readable(int(index)) for index in indices]

    def unreadable(self, rows: Sequence[int]) -> list[int]:
        return [row for row in rows if row in self._lost]

    def _readable(self, first: int) -> Image:
        for attempt in range(ATTEMPTS):
            row = first
            if attempt:
                place = key(self.seed, "stand in", first, attempt) % len(self.stand_ins)
                row = int(self.stand_ins[place])
            if row in self._lost:
                continue
            try:
                image = self.whole[row]
            except DataError as error:
                self._lost[row] = str(error)
            else:
                if attempt:
                    self._taken[first] = row
                return image
        raise DataError(
            f"sample {first} of {self.name} and {ATTEMPTS - 1} others in its place cannot be read. "
            f"{self._lost[first]}"
        )


@dataclass(kw_only=True)
class _StandInMasks(Masks):
    """The mask of the sample that is given, be it another one's."""

    source: LenientSource = field(repr=False)

    def read(self, index: int) -> Mask:
        masks = self.source.whole.masks
        assert masks is not None
        return masks[self.source._taken.get(index, index)]


def strict(source: Source, lost: Collection[int] = ()) -> Source:
    """The source with an error that says how to go on, and no label where a row is lost."""
    known = _known(source)
    if lost and source.labels is not None:
        known["labels"] = np.where(np.isin(np.arange(len(source)), list(lost)), -1, source.labels)
    if lost and source.masks is not None:
        known["masks"] = masks_of(source.masks, np.arange(len(source)))
        known["masks"].known[list(lost)] = False
    return StrictSource(**known, whole=source, lost=frozenset(lost))


def lenient(source: Source, stand_ins: NDArray[np.int64], seed: int) -> LenientSource:
    """The source of images with stand-ins for what cannot be read; of volumes see `readable`."""
    given = LenientSource(**_known(source), whole=source, stand_ins=stand_ins, seed=seed)
    if source.masks is not None:
        masks = source.masks
        given.masks = _StandInMasks(known=masks.known, classes=masks.classes, source=given)
    return given


def checked(source: Source, share: float) -> Source:
    """The source after every sample was read once: `unreadable` knows those that cannot be.

    For what takes every sample as it is, and cannot do with stand-ins.

    Args:
        source: any.
        share: of its samples that may be unreadable, 0 to 1.

    Raises:
        DataError: they are more than the share.
    """
    lost = _lost(source)
    Quarantine(len(source), share).add(lost)
    return strict(source, lost)


def readable(volumes: Source, share: float) -> Source:
    """The volumes that can be read, after each was read once.

    Views are of parts of a volume, so that none can stand in for another as an image can.

    Raises:
        DataError: more than the share cannot be read.
    """
    lost = _lost(volumes)
    Quarantine(len(volumes), share).add(lost)
    if not lost:
        return volumes
    kept = of_rows(volumes, np.setdiff1d(np.arange(len(volumes)), lost))
    kept.warnings = [*volumes.warnings, f"cannot be read and are left out: {told(lost)}"]
    return kept


def _lost(source: Source) -> list[int]:
    """The rows that cannot be read, after every sample was read once; but for those that are too
    large for it."""
    lost = []
    rows_read = [row for row in range(len(source)) if source.large(row) is None]
    with bar(Console(stderr=True), "reading every sample", len(source)) as show:
        for rows in in_batches(source, rows_read):
            images = source.try_each(rows)
            pairs = zip(rows, images, strict=True)
            lost += [row for row, image in pairs if isinstance(image, DataError)]
            show(rows[-1] + 1)
    return lost


def _known(source: Source) -> dict[str, Any]:
    """All that a source says of itself."""
    return {one.name: getattr(source, one.name) for one in fields(Source)}


class Quarantine:
    """The unreadable samples of a run.

    Args:
        samples: of the run.
        share: that may be unreadable, 0 to 1.
        rows: that are known already, from a checkpoint.
    """

    def __init__(self, samples: int, share: float, rows: Sequence[int] = ()) -> None:
        self.samples, self.share = samples, share
        self.rows = set(rows)

    def add(self, rows: Sequence[int]) -> list[int]:
        """Notes rows; returns those that are new, ascending.

        Raises:
            DataError: they are more than the share.
        """
        new = sorted(set(rows) - self.rows)
        self.rows.update(new)
        if len(self.rows) > self.share * self.samples:
            raise DataError(
                f"{len(self.rows):,} of {self.samples:,} samples cannot be read, more than "
                f"data.skip_unreadable = {self.share:g} allows: {self.told()}. "
                "`domainjepa inspect` says what is wrong with them."
            )
        return new

    def told(self) -> str:
        """The rows, in words."""
        return told(self.rows)


def told(rows: Collection[int]) -> str:
    """Rows in words, the first eight by their numbers."""
    first = ", ".join(map(str, sorted(rows)[:NAMED]))
    more = f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {first}{more}"
