"""The network as it runs: compiled if asked for, over the ranks of a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from domainjepa.distributed import world_size
from domainjepa.pretraining.machine import sharded
from domainjepa.pretraining.network import Network
from domainjepa.pretraining.plan import Plan


class Parallel(NamedTuple):
    """The two halves of a network, each called by itself: the first may run in micro-batches.

    Attributes:
        features: groups of views -> (V, N, D), `Network.features`.
        heads: features, number of global views -> outputs, `Network.heads`.
    """

    features: Callable[..., Any]
    heads: Callable[..., Any]

    def alone(self) -> AbstractContextManager[None]:
        """Inside, gradients of the features' weights are added up on each rank and not averaged."""
        if isinstance(self.features, DistributedDataParallel):
            return self.features.no_sync()
        return nullcontext()


def parallel(network: Network, plan: Plan) -> Parallel:
    """The network as it runs: compiled if asked for; with several ranks, gradients averaged."""
    if plan.config.compile:
        network.backbone.compile()
    if world_size() == 1 or sharded(plan.config):  # which averages gradients by itself
        return Parallel(network.features, network.heads)
    on_gpu = plan.device.type != "cpu"
    if on_gpu:
        synchronised(network)
    heads = [network.projector, network.predictor, network.probe]
    halves = (
        _Half(network.features, network.backbone),
        _Half(network.heads, *filter(None, heads)),
    )
    device = [plan.device.index] if on_gpu else None
    return Parallel(*(DistributedDataParallel(half, device_ids=device) for half in halves))


class _Half(nn.Module):
    """A method of a network, with the parts of it whose weights it uses."""

    def __init__(self, method: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.method = method
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: Any) -> Any:
        return self.method(*inputs)


def synchronised(network: nn.Module) -> nn.Module:
    """The network with one batch statistic over all ranks, as on one device.

    By timm, since torch's own conversion drops the activation inside timm's norm layers.
    """
    synced: nn.Module = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return synced
