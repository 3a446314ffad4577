"""What an archive holds, read once and kept: the second opening reads none of its headers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from domainjepa.data.files.index import MANY
from domainjepa.data.files.sealed import kept
from domainjepa.data.formats.archives.member import Contents, Member

VERSION = 1


def indexed(path: Path, read: Callable[[Path], Contents]) -> Contents:
    """What `read` finds in an archive, from the index where it is there and still right."""
    return kept(path, f"archive {VERSION}", lambda: read(path), _packed, _unpacked)


def _packed(found: Contents) -> dict[str, Any] | None:
    return vars(found) if len(found.members) >= MANY else None


def _unpacked(told: dict[str, Any]) -> Contents:
    members = [Member(*one) for one in told.pop("members")]
    return Contents(members, **told)
