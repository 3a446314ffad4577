"""Samples that cannot be read, left out where the user allows it: counted, capped and told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError

ATTEMPTS = 20
"""Times that another sample is drawn in the place of one that cannot be read."""
NAMED = 8


def read_or_replace(
    source: Source, wanted: Sequence[int], rows: NDArray[np.int64], seed: int
) -> tuple[list[int], list[Image], dict[int, str]]:
    """Samples, each unreadable one replaced by another whose row is drawn by key.

    Which sample takes its place depends on its own row alone, so workers, ranks and resumes see
    the same ones.

    Args:
        source: of the samples.
        wanted: rows to read.
        rows: (N,) those that may stand in.
        seed: of the run.

    Returns:
        The rows that were read, their samples, and why others could not be, by row.

    Raises:
        DataError: none of the substitutes can be read either.
    """
    try:
        return list(wanted), source.__getitems__(list(wanted)), {}
    except DataError:
        pass
    taken: list[int] = []
    images: list[Image] = []
    lost: dict[int, str] = {}
    for first in wanted:
        row, image = _readable(source, int(first), rows, seed, lost)
        taken.append(row)
        images.append(image)
    return taken, images, lost


def _readable(
    source: Source, first: int, rows: NDArray[np.int64], seed: int, lost: dict[int, str]
) -> tuple[int, Image]:
    row = first
    for attempt in range(ATTEMPTS):
        if row not in lost:
            try:
                return row, source.__getitems__([row])[0]
            except DataError as error:
                lost[row] = str(error)
        row = int(rows[key(seed, "replace", first, attempt) % len(rows)])
    raise DataError(
        f"sample {first} of {source.name} and {ATTEMPTS - 1} others in its place cannot be read. "
        f"{lost[first]}"
    )


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
        """Notes rows; returns those that are new.

        Raises:
            DataError: they are more than the share.
        """
        new = sorted(set(rows) - self.rows)
        self.rows.update(new)
        if len(self.rows) > self.share * self.samples:
            raise DataError(
                f"{len(self.rows):,} of {self.samples:,} samples cannot be read, more than "
                f"data.skip_unreadable = {self.share:g} allows: {self.told()}. `domainjepa inspect` "
                "says what is wrong with them."
            )
        return new

    def told(self) -> str:
        """The rows, in words."""
        first = ", ".join(map(str, sorted(self.rows)[:NAMED]))
        more = f" and {len(self.rows) - NAMED:,} more" if len(self.rows) > NAMED else ""
        return f"row{'s' if len(self.rows) > 1 else ''} {first}{more}"
