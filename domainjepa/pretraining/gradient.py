"""The gradient of a step: whether it is a number everywhere, how long it is, and what is too long.

The probe only watches, so its gradient is looked at but never counts in the norm: it would else
decide how far the encoder moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from domainjepa.distributed import any_over_ranks
from domainjepa.pretraining.network import Network


class Gradient(NamedTuple):
    """What a backward pass has left in a network.

    Attributes:
        norm: Euclidean, over all weights that the objective moves; before any clipping.
        fault: what is NaN or infinite on some rank, in words; empty where all are numbers.
    """

    norm: float
    fault: str

    @classmethod
    def of(cls, network: Network, loss: Tensor) -> Gradient:
        """The gradient that the backward pass of a loss has left; all ranks find the same fault."""
        watching = () if network.probe is None else network.probe.parameters()
        found = [loss.detach(), _norm(network.learning()), _norm(watching).to(loss.device)]
        value, norm, beside = torch.stack([one.float() for one in found]).tolist()
        faulty = not all(map(math.isfinite, (value, norm, beside)))
        if not any_over_ranks(faulty):
            return cls(norm, "")
        return cls(norm, "a gradient" if math.isfinite(value) else "the loss")

    def clip(self, network: Network, longest: float | None) -> None:
        """Scale the gradient down to a length that it may not exceed."""
        if longest is not None and self.norm > longest:
            clip_grads_with_norm_(network.learning(), longest, torch.tensor(self.norm))


def _norm(weights: Iterable[nn.Parameter]) -> Tensor:
    norm = get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    whole: Tensor = norm.full_tensor() if isinstance(norm, DTensor) else norm
    return whole
