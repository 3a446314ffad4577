"""Zarr v2 and v3: an array, a group of arrays, OME-Zarr images and plates, folders of stores.

Local folders, `.zarr.zip` files and URLs (s3://, https://, …) are read through zarr itself.
"""

from __future__ import annotations

import fnmatch
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from domainjepa.data.channels.grouping import named, objects
from domainjepa.data.channels.hint import hint
from domainjepa.data.channels.joined import joined
from domainjepa.data.files.damage import to_skip
from domainjepa.data.files.folder import read_folders
from domainjepa.data.files.gathering import warn_of_rest
from domainjepa.data.files.index import facts
from domainjepa.data.files.listing import Links, Listing, ending
from domainjepa.data.formats.zarr.source import Part, ZarrSource
from domainjepa.data.remote.addresses import public
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.errors import DataError, MissingExtra

STORES = (".zarr", ".ome.zarr")
METADATA = ("zarr.json", ".zarray", ".zgroup")
"""One of them lies in every array and every group."""


class ZarrLoader(Loader):
    """Opens Zarr stores: folders, zip files, URLs, and folders of stores."""

    name = "zarr"
    title = "Zarr"
    suffixes = (".zarr.zip",)
    whole_folder = True

    def sniff(self, path: Path, head: bytes) -> bool:
        if not head.startswith(b"PK\x03\x04"):
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()[:10_000]
        except Exception:  # zipfile raises whatever comes to hand on damaged files
            return False
        return any(name.rpartition("/")[2] in METADATA for name in names)

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        inside = {str(one) for name in names for one in PurePosixPath(name).parents}
        return any(_metadata_of(path / name) for name in inside | {"."})

    def open(self, path: Path, options: OpenOptions) -> Source:
        _require_zarr()
        if path.is_dir() and not _metadata_of(path):
            return _open_folder(path.resolve(), options)
        return _open_store(os.fspath(path.resolve()), options)

    def open_url(self, url: str, options: OpenOptions) -> Source:
        """The store behind a URL, through fsspec.

        Raises:
            DataError: as `open`.
            UserError: a package that speaks the protocol is missing.
        """
        _require_zarr()
        return _open_store(url, options)


def _require_zarr() -> None:
    try:
        import zarr  # noqa: F401
    except ImportError as error:
        raise MissingExtra("zarr", "zarr", "reading Zarr") from error


def _metadata_of(folder: Path) -> Path | None:
    """The file that makes a folder a Zarr array or group."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _open_store(place: str, options: OpenOptions) -> Source:
    from domainjepa.data.formats.zarr import parts as zarr_parts
    from domainjepa.data.formats.zarr import store as zarr_store

    where = public(place)
    root = zarr_store.node(zarr_store.connect(place, options.follow_links), "", where)
    parts, groups, missing = zarr_parts.ome_parts(root, place, where, options)
    fields: dict[str, Any] = {}
    if parts:
        fields["decisions"] = [f"images: OME-Zarr, {len(parts)} of axes {parts[0].axes}"]
        if len(groups) > 1 and len(set(groups)) < sum(part.side("t") for part in parts):
            fields["groups"] = np.repeat(groups, [part.side("t") for part in parts])
        if missing:
            fields["warnings"] = [
                f"{missing:,} wells or fields that the metadata name are not there: they were not "
                "imaged, or are lost"
            ]
    else:
        part, fields = zarr_parts.plain_part(root, place, where, options)
        parts = [part]
    return _source(place, where, parts, options, fields)


def _open_folder(folder: Path, options: OpenOptions) -> Source:
    """Stores below a folder, each one sample or several; sub-folders are classes or a split."""
    found = _list_stores(folder, options)
    stores = [file.rpartition("/")[0] for file in found.files]
    if not named(stores, options.bands, STORES):
        source = _open_stores(folder, found.files, options)
        looks = hint(stores, STORES)
        source.warnings += [looks] if looks else []
    else:
        grouped = objects(stores, options.bands, STORES, options.skip_unreadable)
        every = [[found.files[at] for at in places] for places in zip(*grouped.places, strict=True)]
        strict = replace(options, skip_unreadable=0.0)  # one left out would move all rows
        channels = [_open_stores(folder, files, strict) for files in every]
        source = joined(channels, options.bands)
        source.decisions += grouped.decisions
        source.warnings += grouped.warnings
        source.labels, source.classes, source.split = None, None, None
        if len(source) == len(grouped.folders):
            read_folders(source, [f"{place}/x".lstrip("/") for place in grouped.folders])
    warn_of_rest(source, found, ZarrLoader())
    return source


def _open_stores(folder: Path, files: list[str], options: OpenOptions) -> Source:
    """Samples of stores, in the order of these metadata files."""
    from domainjepa.data.formats.zarr import parts as zarr_parts

    def look(file: Path) -> list[dict[str, Any]]:
        return [
            asdict(part) for part in zarr_parts.any_parts(os.fspath(file.parent), file, options)
        ]

    asked = (
        options.images,
        options.dimensions,
        options.read_whole(False),
        options.max_sample_bytes,
    )
    parts: list[Part] = []
    names: list[str] = []
    groups: list[int] = []
    looked = facts(folder, files, f"zarr 3 {asked}", look)
    left_out = _allowed(looked, options.skip_unreadable)
    for number, (file, fact) in enumerate(zip(files, looked, strict=True)):
        if isinstance(fact, DataError):
            continue
        store = file.rpartition("/")[0]
        for plain in fact:
            told: dict[str, Any] = {"store": store}
            for name, value in plain.items():  # JSON has lists where a part has tuples
                told.setdefault(name, tuple(value) if isinstance(value, list) else value)
            part = Part(**told)
            parts.append(part)
            names += [store] * part.side("t")
            groups += [number] * part.side("t")
    fields: dict[str, Any] = {"decisions": [f"images: {len(files):,} Zarr stores"]}
    if len(names) > len(files):
        fields["groups"] = np.array(groups, dtype=np.int64)
        fields["decisions"].append("groups: samples of one store belong together")
    source = _source(os.fspath(folder), folder.name, parts, options, fields, names)
    source.warnings += left_out
    return source


def _allowed(looked: Sequence[Any], share: float) -> list[str]:
    """A warning of the stores that cannot be read and are left out.

    Raises:
        DataError: they are more than this share of all.
    """
    bad = [fact for fact in looked if isinstance(fact, DataError)]
    if not bad:
        return []
    counted = f"{len(bad):,} of {len(looked):,} stores cannot be read"
    if len(bad) > share * len(looked):
        skip = to_skip(len(bad), len(looked))
        raise DataError(f"{bad[0]} {counted}{f'; to leave them out{skip}' if skip else ''}")
    return [f"{counted} and are left out (data.skip_unreadable)"]


def _list_stores(folder: Path, options: OpenOptions) -> Listing:
    """The metadata file of each store below a folder; `options.images` may be a pattern of names.

    Raises:
        DataError: there is none.
    """
    files: list[str] = []
    links = 0
    others: Counter[str] = Counter()
    for inside, names, beside in os.walk(folder):
        here = Path(inside)
        links += sum((here / name).is_symlink() for name in names)
        found = _metadata_of(here)
        names[:] = [] if found else sorted(name for name in names if not name.startswith("."))
        pattern = options.images if "*" in (options.images or "") else None
        if found and (pattern is None or fnmatch.fnmatch(here.name, pattern)):
            files.append(found.relative_to(folder).as_posix())
        elif not found:
            others.update(ending(name) for name in beside if not name.startswith("."))
    if not files:
        raise DataError(f"{folder.name} holds no Zarr store that fits.")
    return Listing(folder, files, Links(links), others)


def _source(
    place: str,
    where: str,
    parts: list[Part],
    options: OpenOptions,
    fields: dict[str, Any],
    names: list[str] | None = None,
) -> Source:
    """The source of these parts; of volumes where one of them is deep."""
    first = parts[0]
    for part in parts:
        if (part.dtype, part.side("c")) != (first.dtype, first.side("c")):
            raise DataError(
                f"the images of {where} differ: {first.store or first.path} has "
                f"{first.side('c')} channels of {first.dtype}, {part.store or part.path} "
                f"{part.side('c')} of {part.dtype}. Put them into folders of their own."
            )
    volumetric = options.dimensions == 3 or any(part.side("z") > 1 for part in parts)
    letters = "zyxc" if volumetric else "yxc"
    source = ZarrSource(
        name=where.removesuffix(".zip").removesuffix(".zarr"),
        loader="zarr",
        shape=tuple(first.side(letter) for letter in letters),
        dtype=np.dtype(first.dtype).newbyteorder("="),
        root=place,
        parts=parts,
        follow_links=options.follow_links,
        **fields,
    )
    if all(part.spacing and len(part.spacing) >= len(letters) - 1 for part in parts):
        lengths = [(part.spacing or ())[1 - len(letters) :] for part in parts]
        source.spacings = np.repeat(lengths, [part.side("t") for part in parts], axis=0)
    rendered = source.dtype == np.uint8 and source.channels == 3
    if all(part.ome for part in parts) and not rendered:  # coloured tissue says nothing of itself
        source.modality = "GM"  # general microscopy (DICOM PS3.3 C.7.3.1.1.1)
    missing = sum(part.missing for part in parts)
    if missing:
        source.warnings.append(
            f"{missing:,} chunk files are not there and read as the fill value: they were blank "
            "when written, or are lost"
        )
    source.warnings += first.storage(where).advice()
    if names:
        read_folders(source, names)
    if first.ome:
        from domainjepa.data.formats.zarr.labels import offer_labels

        offer_labels(source, options.masks)
    return source
