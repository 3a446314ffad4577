"""`domainjepa prepare`: any source as one fast, checksummed file.

Blocks of samples are read by several processes and written in order. What is written is noted
beside the file, so that a run that is killed goes on where it was; the file gets its name when it
is whole. It never holds paths or identifiers of patients; what comes along of columns and ids is
what `domainjepa.data.metadata.beside` says, and what is left out is told.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from domainjepa.data.files.damage import unreadable
from domainjepa.data.files.identity import Identity
from domainjepa.data.metadata.beside import beside
from domainjepa.data.packing import prepared
from domainjepa.data.packing.blocks import Frame, Task, blocks, processes
from domainjepa.data.packing.journal import Journal
from domainjepa.data.packing.volumes import VolumeTask, VolumeWriter
from domainjepa.data.packing.writers import COMPRESSIONS, HDF5Writer, Order, Writer, ZarrWriter
from domainjepa.data.source import Source
from domainjepa.data.storage.cost import in_bytes
from domainjepa.errors import DataError, UserError
from domainjepa.signals import Stopped, StopSignal
from domainjepa.waiting import is_live

CONTAINERS = ("hdf5", "arrays", "zarr")
"""Loaders whose decisions name arrays; those of other formats may name files."""
BLOCK_BYTES = 64 * 2**20
MOST_IN_BLOCK = 256
"""Samples that are read, written and noted at once; in Zarr they make a shard."""
WRITERS: dict[str, Callable[[Order, int], Writer]] = {
    ".h5": HDF5Writer,
    ".hdf5": HDF5Writer,
    ".zarr": ZarrWriter,
}


def prepare(
    source: Source,
    out: Path,
    *,
    workers: int | None = None,
    compression: str = "none",
    frame: Frame | None = None,
    console: Console | None = None,
) -> None:
    """Writes a source into one file that `open_source` reads back as it was.

    Args:
        source: any. A volume that is too large to be read whole is written anew in cubic chunks
            that fit regions (`volumes`).
        out: FILE.h5 or FILE.zarr; it must not exist.
        workers: processes that read; by default as many as there are cores, at most 8, and none
            for a few samples. 0: this process alone.
        compression: none, gzip, lz4 or zstd; the last two in HDF5 need hdf5plugin.
        frame: brings samples to one size, (H, W, C) -> (S, S, C); sent to the processes.
        console: where the bar is shown, and what is left out.

    Raises:
        UserError: the file exists, another process writes it, or it cannot be written.
        DataError: a sample cannot be read, or has another size than the first.
        Stopped: a signal asked for an end; the same call goes on from there.
    """
    if compression not in COMPRESSIONS:
        raise UserError(f"--compression {compression}: choose {', '.join(COMPRESSIONS)}.")
    part = _part_of(out)
    notes = part.with_suffix(".journal")
    _refuse_existing(out, notes)
    console = console or Console(stderr=True)
    work = _work(source, frame, out, compression)
    samples, block = work.parts, work.order.block
    begun = Identity.of(source)
    about = _about(source, begun.fingerprint)
    made = (work.order.shape, work.order.dtype.str, block, compression, bool(frame))
    identity = [begun.exact, *made]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder of --out cannot be made: {error.strerror}.") from error
    with Journal(notes, json.dumps(identity)) as journal:
        _refuse_existing(out, notes)  # another process may just have finished it
        writer = work.begin(work.order, journal.done)
        with contextlib.closing(writer):
            _check_space(out.parent, (samples - writer.done) * work.part_bytes)
            starts = range(writer.done, samples, block)
            rows = [range(start, min(start + block, samples)) for start in starts]
            with (
                StopSignal() as stop,
                _bar(console, samples, writer.done, work.called) as show,
                contextlib.closing(
                    blocks(work.task, rows, processes(workers, samples))
                ) as images_of,
            ):
                for wanted, images in zip(rows, images_of, strict=True):
                    writer.write(wanted.start, images)
                    journal.note(wanted.stop)
                    show(wanted.stop)
                    if stop.number is not None:
                        said = (
                            f"stopped after {wanted.stop:,} {work.called}; the same command goes on"
                        )
                        raise Stopped(stop.number, said)
            _refuse_changes(source, begun)
            columns, left_out = _columns(source, frame)
            writer.finish(columns, None if frame else source.masks, about)
        part.rename(out)
        journal.remove()
    if source.masks and frame:
        console.print("masks are left out: they are of the images' own sizes", highlight=False)
    if left_out:
        console.print(left_out, highlight=False, markup=False)


class _Work(NamedTuple):
    """What is written, and by what.

    Attributes:
        task: reads it.
        begin: opens the file.
        order: what the file becomes.
        parts: how many samples, or blocks of a large volume, there are.
        part_bytes: that each takes; 0 where that is not known beforehand.
        called: what they are.
    """

    task: Task
    begin: Callable[[Order, int], Writer]
    order: Order
    parts: int
    part_bytes: int
    called: str


def _work(source: Source, frame: Frame | None, out: Path, compression: str) -> _Work:
    """Samples one by one, or a volume that is too large to be read whole block by block.

    Raises:
        UserError: a name of another kind of file; DataError: the first cannot be read.
    """
    begin = WRITERS.get(out.suffix)
    if begin is None:
        raise UserError(f"--out {out.name}: its name ends in .h5 or .zarr.")
    part = _part_of(out)
    if not (source.volumetric and source.large(0) is not None):
        task = Task(source, frame)
        first = task.read(range(1))
        task.shape = first.shape[1:]
        block = int(np.clip(BLOCK_BYTES // max(first.nbytes, 1), 1, MOST_IN_BLOCK))
        order = Order(part, (len(source), *task.shape), first.dtype, block, compression)
        size = first.nbytes if compression == "none" else 0
        return _Work(task, begin, order, len(source), size, "samples")
    if out.suffix != ".zarr":
        raise UserError(
            f"--out {out.name}: a volume that is too large to be read whole is written block by "
            f"block as Zarr: --out {out.stem}.zarr"
        )
    volume = VolumeTask(source)
    shape = (1, *source.sides(0), source.channels)
    order = Order(part, shape, source.dtype, 1, compression)
    return _Work(volume, VolumeWriter, order, len(volume), 0, "blocks")


def _part_of(out: Path) -> Path:
    """The file in the making."""
    return out.with_name(f".{out.name}.part")


def _refuse_existing(out: Path, notes: Path) -> None:
    if out.exists():
        notes.unlink(missing_ok=True)  # of a process that was killed when all was done
        raise UserError(f"{out.name} exists. Remove it, or choose another --out.")


def _refuse_changes(source: Source, begun: Identity) -> None:
    """What is packed must be one state of the data.

    Raises:
        DataError: they changed since the reading began.
    """
    with unreadable((OSError,), source.name):
        if not begun.stands_far() or (
            not begun.stands() and source.fingerprint() != begun.fingerprint
        ):
            raise DataError(
                f"{source.name} changed while it was read: nothing was written. Begin anew once "
                "nobody writes to it."
            )


def _about(source: Source, fingerprint: str) -> dict[str, Any]:
    """Where the data came from: no path, no file name, no identifier."""
    return {
        "format": prepared.FORMAT,
        "loader": source.origin or source.loader,
        "card": (source.card or {}).get("name"),
        "fingerprint": fingerprint,
        "modality": source.modality,
        "classes": source.classes,
        "mask_classes": dict(source.masks.classes or {}) if source.masks else None,
        "decisions": [line[:300] for line in source.decisions[:50] if source.loader in CONTAINERS],
        "versions": {"domainjepa": version("domainjepa"), "numpy": np.__version__},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _columns(source: Source, frame: Frame | None) -> tuple[dict[str, NDArray[Any]], str]:
    """What lies beside the images, N rows each; and what is left out, in a line."""
    found = beside(source, taken=prepared.BESIDE)
    columns = {**found.columns, **found.roles}
    if source.spacings is not None and not frame:
        columns["spacings"] = source.spacings
    if source.stack is not None:
        columns[prepared.STACK] = source.stack
    if source.split is not None:
        number = {part: place for place, part in enumerate(prepared.SPLITS)}
        columns["split"] = np.array(
            [number.get(part, prepared.NO_PART) for part in source.split.tolist()], dtype="u1"
        )
    return columns, found.told()


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"the file takes {in_bytes(needed)} and the disk has {in_bytes(free)} free. Choose "
            "another disk, or --compression zstd."
        )


@contextlib.contextmanager
def _bar(console: Console, samples: int, done: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar with what is left of the time; without a terminal a line for each tenth."""
    columns = (TextColumn("[bold]prepare"), BarColumn(), MofNCompleteColumn(), TextColumn("ETA"))
    live = Progress(*columns, TimeRemainingColumn(), console=console, disable=not is_live(console))
    if done:
        console.print(f"going on after {done:,} {what}", highlight=False)
    with live:
        task = live.add_task("prepare", total=samples, completed=done)
        shown = 10 * done // samples

        def show(now: int) -> None:
            nonlocal shown
            live.update(task, completed=now)
            if not is_live(console) and 10 * now // samples > shown:
                shown = 10 * now // samples
                console.print(f"prepared {now:,} of {samples:,}", highlight=False)

        yield show
