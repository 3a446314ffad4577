"""The order of samples and the one origin of randomness.

Every random draw is keyed by what it is for, never by when or where it happens: the number of
workers, the number of ranks, a stop and a resume change nothing that the model sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def key(*parts: int | str) -> int:
    """A 64-bit key from what a draw is for, such as `key(seed, "views", epoch, sample, view)`.

    BLAKE2b (RFC 7693) over the parts: near keys give unrelated streams, on every machine alike.
    """
    text = "\x1f".join(f"{type(part).__name__[0]}{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def epoch_order(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows of one epoch in their keyed random order."""
    return np.random.default_rng(key(seed, "order", epoch)).permutation(rows)


class KeyedBatches:
    """Batches of (epoch, row) from one step to another: the batch sampler of a run.

    An epoch has `len(rows) // batch_size` whole batches; what is left over waits for another epoch,
    whose order differs. Each rank takes its contiguous part of every global batch.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        steps: range,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size > len(rows):
            raise ValueError(f"a batch of {batch_size} from {len(rows)} rows")
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.steps = steps
        self.part = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batches_an_epoch = len(self.rows) // self.batch_size
        order_of, order = -1, self.rows
        for step in self.steps:
            epoch, position = divmod(step, batches_an_epoch)
            if epoch != order_of:
                order_of, order = epoch, epoch_order(self.rows, self.seed, epoch)
            batch = order[position * self.batch_size : (position + 1) * self.batch_size]
            yield [(epoch, int(row)) for row in batch[self.part]]
