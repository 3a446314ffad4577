"""Files that are read whole: regular ones, and no larger than their kind can be.

A fifo would let us wait for ever, and a device never ends. Text is parsed such that all that can be
wrong with it is a ValueError: Python's parsers give up on deep nesting in other ways.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

MOST_TEXT = 16 * 2**20
"""Bytes of a recipe, a card, a protocol, a manifest: thousands of times what they need."""

_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def what_it_is(path: Path) -> str | None:
    """What a path leads to where it is neither a file nor a folder, such as "a fifo"; else None."""
    try:
        return _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError:
        return None


def regular(path: str, flags: int) -> int:
    """An `opener` for `open` that takes regular files alone and waits for nothing.

    Raises:
        OSError: it is something else; `strerror` says what.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return descriptor
    os.close(descriptor)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, no file", path)


def read_file(path: Path, most: int = MOST_TEXT) -> bytes:
    """The content of a file.

    Raises:
        OSError: absent, no regular file, or larger than `most` bytes; `strerror` says which.
    """
    with open(path, "rb", opener=regular) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            said = f"it is {size:,} bytes long, more than the {most:,} that such a file may have"
            raise OSError(errno.EFBIG, said, os.fspath(path))
        return file.read(size)


def parse_toml(text: str | bytes) -> dict[str, Any]:
    """What TOML says.

    Raises:
        ValueError: it is none, or cannot be held.
    """
    try:
        return tomllib.loads(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or cannot be held.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
