"""Ranks and reductions, all of which are the identity in a single process.

Whether there is a process group is asked at the moment of each call, never earlier.

The gradient convention. Every rank computes the loss of the GLOBAL batch, and
`DistributedDataParallel` averages the gradients over ranks. The reductions here therefore use the
true adjoint (the backward of a sum over ranks is a sum over ranks of the gradients): W ranks that
hold the same loss give each local tensor W times its gradient, and the average over ranks turns
that into exactly the gradient of one process on the joined batch, whatever the local counts are.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from domainjepa import devices
from domainjepa.errors import RankLost, UserError


def in_group() -> bool:
    """True if a process group exists now."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process' number, 0 without a group."""
    return dist.get_rank() if in_group() else 0


def world_size() -> int:
    """The number of processes, 1 without a group."""
    return dist.get_world_size() if in_group() else 1


def local_rank() -> int:
    """This process' number on its machine (torchrun's LOCAL_RANK), which is its CUDA device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """The number of processes on this machine (torchrun's LOCAL_WORLD_SIZE)."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))


def is_main() -> bool:
    """True on the one rank that writes."""
    return rank() == 0


@contextmanager
def process_group(device: str = "auto") -> Iterator[None]:
    """The process group that torchrun's environment describes, for the length of a `with` block.

    Its backend is that of the devices that `device` names: NCCL for CUDA, gloo on the CPU. Without
    RANK and WORLD_SIZE in the environment, or inside an existing group, the block runs as it is. A
    DistributedDataParallel that outlives the block aborts the process at exit (gloo), so let it
    live in a function that is called inside.

    Raises:
        RankLost: another rank is gone, and an operation of the block had to wait for it.
    """
    if in_group() or not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        yield
        return
    here = devices.accelerator()
    # A device that is not here is refused by the plan, in words.
    where = torch.device(here if here and device in ("auto", here) else "cpu")
    if where.type == here and local_rank() < torch.accelerator.device_count():
        torch.accelerator.set_device_index(local_rank())
    try:
        dist.init_process_group(devices.communicates_by(where))
        yield
    except RuntimeError as error:
        if not _of_the_connection(error):
            raise
        raise RankLost from error
    finally:
        gc.collect()  # what still holds the group in a cycle
        if in_group():
            dist.destroy_process_group()


def _of_the_connection(error: RuntimeError) -> bool:
    """Whether an operation failed for another rank: gloo raises a bare RuntimeError."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over ranks, differentiable; shapes must agree.

    Use the returned value: the argument is left as it was.
    """
    total: Tensor = _Sum.apply(tensor) if in_group() else tensor
    return total


def gather_over_ranks(tensor: Tensor, dim: int = 0) -> Tensor:
    """The tensors of all ranks joined along `dim` in the order of ranks, differentiable.

    The sizes along `dim` may differ between ranks (and may be 0); the others must agree. Asking for
    the sizes synchronises with the host.
    """
    joined: Tensor = _Gather.apply(tensor, dim) if in_group() else tensor
    return joined


def any_over_ranks(flag: bool) -> bool:
    """True on every rank if `flag` is true on any: ranks that decide together do not hang."""
    if not in_group():
        return flag
    of_backend = {"nccl": "cuda", "xccl": "xpu"}.get(dist.get_backend())
    device = torch.device(of_backend, local_rank()) if of_backend else None
    seen = torch.tensor(int(flag), device=device)
    dist.all_reduce(seen, op=dist.ReduceOp.MAX)
    return bool(seen.item())


def by_the_main_rank(act: Callable[[], None]) -> None:
    """The main rank acts and decides for all: the others could find what it has just made.

    Raises:
        UserError: the main rank's, or one that says that it refused.
    """
    refused: UserError | None = None
    if is_main():
        try:
            act()
        except UserError as error:
            refused = error
    if any_over_ranks(refused is not None):
        raise refused or UserError("the main rank refused to write there")


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dim: int) -> Tensor:
        local = tensor.movedim(dim, 0).contiguous()
        size = torch.tensor([len(local)], device=tensor.device)
        sizes = [torch.empty_like(size) for _ in range(world_size())]
        dist.all_gather(sizes, size)
        counts = [int(n) for n in sizes]
        # Collectives want equal shapes: pad to the longest, cut after.
        padded = local.new_zeros((max(counts), *local.shape[1:]))
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        ctx.dim, ctx.start, ctx.count = dim, sum(counts[: rank()]), len(local)
        return torch.cat([p[:n] for p, n in zip(parts, counts, strict=True)]).movedim(0, dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(ctx.dim, ctx.start, ctx.count), None
