"""A batch in parts, with the gradient of the whole: gradient caching (Gao et al. 2021,
arXiv:2101.06983, section 3.2).

The objective needs the whole batch, the backbone does not. So the features of each part are
computed without a graph; heads and objective see them all, and their backward pass ends in a
gradient at the features; then each part goes through the backbone again, with a graph, and takes
its share of that gradient to the weights. The memory is that of one part, the price one more
forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor

from domainjepa.config import PretrainConfig
from domainjepa.pretraining.running_statistics import RunningStatistics

Views = Sequence[Tensor]
"""Groups of views of one size each: (V_i, N, C, H_i, W_i) or (V_i, N, C, D_i, H_i, W_i)."""


def parts_of_a_batch(config: PretrainConfig, ranks: int) -> int:
    """Into how many parts every rank divides its share of a batch; as many on each of them."""
    if config.micro_batch is None:
        return 1
    parts = math.ceil(math.ceil(config.batch_size / ranks) / config.micro_batch)
    return max(1, min(parts, config.batch_size // ranks))


class MicroBatches:
    """The features of a batch, part by part, and the backward pass through them.

    Args:
        features: of the views of a part, and its number -> (V, n, D). Called again it must draw
            alike.
        count: of parts. One is computed once, with a graph.
        statistics: of the network behind `features`.
        alone: a context in which ranks add gradients up, each for itself.
    """

    def __init__(
        self,
        features: Callable[[Views, int], Tensor],
        count: int,
        statistics: RunningStatistics,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._features, self._count = features, count
        self._statistics, self._alone = statistics, alone
        self._parts: list[Views] = []
        self._cached = torch.empty(0)

    def features(self, groups: Views) -> Tensor:
        """(V, N, D) of a batch: of several parts without a graph, and `backward` goes on from its
        gradient."""
        if self._count == 1:
            return self._features(groups, 0)
        self._parts = self.parts(groups)
        passes = [partial(self._features, part, at) for at, part in enumerate(self._parts)]
        with torch.no_grad():
            found = self._statistics.moved_once(passes)
        self._cached = torch.cat(found, dim=1).requires_grad_()
        return self._cached

    def backward(self, loss: Tensor) -> None:
        """The gradient of a loss of the last features, in all weights. What is computed again for
        it (of layers that keep no activations, too) leaves running statistics as they are."""
        with self._statistics.kept():
            loss.backward()  # type: ignore[no-untyped-call]
            if self._count == 1:
                return
            assert self._cached.grad is not None
            gradients = self._cached.grad.tensor_split(self._count, dim=1)
            last = self._count - 1
            for at, (part, gradient) in enumerate(zip(self._parts, gradients, strict=True)):
                with nullcontext() if at == last else self._alone():
                    self._features(part, at).backward(gradient)  # type: ignore[no-untyped-call]

    def parts(self, groups: Views) -> list[Views]:
        """The samples of a batch in nearly equal parts, each with all of its views."""
        divided = [views.tensor_split(self._count, dim=1) for views in groups]
        return list(zip(*divided, strict=True))
