"""A source: index -> image in its own dtype, with labels, groups and ids where the data has them.

`open_source` is the way in. A loader says whether a path is its own by looking at the first bytes
(`sniff`) and opens it; adding a format is one file with one loader and one line in the registry.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
"""(H, W, C), in the source's own dtype."""


@dataclass(frozen=True)
class OpenOptions:
    """What the user says about a data set where it is not found by itself (`data.*` settings)."""

    images: str | None = None
    labels: str | None = None
    groups: str | None = None
    split: str | None = None
    follow_links: bool = False
    max_sample_bytes: int = 256 * 2**20


@dataclass(kw_only=True)
class Source(ABC):
    """Images by index. Picklable; file handles are opened lazily, one for each process.

    Attributes:
        name: what the user calls it: a card's name or a file's name, never a path.
        loader: the loader's name.
        shape: (H, W, C) of a sample; H and W are those of the first sample where sizes differ.
        dtype: the source's own.
        labels: (N,) int64 class indices, or None.
        classes: names of the classes, in the order of the indices, or None.
        groups: (N,) int64, equal for samples that must not be split (a patient, a sky position).
        ids: (N,) strings, or None.
        split: (N,) strings out of train, val, test, or None.
        card: the dataset card (plain data) that matched, or None.
        decisions: one readable line each: what was found and what was decided.
        warnings: one readable line each, with the remedy.
    """

    name: str
    loader: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    groups: NDArray[np.int64] | None = None
    ids: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    card: dict[str, Any] | None = None
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        """The samples at these indices, in their order, each (H, W, C).

        Raises:
            DataError: a sample cannot be read; names the data set and the index.
            IndexError: an index is out of range.
        """

    @abstractmethod
    def content_key(self) -> str:
        """Changes when the data changes: sizes, names, times, and the bytes of some samples."""

    def __getitem__(self, index: int) -> Image:
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        return self.__getitems__([index % len(self)])[0]

    def rows(self, *splits: str) -> NDArray[np.int64]:
        """Indices of the samples in these splits, ascending; all of them where there is no split."""
        everything = np.arange(len(self), dtype=np.int64)
        if self.split is None or not splits:
            return everything
        return everything[np.isin(self.split, splits)]

    def fingerprint(self) -> str:
        """SHA-256 over the content key, the shape, the dtype and the labels."""
        digest = hashlib.sha256()
        digest.update(f"{len(self)} {self.shape} {self.dtype.str} {self.content_key()}".encode())
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()


class Loader(ABC):
    """Opens one format."""

    name: str

    @abstractmethod
    def sniff(self, path: str, head: bytes) -> bool:
        """Whether this path is of this format.

        Args:
            path: a file or folder.
            head: the first bytes of the file, at most 4096; empty for a folder.
        """

    @abstractmethod
    def open(self, path: str, options: OpenOptions) -> Source:
        """The source behind a path.

        Raises:
            DataError: unreadable, ambiguous, or unsafe; the message says what to do next.
        """
