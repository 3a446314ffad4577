"""Work on the CPU in pieces, each by one thread from its beginning to its end.

PyTorch divides every operation among its threads and waits for all of them after each. Where
another process has taken a core, each of a hundred operations waits for that core. Here a thread
takes the next piece when it is done with one, and there is one wait, at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Made = TypeVar("Made")


def by_threads(
    make: Callable[[Piece], Made], pieces: Sequence[Piece], device: torch.device
) -> list[Made]:
    """`make` of each piece, in their order, by as many threads as PyTorch has on a CPU.

    What is made of a piece does not depend on the number of threads. Elsewhere, or of a single
    piece, it is a plain loop.
    """
    threads = min(torch.get_num_threads(), len(pieces))
    if device.type != "cpu" or threads < 2:
        return [make(piece) for piece in pieces]
    return list(_pool(os.getpid(), torch.get_num_threads()).map(torch.no_grad()(make), pieces))


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Kept from step to step; a forked process, which has no threads of it, makes its own.

    Each of its threads computes alone. What is set last is also what threads that come later take,
    so the number of this one is set again when all of the pool are there.
    """
    there = Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # a new thread takes what was set last when it is first asked
        torch.set_num_threads(1)
        there.wait()

    pool = ThreadPoolExecutor(threads, "domainjepa-objective", initializer=begin)
    for _ in range(threads):
        pool.submit(int)
    there.wait()
    torch.set_num_threads(threads)
    return pool
