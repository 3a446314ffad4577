"""What was found by looking at all of a source, kept in the cache folder for the next time."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from domainjepa.data.files.identity import Identity
from domainjepa.data.files.index import cache_folder
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.reading import parse_json
from domainjepa.writing import write_atomically


def place_of(source: Source, kind: str) -> Path:
    """Where something found in a source is kept, by the content of the source.

    Args:
        kind: what it is, with a version that changes when the way to find it does.
    """
    exact = Identity.of_files(source).exact
    told = f"{kind} {exact} {len(source)} {source.shape} {source.dtype.str}"
    name = hashlib.blake2b(told.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    return cache_folder() / "parts" / f"{name}.json"


def load(place: Path) -> Any:
    """What JSON holds; None where it is absent or damaged."""
    try:
        return parse_json(place.read_bytes())
    except (OSError, ValueError):
        return None


def keep(place: Path, found: Any) -> None:
    """Writes it; a cache that cannot be written costs time and nothing else."""
    with contextlib.suppress(OSError, UserError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, lambda file: file.write(json.dumps(found).encode()))
