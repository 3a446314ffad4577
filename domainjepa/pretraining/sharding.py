"""Weights, gradients and moments divided over the ranks: for backbones that outgrow a card.

FSDP2 (Zhao et al. 2023, arXiv:2304.11277): each rank keeps a part of every weight, and of a block
the whole only while it is computed. A checkpoint holds whole tensors, so it does not know how many
ranks made it, or whether they were sharded. It stays the one file of `checkpoint.py`:
torch.distributed.checkpoint unpickles its `.metadata`, which a file of another's making must not
be trusted with.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from domainjepa.distributed import is_main, world_size
from domainjepa.pretraining.network import Network
from domainjepa.pretraining.parallel import synchronised
from domainjepa.pretraining.plan import Plan

LEAST = 1 / 64
"""Share of the backbone's weights from which on a block is gathered by itself."""


def shard(network: Network, plan: Plan) -> None:
    """Divide a network over the ranks, block by block, on their devices; every rank calls it with
    the same weights."""
    # Its blocks yield views, which nobody changes in place here.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
    mesh = init_device_mesh(plan.device.type, (world_size(),))
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    # BatchNorm's weights and statistics have to agree in type; its networks leave it to autocast.
    if plan.config.precision == "bfloat16" and not network.backbone.has_batch_norm:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    if plan.device.type != "cpu":
        synchronised(network)
    for block in [*blocks(network.backbone), network.backbone]:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    for head in filter(None, (network.projector, network.predictor, network.probe)):
        fully_shard(head, mesh=mesh)


def blocks(backbone: nn.Module) -> Iterator[nn.Module]:
    """The parts of a network that follow each other, inner ones first: what is called, not what
    merely holds others, and neither single layers nor what is too small to be worth a message."""
    least = LEAST * _weights(backbone)
    holders = (nn.Sequential, nn.ModuleList)
    found = [
        part
        for holder in backbone.modules()
        if isinstance(holder, holders)
        for part in holder
        if not isinstance(part, holders) and any(part.children()) and _weights(part) >= least
    ]
    # Those that hold others come before them in `modules`.
    return reversed(list(dict.fromkeys(found)))


def _weights(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())


def own_part(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    part: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part


def whole(packed: Any) -> Any:
    """State dicts and the like with whole tensors in the place of divided ones: on the CPU of the
    main rank; elsewhere None stands for them. Every rank calls it."""
    if isinstance(packed, DTensor):
        gathered = packed.full_tensor()
        return gathered.cpu() if is_main() else None
    if isinstance(packed, Mapping):
        return {name: whole(value) for name, value in packed.items()}
    return packed


def divided(value: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a whole tensor, where `like` is divided; the tensor itself where not.

    Raises:
        ValueError: they have not the same shape.
    """
    if not isinstance(like, DTensor) or value.ndim == 0:
        return value
    if value.shape != like.shape:
        raise ValueError(f"a tensor of {tuple(value.shape)} in the place of {tuple(like.shape)}")
    placed = value.to(like.device)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)
