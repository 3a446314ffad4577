"""Running statistics (BatchNorm's): they move once a step, however often a part is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class RunningStatistics:
    """The buffers of a network.

    Args:
        buffers: tensors that forward passes move in place.
    """

    def __init__(self, buffers: Iterable[Tensor]) -> None:
        self._buffers = list(buffers)

    def taken(self) -> list[Tensor]:
        """Copies of what they are now."""
        return [buffer.clone() for buffer in self._buffers]

    def put(self, values: Sequence[Tensor]) -> None:
        """Make them what they were when `values` were taken."""
        for buffer, value in zip(self._buffers, values, strict=True):
            buffer.copy_(value)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """After the block they are what they were before it."""
        before = self.taken()
        yield
        self.put(before)

    def moved_once(self, passes: Sequence[Callable[[], Tensor]]) -> list[Tensor]:
        """What the passes yield. Each begins with the statistics of now; in the end they are the
        mean over passes: with BatchNorm, what one pass with the mean of their statistics makes.
        """
        before = self.taken()
        found, moved = [], []
        for one in passes:
            self.put(before)
            found.append(one())
            moved.append(self.taken())
        self.put([_mean(values) for values in zip(*moved, strict=True)])
        return found


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Counts of batches are whole numbers, and the same after each pass."""
    return torch.stack(list(values)).mean(0) if values[0].is_floating_point() else values[0]
