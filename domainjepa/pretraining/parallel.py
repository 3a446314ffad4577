"""The network as it runs: compiled if asked for, over the ranks of a run."""

from __future__ import annotations

from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from domainjepa.distributed import world_size
from domainjepa.pretraining.network import Network
from domainjepa.pretraining.plan import Plan


def parallel(network: Network, plan: Plan) -> nn.Module:
    """The network as it runs: compiled if asked for; with several ranks, gradients averaged."""
    if plan.config.compile:
        network.backbone.compile()
    if world_size() == 1:
        return network
    if plan.device.type == "cuda":
        return DistributedDataParallel(synchronised(network), device_ids=[plan.device.index])
    return DistributedDataParallel(network)


def synchronised(network: nn.Module) -> nn.Module:
    """The network with one batch statistic over all ranks, as on one device.

    By timm, since torch's own conversion drops the activation inside timm's norm layers.
    """
    synced: nn.Module = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return synced
