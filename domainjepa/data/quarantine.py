"""Samples that cannot be read, left out where the user allows it: counted, capped and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError

ATTEMPTS = 20
"""Times that another sample is drawn in the place of one that cannot be read."""
NAMED = 8


@dataclass(kw_only=True)
class LenientSource(Source):
    """Another source, in which a sample that cannot be read gives way to one that can.

    Which one stands in depends on the row that it stands for and on the seed alone, so workers,
    ranks and resumes see the same ones.

    Attributes:
        whole: the source.
        stand_ins: (n,) rows that may take another's place.
        seed: of the run.
    """

    whole: Source
    stand_ins: NDArray[np.int64] = field(repr=False)
    seed: int
    _taken: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    _lost: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.whole)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        wanted = [self._taken.get(int(index), int(index)) for index in indices]
        try:
            return self.whole.__getitems__(wanted)
        except DataError:
            return [self._readable(int(index)) for index in indices]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self.whole.region(index, start, stop)

    def sides(self, index: int) -> tuple[int, ...]:
        return self.whole.sides(index)

    @property
    def reads_parts(self) -> bool:
        return self.whole.reads_parts

    def unreadable(self, rows: Sequence[int]) -> list[int]:
        return [row for row in rows if row in self._lost]

    def column(self, name: str) -> NDArray[Any]:
        return self.whole.column(name)

    def content_key(self) -> str:
        return self.whole.content_key()

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


def lenient(source: Source, stand_ins: NDArray[np.int64], seed: int) -> LenientSource:
    """The source with stand-ins for what cannot be read.

    Raises:
        DataError: its samples are volumes, of which single parts are read.
    """
    if source.volumetric:
        raise DataError(
            "data.skip_unreadable is for images: leave it out, and take unreadable volumes out of "
            "the folder."
        )
    told = {one.name: getattr(source, one.name) for one in fields(Source)}
    return LenientSource(**told, whole=source, stand_ins=stand_ins, seed=seed)


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
        first = ", ".join(map(str, sorted(self.rows)[:NAMED]))
        more = f" and {len(self.rows) - NAMED:,} more" if len(self.rows) > NAMED else ""
        return f"row{'s' if len(self.rows) > 1 else ''} {first}{more}"
