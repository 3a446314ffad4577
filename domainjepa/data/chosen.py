"""Some of the samples of another source, in its order."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.masks.masks import masks_of
from domainjepa.data.metadata.where import choose
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.large import Large
from domainjepa.errors import DataError

OF_EACH = ("labels", "groups", "ids", "split", "spacings", "stack")
"""Fields of a source with one entry a sample."""


@dataclass(kw_only=True)
class ChosenSource(Source):
    """Samples of `whole`, read from there.

    Attributes:
        whole: the source.
        chosen: (N,) int64, their rows in it.
    """

    whole: Source
    chosen: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.chosen)

    def _of(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        return int(self.chosen[index])

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return self.whole.__getitems__([self._of(int(index)) for index in indices])

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self.whole.region(self._of(index), start, stop)

    def sides(self, index: int) -> tuple[int, ...]:
        return self.whole.sides(self._of(index))

    @property
    def reads_parts(self) -> bool:
        return self.whole.reads_parts

    def chunks(self, index: int) -> tuple[int, ...] | None:
        return self.whole.chunks(self._of(index))

    def overview(self, index: int) -> Image | None:
        return self.whole.overview(self._of(index))

    def large(self, index: int) -> Large | None:
        return self.whole.large(self._of(index))

    @property
    def axes(self) -> tuple[str, ...] | None:
        """What D, H, W of a volume are in the patient, where the format tells."""
        return getattr(self.whole, "axes", None)

    @property
    def directions(self) -> tuple[str, ...] | None:
        """Where D, H, W of a volume lead in the patient, where the format tells."""
        return getattr(self.whole, "directions", None)

    def file_names(self) -> Sequence[str] | None:
        names = self.whole.file_names()
        return None if names is None else [names[row] for row in self.chosen.tolist()]

    def read_column(self, name: str) -> NDArray[Any]:
        values = self.whole.column(name)
        return values[self.chosen] if len(values) == len(self.whole) else values

    def content_key(self) -> str:
        return f"{self.whole.content_key()} where {' and '.join(self.conditions)}"


def of_rows(source: Source, rows: NDArray[np.int64], **told: Any) -> ChosenSource:
    """These rows of a source.

    Args:
        told: fields that are not the source's own.
    """
    facts = {one.name: getattr(source, one.name) for one in fields(Source)}
    for name in OF_EACH:
        if facts[name] is not None:
            facts[name] = facts[name][rows]
    facts["masks"] = masks_of(source.masks, rows)
    with contextlib.suppress(DataError):  # whoever reads the first one is told
        facts["shape"] = (*source.sides(int(rows[0])), source.channels)
    return ChosenSource(whole=source, chosen=rows, **facts | told)


def chosen(source: Source, conditions: tuple[str, ...]) -> ChosenSource:
    """The samples for which all conditions hold; classes keep their numbers.

    Raises:
        DataError: a condition is wrong, or holds for none.
    """
    choice = choose(conditions, source.keys, source.column, len(source))
    line = choice.hidden if source.medical else choice.decision
    decisions = [*source.decisions, line]
    return of_rows(source, choice.rows, conditions=conditions, decisions=decisions)
