"""What an array costs to read, by its shape and its chunks alone: nothing is read to know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

from domainjepa.data.source import OpenOptions
from domainjepa.data.storage.large import lines
from domainjepa.errors import DataError

MOST_PACKED = 10_000
"""What claims more bytes of images than this many times its size is refused."""
MOST_PIECES = 100_000
"""Chunks that one sample may be put together from."""


@dataclass(frozen=True)
class Storage:
    """How an array of samples is stored.

    Attributes:
        name, where: what to call the array and its file in a message.
        shape: samples first.
        chunks: what is read and unpacked at once; None where the array lies in one piece.
        itemsize: bytes of a value.
    """

    name: str
    where: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None
    itemsize: int

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample in memory."""
        return prod(self.shape[1:]) * self.itemsize

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk in memory; 0 without chunks."""
        return prod(self.chunks) * self.itemsize if self.chunks else 0

    @property
    def pieces(self) -> int:
        """Chunks that one sample touches."""
        if not self.chunks:
            return 1
        sides = zip(self.shape[1:], self.chunks[1:], strict=True)
        return prod(ceil(side / max(chunk, 1)) for side, chunk in sides)

    def check(self, options: OpenOptions, *, volumetric: bool = False) -> None:
        """Raises DataError before anything is allocated that only the header asks for.

        Args:
            options: the limit.
            volumetric: whether samples are volumes of a format that can read parts of them.
        """
        if 0 in self.shape:
            raise DataError(f"{self.name!r} in {self.where} is empty: its shape is {self.shape}.")
        most = options.max_sample_bytes
        whole = options.read_whole(volumetric)
        sample = self.sample_bytes if whole else 0
        for what, size in (("one sample", sample), ("one chunk", self.chunk_bytes)):
            if size > most:
                raise DataError(
                    f"{what} of {self.name!r} in {self.where} would take {in_bytes(size)}, more "
                    f"than {in_bytes(most)}. If that is meant: --set data.max_sample_bytes={size}"
                )
        if self.pieces > MOST_PIECES and whole:
            raise DataError(
                f"one sample of {self.name!r} in {self.where} lies in {self.pieces:,} chunks, more "
                f"than {MOST_PIECES:,}: write it again with one sample a chunk."
            )

    def check_claim(self, stored: int) -> None:
        """Raises DataError where this many stored bytes cannot hold what the shape claims."""
        claimed = self.sample_bytes * self.shape[0]
        if claimed > max(2**30, MOST_PACKED * stored):
            raise DataError(
                f"{self.name!r} claims {in_bytes(claimed)} of images in {in_bytes(stored)}: "
                f"{self.where} is damaged, unfinished, or made to exhaust memory."
            )

    def read_at_once(self, axes: Sequence[int]) -> tuple[int, ...]:
        """What is read and unpacked at once of a sample, along these axes of the array; where it
        lies in one piece, what a disk gives at once."""
        chunks = self.chunks or (1, *lines(self.shape[1:], self.itemsize))
        return tuple(max(chunks[axis], 1) for axis in axes)

    def advice(self) -> list[str]:
        """A warning where one sample costs far more to read than it holds."""
        touched = self.pieces * self.chunk_bytes
        if self.chunks is None or touched < max(4 * self.sample_bytes, 2**16):
            return []
        return [
            f"{self.name!r} is stored in chunks of {'x'.join(map(str, self.chunks))}: one sample "
            f"of {in_bytes(self.sample_bytes)} takes {in_bytes(touched)} to read, so training will "
            f"wait for data. Rewrite it once: domainjepa prepare --data {self.where} "
            f"--out {Path(self.where).stem}-fast.h5"
        ]


def in_bytes(size: int) -> str:
    """Bytes as people read them, such as "196 kB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size} {unit}"
        size //= 1000
    return f"{size:,} TB"
