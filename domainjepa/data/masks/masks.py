"""Masks of samples, a class for every pixel: for whoever evaluates; nothing trains on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.parts.recent import Recent
from domainjepa.errors import DataError

Mask = NDArray[Any]
"""(H, W), or (D, H, W) of a volume: integers, in the type of the file."""


@dataclass(kw_only=True)
class Masks(ABC):
    """Masks by the index of their samples. Picklable; each is read as it is asked for.

    Attributes:
        known: (N,) bool, which samples have a mask.
        classes: value -> name, where the data tell; or None.
    """

    known: NDArray[np.bool_] = field(repr=False)
    classes: Mapping[int, str] | None = None

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, index: int) -> Mask:
        """The mask of a sample, of the sample's own size.

        Raises:
            DataError: the sample has none; or it cannot be read, is of another size, or holds
                values that are no whole numbers.
            IndexError: there is no such sample.
        """
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"mask {index} of {len(self)}")
        index %= len(self)
        if not self.known[index]:
            raise DataError(f"sample {index} has no mask: `masks.known` tells which samples have.")
        return self.read(index)

    @abstractmethod
    def read(self, index: int) -> Mask:
        """The mask of a sample that has one; `__getitem__` sees to it that the sample does."""


@dataclass(kw_only=True)
class MasksOf(Masks):
    """Masks of some rows of a source, or of some rows several times.

    Attributes:
        whole: masks of all rows.
        rows: (N,) the row of each sample.
    """

    whole: Masks = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)

    def read(self, index: int) -> Mask:
        return self.whole[int(self.rows[index])]


def masks_of(whole: Masks | None, rows: NDArray[np.int64]) -> Masks | None:
    """The masks of these rows, where there are any masks."""
    if whole is None:
        return None
    return MasksOf(known=whole.known[rows], classes=whole.classes, whole=whole, rows=rows)


class Cutting(Protocol):
    """What cuts its samples out of those of another source."""

    def within(self, index: int, mask: Mask) -> Mask:
        """What lies in a sample of the mask of what it is cut from, turned as the sample is."""


@dataclass(kw_only=True)
class CutMasks(Masks):
    """The masks of what is cut out of larger samples.

    Attributes:
        whole: masks of the larger samples.
        rows: (N,) the larger sample of each.
        cutting: the source that cuts.
    """

    whole: Masks = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    cutting: Cutting = field(repr=False)
    _recent: Recent = field(default_factory=Recent, init=False, repr=False, compare=False)

    def read(self, index: int) -> Mask:
        row = int(self.rows[index])
        mask = self._recent.get(row, lambda: self.whole[row])
        return np.array(self.cutting.within(index, mask), order="C")


def masks_cut(whole: Masks | None, rows: NDArray[np.int64], cutting: Cutting) -> Masks | None:
    """The masks of what is cut out of these rows, where there are any masks."""
    if whole is None:
        return None
    known, classes = whole.known[rows], whole.classes
    return CutMasks(known=known, classes=classes, whole=whole, rows=rows, cutting=cutting)
