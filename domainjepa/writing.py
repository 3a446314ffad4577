"""Files that are whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from domainjepa.errors import UserError
from domainjepa.reading import what_it_is


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader finds the old one or the new one, never a part.

    Raises:
        UserError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    special = what_it_is(path)
    if special:
        raise UserError(f"{path.name} is {special}, which is not replaced. Choose another name.")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _flush_folder(path.parent)
    # torch.save reports a full disk as RuntimeError ("unexpected pos"), not as OSError.
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{path.name} could not be written: {error}. Free some disk space and go on: what was "
            "saved before is intact."
        ) from error


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
