"""From the URL that a user gives to a path that every loader takes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from domainjepa.data.remote.addresses import filesystem, is_url, public
from domainjepa.data.remote.mirror import mirrored
from domainjepa.data.remote.path import RemotePath
from domainjepa.data.remote.transfer import patiently
from domainjepa.data.source import Loader, OpenOptions
from domainjepa.registry import LOADERS

TABLES = (".csv", ".tsv", ".ecsv", ".txt", ".vot", ".xml")
"""Of files that name others beside them: their folder is listed, too."""
ZARR = ("zarr.json", ".zgroup", ".zarray")


def near(
    data: str | os.PathLike[str], loader: str | None, options: OpenOptions
) -> tuple[str | os.PathLike[str], OpenOptions, list[str]]:
    """What stands for data, and for the folder of a table's images, where they are URLs.

    A Zarr store keeps its URL: zarr asks for its chunks by name, and need not know all of them.

    Returns:
        The data, the options, and lines that tell what was found.

    Raises:
        DataError, UserError: as `mirrored`.
    """
    told = []
    if options.root and is_url(options.root):
        found = mirrored(options.root, options.cache_bytes, folder=True)
        options = replace(options, root=str(found.path))
        told.append(f"images {found.decision()}")
    if not is_url(str(data)) or _asks_for_urls(loader):
        return data, options, told
    url = str(data)
    if loader is None and _is_zarr(url):
        return data, options, told
    plain = url.partition("?")[0]
    if plain.lower().endswith(TABLES) and not options.root:
        found = mirrored(plain.rpartition("/")[0], options.cache_bytes, folder=True)
        path = found.path / public(url)
    else:
        found = mirrored(url, options.cache_bytes)
        path = found.path
    told.append(found.decision())
    if found.left_out:
        told.append(f"left out: {found.left_out:,} objects whose names no file can have")
    return RemotePath(str(path)), options, told


def _asks_for_urls(loader: str | None) -> bool:
    """Whether the loader that the user names reads URLs by itself."""
    thing = LOADERS.load(loader) if loader else None
    return (
        isinstance(thing, type)
        and issubclass(thing, Loader)
        and thing.open_url is not Loader.open_url
    )


def _is_zarr(url: str) -> bool:
    plain = url.partition("?")[0].rstrip("/")
    if plain.endswith(".zarr"):
        return True
    if Path(plain).suffix:
        return False
    system = filesystem(url)
    return any(
        patiently(url, lambda name=name: system.exists(f"{plain}/{name}"))  # type: ignore[misc]
        for name in ZARR
    )
