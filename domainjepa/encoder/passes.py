"""Forward passes of frozen networks: how many samples at once, in which layout of memory, and the
next ones made ready while these are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import Any, NamedTuple, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domainjepa import devices
from domainjepa.data.source import Source

ACTIVATIONS = {True: 256 * 2**20, False: 32 * 2**20}
"""Bytes that the largest part of a network may take in and give at once on the CPU, by whether the
memory of a batch is kept for the next one. Where glibc hands it back, from 32 MiB on it clears all
of it anew for each batch, for up to two thirds of the time. Where it is kept, 128 and 256 MiB are
equally fast, and threads that other work disturbs wait less often for one another in fewer and
larger batches; see benchmarks/inference.py."""

Item = TypeVar("Item")


class Way(NamedTuple):
    """How the samples of one shape go through a network on the CPU.

    Attributes:
        sample: bytes that its largest part takes in and gives for one of them.
        layout: of the memory of a batch.
    """

    sample: int
    layout: torch.memory_format


_found: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Way]] = WeakKeyDictionary()


def at_once(
    network: nn.Module,
    read: Callable[[Tensor], Tensor],
    shape: Sequence[int],
    most: int,
    device: torch.device,
) -> int:
    """Samples a forward pass: `most` on an accelerator, on the CPU those of about `ACTIVATIONS`.

    It does not depend on the images nor on the threads, so features are the same from call to call.

    Args:
        network: in evaluation mode, on the device.
        read: a batch -> features.
        shape: of one sample, (C, H, W) or (C, D, H, W).
        most: that the user allows.
    """
    if device.type != "cpu" or most == 1:
        return most
    fitting = ACTIVATIONS[devices.keep_memory()] / _way(network, read, shape).sample
    # The nearest power of two: its kernels are up to 10 % faster at 16 images than at 13.
    return int(np.clip(2 ** round(np.log2(fitting)), 1, most))


@torch.inference_mode()
def features(
    network: nn.Module,
    read: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
    device: torch.device,
) -> NDArray[np.float32]:
    """Batches through a network, the next one made by a thread meanwhile: (N, D) float32.

    Args:
        network: in evaluation mode, on the device.
        read: a batch on the device -> (n, D).
        batches: (n, C, H, W) or (n, C, D, H, W) each.
    """
    found = []
    for batch in ahead(batches):
        inputs = batch.to(device)
        if device.type == "cpu" and batch.ndim == 4:
            layout = _way(network, read, tuple(batch.shape[1:])).layout
            inputs = inputs.contiguous(memory_format=layout)
        found.append(read(inputs).float().cpu().numpy())
    return np.concatenate(found)


def cut(images: Source | Sequence[NDArray[Any]], size: int) -> Iterator[list[NDArray[Any]]]:
    """The images of a source or a list, `size` of them at a time."""
    for first in range(0, len(images), size):
        rows = range(first, min(first + size, len(images)))
        if isinstance(images, Source):
            yield images.__getitems__(rows)
        else:
            yield [images[row] for row in rows]


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order, each made by a thread while the one before it is used.

    What goes wrong in the thread is raised here, when its item is asked for.
    """
    ended = object()
    following = cast(Iterator[Any], chain(items, repeat(ended)))
    with ThreadPoolExecutor(1, "ahead") as reader:
        waiting = reader.submit(next, following)
        while (item := waiting.result()) is not ended:
            waiting = reader.submit(next, following)
            yield item


def _way(network: nn.Module, read: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Way:
    """Found by two empty samples, once for each network and shape."""
    known = _found.setdefault(network, {})
    if tuple(shape) not in known:
        known[tuple(shape)] = _measured(network, read, shape)
    return known[tuple(shape)]


@torch.inference_mode()
def _measured(network: nn.Module, read: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Way:
    largest = 2

    def look(part: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        # What is computed in place lies in one storage and counts once.
        held = {
            one.untyped_storage().data_ptr(): one.untyped_storage().nbytes()
            for one in (*inputs, output)
            if isinstance(one, Tensor)
        }
        largest = max(largest, sum(held.values()))

    def through(layout: torch.memory_format) -> Way:
        # Two: a network may squeeze what is one.
        read(torch.zeros(2, *shape).contiguous(memory_format=layout))
        return Way(largest // 2, layout)

    hooks = [part.register_forward_hook(look) for part in network.modules()]
    try:
        # Convolutions are faster with the channels last; of volumes no layout was found to be.
        return through(torch.channels_last if len(shape) == 3 else torch.contiguous_format)
    except RuntimeError:  # a network that views its maps as they lie by default
        return through(torch.contiguous_format)
    finally:
        for hook in hooks:
            hook.remove()
