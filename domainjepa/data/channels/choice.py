"""Some of the channels of a source, by the names that the data give them, or by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError, did_you_mean


@dataclass(kw_only=True)
class ChosenBands(Source):
    """Another source with some of its channels, in an order of one's own."""

    whole: Source = field(repr=False)
    places: list[int]

    def __len__(self) -> int:
        return len(self.whole)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [
            np.ascontiguousarray(one[..., self.places]) for one in self.whole.__getitems__(indices)
        ]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return np.ascontiguousarray(self.whole.region(index, start, stop)[..., self.places])

    def sides(self, index: int) -> tuple[int, ...]:
        return self.whole.sides(index)

    @property
    def reads_parts(self) -> bool:
        return self.whole.reads_parts

    @property
    def axes(self) -> tuple[str, ...] | None:
        """What D, H, W of a volume are in the patient, where the format tells."""
        return getattr(self.whole, "axes", None)

    @property
    def directions(self) -> tuple[str, ...] | None:
        """Where D, H, W of a volume lead in the patient, where the format tells."""
        return getattr(self.whole, "directions", None)

    def file_names(self) -> Sequence[str] | None:
        return self.whole.file_names()

    def read_column(self, name: str) -> NDArray[Any]:
        return self.whole.column(name)

    def content_key(self) -> str:
        return f"{self.whole.content_key()} bands {self.places}"


def chosen_bands(source: Source, bands: tuple[str, ...]) -> Source:
    """The source with these channels: by the names that it has for them, else by numbers from 0.

    Raises:
        DataError: it has no such channel.
    """
    names = source.bands or ()
    numbers = [str(number) for number in range(source.channels)]
    places: list[int] = []
    for band in bands:
        # A file of several channels makes them "band 0", "band 1", …
        own = [at for at, name in enumerate(names) if name == band or name.startswith(f"{band} ")]
        if not own and band not in numbers:
            raise DataError(
                f"data.bands: no channel of {source.name} is called {band!r}, and no part of the "
                f"names of its files is.{did_you_mean(band, names or numbers)}"
            )
        places += own or [int(band)]
    if places == list(range(source.channels)):
        return source
    facts = {one.name: getattr(source, one.name) for one in fields(Source)}
    facts["shape"] = (*source.shape[:-1], len(places))
    facts["bands"] = tuple(names[place] for place in places) if names else None
    facts["decisions"] = [*source.decisions, f"bands: {', '.join(bands)} of {source.channels}"]
    return ChosenBands(**facts, whole=source, places=places)
