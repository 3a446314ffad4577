"""Arrays as they lie in a file, uncompressed: what is asked for is read, and nothing is mapped.

A file that is cut short under a memory map kills the process that looks at it (SIGBUS); a read
finds less than it asked for, and can say so.
"""

from __future__ import annotations

import math
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.errors import DataError

PAGE = 4096
"""Bytes that a disk reads at once: a gap of less costs nothing."""
MOST_GAPS = 64 * 2**20
"""Bytes that may be read at once for the sake of such gaps."""

Where = int | slice | tuple[int | slice, ...]


class Stored:
    """An array in a file, read by parts. Picklable; each process opens the file for itself.

    Args:
        path: of the file.
        dtype: of the values, in the byte order of the file.
        shape: of the whole array.
        offset: of the first value in the file, in bytes.
        fortran: whether the first axis runs fastest.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        offset: int = 0,
        *,
        fortran: bool = False,
    ) -> None:
        self.path, self.dtype, self.shape = path, np.dtype(dtype), shape
        self.offset, self.fortran = offset, fortran
        self._file: int | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def __getitem__(self, where: Where) -> NDArray[Any]:
        """A part of the array, a copy: integers and slices of step 1, for the first axes or all.

        Raises:
            DataError: the file is shorter than the array.
            OSError: it cannot be read.
        """
        index = where if isinstance(where, tuple) else (where,)
        index = (*index, *[slice(None)] * (len(self.shape) - len(index)))
        # A negative integer counts from the end, as in any array.
        spans = [
            (one if isinstance(one, slice) else slice(one, one + 1 or None)).indices(side)[:2]
            for one, side in zip(index, self.shape, strict=True)
        ]
        if self.fortran:
            part = self._read(spans[::-1], self.shape[::-1]).T
        else:
            part = self._read(spans, self.shape)
        return part[tuple(slice(None) if isinstance(one, slice) else 0 for one in index)]

    def _read(self, spans: list[tuple[int, int]], shape: tuple[int, ...]) -> NDArray[Any]:
        """What lies between these bounds of each axis, of which the last one runs fastest."""
        block = self._with_gaps(spans, shape)
        # From the last axis that is not read whole on, all is one run of bytes.
        first = max((a for a, span in enumerate(block) if span != (0, shape[a])), default=0)
        found = np.empty([max(stop - start, 0) for start, stop in block], self.dtype)
        strides = [math.prod(shape[axis + 1 :]) * self.dtype.itemsize for axis in range(len(shape))]
        places = product(*(range(*span) for span in block[:first]))
        runs = found.reshape(math.prod(found.shape[:first]), -1)
        if found.size:
            for run, place in zip(runs, places, strict=True):
                starts = [*place, *(span[0] for span in block[first:])]
                at = sum(start * stride for start, stride in zip(starts, strides, strict=True))
                self._fill(run, self.offset + at)
        return found[
            tuple(
                slice(start - begun, stop - begun)
                for (start, stop), (begun, _) in zip(spans, block, strict=True)
            )
        ]

    def _with_gaps(
        self, spans: list[tuple[int, int]], shape: tuple[int, ...]
    ) -> list[tuple[int, int]]:
        """The bounds, widened over the last axes where fewer and longer reads cost less."""
        block = list(spans)
        wanted = math.prod(stop - start for start, stop in spans)
        for axis in range(len(shape) - 1, 0, -1):
            wider = [*block[:axis], *((0, side) for side in shape[axis:])]
            values = math.prod(stop - start for start, stop in wider)
            row = math.prod(shape[axis:]) * self.dtype.itemsize
            small = row <= PAGE and values * self.dtype.itemsize <= MOST_GAPS
            if not (small or values <= 2 * wanted):
                break
            block = wider
        return block

    def _fill(self, run: NDArray[Any], at: int) -> None:
        """Reads into contiguous memory."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        buffer = run.view(np.uint8).data
        while buffer:
            count = os.preadv(self._file, [buffer], at)
            if not count:
                raise DataError(
                    f"{self.path.name} has become shorter since it was opened: it ends before "
                    f"byte {at + len(buffer):,}. Copy it anew, and leave it as it is during a run."
                )
            buffer, at = buffer[count:], at + count
