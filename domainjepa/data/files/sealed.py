"""What was found in one file, kept: the second opening does not look for it again.

What is found holds names, which may name patients. So it is sealed by a key that is drawn from the
file's own bytes: who does not have the file cannot read what is kept of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from domainjepa.data.files.index import cache_folder
from domainjepa.errors import UserError
from domainjepa.writing import write_atomically

Found = TypeVar("Found")
_KEYED_BY = 2**16
"""Bytes at the beginning of a file that make its key."""
_NONCE = 16


def kept(
    path: Path,
    what: str,
    find: Callable[[], Found],
    pack: Callable[[Found], Any],
    unpack: Callable[[Any], Found],
) -> Found:
    """What `find` finds in a file, from the cache where it is there and still right.

    Args:
        path: the file, resolved. Another size or time of writing makes it another file.
        what: is looked for, with a version that changes when any of the functions does.
        find: looks for it.
        pack: makes of it what JSON holds; None where it is not worth keeping.
        unpack: turns that back. May raise ValueError, TypeError, KeyError or IndexError on what is
            damaged.
    """
    status = path.stat()
    facts = f"{what} {path} {status.st_size} {status.st_mtime_ns}"
    name = hashlib.blake2b(facts.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    place = cache_folder() / "index" / f"{name}.sealed"
    key = _key(path, facts)
    try:
        content = place.read_bytes()
        sealed = _sealed(content[_NONCE:], key, content[:_NONCE])
        return unpack(json.loads(zlib.decompress(sealed)))
    except (OSError, ValueError, zlib.error, TypeError, KeyError, IndexError):
        found = find()  # what was kept is absent or damaged
    packed = pack(found)
    if packed is not None:
        _keep(place, key, packed)
    return found


def _key(path: Path, facts: str) -> bytes:
    with path.open("rb") as file:
        content = file.read(_KEYED_BY)
    return hashlib.blake2b(content, key=facts.encode("utf-8", "surrogateescape")[:64]).digest()


def _sealed(content: bytes, key: bytes, nonce: bytes) -> bytes:
    """Added to a stream of SHAKE-256 of the key; the same again opens it."""
    stream = hashlib.shake_256(key + nonce).digest(len(content))
    size = len(content)
    return (int.from_bytes(content, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


def _keep(place: Path, key: bytes, packed: Any) -> None:
    content = zlib.compress(json.dumps(packed).encode(), 1)
    nonce = os.urandom(_NONCE)
    # A cache that cannot be written costs time and nothing else.
    with contextlib.suppress(OSError, UserError):
        place.parent.mkdir(parents=True, exist_ok=True)
        sealed = nonce + _sealed(content, key, nonce)
        write_atomically(place, lambda file: file.write(sealed))
