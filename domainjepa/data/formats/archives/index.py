"""What an archive holds, read once and kept: the second opening reads none of its headers.

The index holds names of files, which may name patients. So it is sealed by a key that is drawn from
the archive's own bytes: who does not have the archive cannot read its index.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

from domainjepa.data.files.index import MANY, cache_folder
from domainjepa.data.formats.archives.member import Contents, Member
from domainjepa.errors import UserError
from domainjepa.writing import write_atomically

VERSION = 1
_KEYED_BY = 2**16
"""Bytes at the beginning of an archive that make its key."""
_NONCE = 16


def indexed(path: Path, read: Callable[[Path], Contents]) -> Contents:
    """What `read` finds in an archive, from the index where it is there and still right."""
    status = path.stat()
    facts = f"archive {VERSION} {path} {status.st_size} {status.st_mtime_ns}"
    name = hashlib.blake2b(facts.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    place = cache_folder() / "index" / f"{name}.sealed"
    key = _key(path, facts)
    found = _load(place, key)
    if found is None:
        found = read(path)
        if len(found.members) >= MANY:
            _keep(place, key, found)
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


def _load(place: Path, key: bytes) -> Contents | None:
    try:
        kept = place.read_bytes()
        told = json.loads(zlib.decompress(_sealed(kept[_NONCE:], key, kept[:_NONCE])))
        members = [Member(*one) for one in told.pop("members")]
        return Contents(members, **told)
    except (OSError, ValueError, zlib.error, TypeError, KeyError):
        return None  # absent or damaged: read anew


def _keep(place: Path, key: bytes, found: Contents) -> None:
    content = zlib.compress(json.dumps(vars(found)).encode(), 1)
    nonce = os.urandom(_NONCE)
    # A cache that cannot be written costs time and nothing else.
    with contextlib.suppress(OSError, UserError):
        place.parent.mkdir(parents=True, exist_ok=True)
        sealed = nonce + _sealed(content, key, nonce)
        write_atomically(place, lambda file: file.write(sealed))
