"""Where what was found out, and what was fetched, is kept for the next time."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$DOMAINJEPA_CACHE, else the user's cache folder."""
    told = os.environ.get("DOMAINJEPA_CACHE")
    if told:
        return Path(told)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "domainjepa"
