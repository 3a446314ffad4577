"""Files that are whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from domainjepa.errors import UserError
from domainjepa.locking import LockedFile
from domainjepa.reading import what_it_is

UNFINISHED = ".*.part"
"""What a process that was killed while it wrote leaves beside the file; the next one takes it."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader finds the old one or the new one, never a part.

    Of two processes that write the same file the second waits for the first.

    Raises:
        UserError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    special = what_it_is(path)
    if special:
        raise UserError(f"{path.name} is {special}, which is not replaced. Choose another name.")
    part = path.with_name(f".{path.name}.part")
    try:
        unfinished = LockedFile(part, wait=True)
        try:
            _write(unfinished, write)
            part.replace(path)
        finally:
            unfinished.close()
        flush_to_disk(path.parent)
    # torch.save reports a full disk as RuntimeError ("unexpected pos"), not as OSError.
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{path.name} could not be written: {error}. Free some disk space and go on: what was "
            "saved before is intact."
        ) from error


def _write(unfinished: LockedFile, write: Callable[[BinaryIO], object]) -> None:
    try:
        unfinished.file.truncate()  # what a process that was killed has left
        write(unfinished.file)
        unfinished.file.flush()
        os.fsync(unfinished.file.fileno())
    except BaseException:
        unfinished.path.unlink()
        raise


def flush_to_disk(path: Path) -> None:
    """What was written to a file, or the names in a folder, outlast a power cut from here on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
