"""Sources from arrays in memory, for tests of what is built on sources."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError


@dataclass(kw_only=True)
class Arrays(Source):
    """One array a sample; those in `broken` cannot be read. Counts how many it gave."""

    arrays: list[NDArray[Any]]
    broken: tuple[int, ...] = ()
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        for index in indices:
            if index in self.broken:
                raise DataError(f"sample {index} cannot be read")
        self.reads += indices
        return [self.arrays[index].copy() for index in indices]

    def read_column(self, name: str) -> NDArray[Any]:
        return np.arange(len(self)) * 10 if name == "tens" else super().read_column(name)

    def content_key(self) -> str:
        return hashlib.sha256(b"".join(one.tobytes() for one in self.arrays)).hexdigest()


class Lazy(Arrays):
    """The same in a format that reads parts; `reads` counts whole samples alone."""

    def sides(self, index: int) -> tuple[int, ...]:
        return self.arrays[index].shape[:-1]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        if index in self.broken:
            raise DataError(f"sample {index} cannot be read")
        where = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
        return self.arrays[index][where].copy()


def toy(kind: type[Arrays], arrays: list[NDArray[Any]], **fields: Any) -> Arrays:
    told: dict[str, Any] = {"name": "toy", "loader": "toy", "arrays": arrays}
    return kind(**told | {"shape": arrays[0].shape, "dtype": arrays[0].dtype} | fields)
