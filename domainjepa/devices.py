"""Devices: the CPU and the accelerators that PyTorch knows, and what each can do.

`cuda` is AMD's ROCm, too; `mps` is Apple's GPU, `xpu` Intel's. Training and inference ask here.
What a device can do is tried on it where that is cheap: no table of versions is as true.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

import torch
from torch import nn

from domainjepa.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""mallopt(3)."""
LARGEST_KEPT, KEPT = 256 * 2**20, 2**30
"""Bytes of one tensor, and of all free memory at the end of the heap, that are not handed back."""
KNOWN = ("cuda", "mps", "xpu")
"""Accelerators, by the names that PyTorch gives them."""


def accelerator() -> str | None:
    """The kind of accelerator that this machine has and PyTorch can use, or None."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None and found.type in KNOWN else None


def choose(name: str) -> torch.device:
    """The device of a name: `auto`, the accelerator where there is one, `cpu`, or another such as
    `cuda:1`; on the CPU, memory is kept from now on: see `keep_memory`.

    Raises:
        UserError: it cannot be used here.
    """
    try:
        if name == "auto":
            found = torch.device(accelerator() or "cpu")
        else:
            found = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"device={name!r} cannot be used: {reason}. Choose auto, cpu, "
            f"{' or '.join(KNOWN)}; here there is {accelerator() or 'no accelerator'}."
        ) from error
    if found.type == "cpu":
        keep_memory()
    return found


def of_rank(name: str, local_rank: int) -> torch.device:
    """The device of a rank of this machine: each has an accelerator of its own, or all the CPU,
    where memory is kept from now on: see `keep_memory`.

    Args:
        name: `auto`, `cpu` or one of `KNOWN`.
        local_rank: the rank's number on its machine.

    Raises:
        UserError: there is no such device, or none left for this rank.
    """
    kind = accelerator() if name == "auto" else name
    if kind is None or kind == "cpu":
        keep_memory()
        return torch.device("cpu")
    if kind != accelerator():
        raise UserError(
            f"--device {kind}: this machine has no usable {kind} device. Use --device "
            f"{accelerator() or 'cpu'}."
        )
    found = torch.accelerator.device_count()
    if local_rank >= found:
        raise UserError(f"more ranks than the {found} {kind} devices here: set --devices {found}")
    return torch.device(kind, local_rank)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 and no emulation of it. Not assumed of Apple's."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "xpu":
        return bool(torch.xpu.is_bf16_supported())
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pins_memory(device: torch.device) -> bool:
    """Whether copies to it are faster from page-locked memory."""
    return device.type in ("cuda", "xpu")


def communicates_by(device: torch.device) -> str:
    """The backend of process groups: nccl (RCCL on ROCm), xccl or gloo.

    Raises:
        UserError: several processes cannot work together on such devices.
    """
    if device.type == "mps":
        raise UserError("several ranks need several devices: a Mac has one. Use --devices 1.")
    return {"cuda": "nccl", "xpu": "xccl"}.get(device.type, "gloo")


@cache
def fuses_adamw(device: torch.device) -> bool:
    """Whether PyTorch has AdamW in one kernel for it; without, the same in several."""
    weight = nn.Parameter(torch.zeros(1, device=device))
    weight.grad = torch.zeros_like(weight)
    try:
        torch.optim.AdamW([weight], fused=True).step()
    except (RuntimeError, NotImplementedError):
        return False
    return True


@cache
def keep_memory() -> bool:
    """Tell the C library to keep what one batch leaves behind for the next one, as CUDA's allocator
    does: handed back to the kernel, it comes again page by page, each cleared anew. That was up to
    two thirds of the time of inference in large batches and a sixth of training steps.

    Of glibc alone, and not where the environment says how memory is to be kept (MALLOC_...,
    GLIBC_TUNABLES). Up to `KEPT` bytes stay with the process.

    Returns:
        Whether it will.
    """
    told = [name for name in os.environ if name.startswith("MALLOC_")]
    if told or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
        c_library = ctypes.CDLL(None)
        # Older versions take thresholds of 32 MiB at most, where they begin of themselves.
        c_library.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        return bool(c_library.mallopt(M_TRIM_THRESHOLD, KEPT) == 1)
    except (AttributeError, OSError, ValueError):  # Windows, macOS
        return False


def called(device: torch.device) -> str:
    """What the plan calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return torch.xpu.get_device_name(device)
    return {"mps": "Apple GPU"}.get(device.type, "CPU")
