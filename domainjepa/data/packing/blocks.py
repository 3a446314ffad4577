"""Blocks of samples in order, read by several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import reason
from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError, UserError
from domainjepa.signals import start_servers_that_stay, work_for_the_run

SMALL = 2_000
"""Samples below which starting processes costs more than it saves."""

Frame = Callable[[Image], Image]
Blocks = Generator[NDArray[Any], None, None]


class Task:
    """What a reading process does."""

    def __init__(self, source: Source, frame: Frame | None) -> None:
        self.source = source
        self.frame = frame
        self.shape: tuple[int, ...] | None = None

    def read(self, rows: range) -> NDArray[Any]:
        """(n, …): these samples."""
        images: Sequence[Image] = self.source.__getitems__(rows)
        if self.frame:
            images = [self._framed(row, image) for row, image in zip(rows, images, strict=True)]
        for row, image in zip(rows, images, strict=True):
            if self.shape and image.shape != self.shape:
                size = min(self.shape[-3:-1])
                remedy = (
                    "Pretraining takes volumes of several sizes as they are (--data alone); or "
                    "prepare their slices (--set data.dimensions=2)."
                    if self.source.volumetric
                    else f"--size {size} takes the centre square of every image at {size} px, as "
                    "an encoder does."
                )
                raise DataError(
                    f"sample {row} of {self.source.name} is {_sides(image.shape)}, the first "
                    f"{_sides(self.shape)}: one file holds one size. {remedy}"
                )
        return np.stack(images)

    def _framed(self, row: int, image: Image) -> Image:
        assert self.frame is not None
        try:
            return self.frame(image)
        except Exception as error:  # OpenCV's own
            raise DataError(
                f"sample {row} of {self.source.name}, {_sides(image.shape)} {image.dtype}, cannot "
                f"be scaled: {reason(error)}"
            ) from error


def _sides(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def processes(workers: int | None, samples: int) -> int:
    """How many processes read: as many as are asked for, none for few samples, at most 8."""
    if workers is not None:
        return workers
    return 0 if samples < SMALL else min(len(os.sched_getaffinity(0)), 8)


def blocks(task: Task, rows: Sequence[range], workers: int) -> Blocks:
    """Samples of these rows, block by block, in order."""
    if not workers:
        yield from map(task.read, rows)
        return
    waiting: deque[Future[NDArray[Any]]] = deque()
    start_servers_that_stay()
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver"), _begin, (task,))
    try:
        for wanted in rows:
            waiting.append(pool.submit(_read, wanted))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "a reading process was killed, perhaps for want of memory: give the same command again "
            f"with fewer --workers than {workers}; it goes on where it was."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_TASK: Task | None = None  # of a reading process


def _begin(task: Task) -> None:
    global _TASK
    _TASK = task
    work_for_the_run()


def _read(rows: range) -> NDArray[Any]:
    assert _TASK is not None
    return _TASK.read(rows)
