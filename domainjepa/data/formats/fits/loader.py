"""FITS: images of telescopes, by HDU, cube, file and band; `.fz`, `.gz` and `.bz2`, too."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import to_skip, unreadable
from domainjepa.data.files.folder import read_folders
from domainjepa.data.files.gathering import gather
from domainjepa.data.files.listing import ends_in
from domainjepa.data.formats.fits.band_files import one_a_band
from domainjepa.data.formats.fits.bands import choose
from domainjepa.data.formats.fits.folder import Objects, look, one_a_file, stem
from domainjepa.data.formats.fits.headers import BZIP2, GZIP, SUFFIXES, unpacked
from domainjepa.data.formats.fits.images import Contents, contents, value_dtype
from domainjepa.data.formats.fits.sky import check_grids
from domainjepa.data.formats.fits.source import FITSSource, as_column
from domainjepa.data.formats.fits.table import names_files, open_table, table_columns
from domainjepa.data.metadata.columns import find_columns
from domainjepa.data.metadata.where import parse
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.data.storage.layout import Array
from domainjepa.errors import DataError

KEYWORDS = ("RA", "DEC", "OBJECT")
"""Header keywords that `column` reads, beside those that the user names."""
LOOKED_OVER = 2**30
"""Bytes of a mosaic that are read at once to find its empty tiles; larger ones come in parts."""


class FITSLoader(Loader):
    """Opens FITS files and folders of them."""

    name = "fits"
    title = "FITS"
    suffixes = SUFFIXES

    def sniff(self, path: Path, head: bytes) -> bool:
        if head.startswith((GZIP, BZIP2)):
            try:
                with unpacked(path) as file:
                    head = file.read(80)
            except EOFError:
                return ends_in(path.name, self.suffixes)  # opening it tells that it is cut short
            except (OSError, zlib.error):
                return False
        return head.startswith(b"SIMPLE  =")

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        return any(ends_in(name, self.suffixes) for name in names)

    def open(self, path: Path, options: OpenOptions) -> Source:
        if not path.is_dir():
            return _one_file(path, options)
        pattern, hdu = _apart(options.images)
        found = gather(path, self, replace(options, images=pattern, bands=()))
        source, objects = _many_files(found.root, found.files, hdu, options, strict=False)
        found.bands = options.bands
        found.complete(source, np.array(objects.places, dtype=np.int64))
        if options.labels is None:
            names = [found.names[at] for at in objects.places]
            if objects.folders is not None:
                names = [found.named(folder, "object") for folder in objects.folders]
            read_folders(source, names)
        return source

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        hdu = _apart(options.images)[1]
        return _many_files(root, files, hdu, options, strict=True)[0]


def _apart(images: str | None) -> tuple[str | None, str | None]:
    """`data.images` of a folder -> a pattern of names and an HDU: `*_g.fits`, `SCI`, `*.fits[SCI]`.

    The brackets are those of CFITSIO's extended file names.
    """
    if not images:
        return None, None
    match = re.fullmatch(r"(.*?)(?:\[([\w ,-]+)\])?", images)
    pattern, hdu = match.groups() if match else (images, None)
    if hdu is None and not re.search(r"[*?.\[]", images):
        return None, images
    return pattern or None, hdu


def _one_file(path: Path, options: OpenOptions) -> Source:
    """One file: an image, a cube, a table of images, HDUs as bands, or HDUs as samples."""
    try:
        with unreadable((Exception,), "it"):  # astropy raises whatever comes to hand
            found = contents(path, options.max_sample_bytes, _keywords(options))
            if not found.hdus and names_files(path, options):
                from domainjepa.data.formats.tables.loader import TableLoader

                return TableLoader().open(path, options)
            table = None if found.hdus else open_table(path, options)
            if table:
                return table
            if options.axis == "hdus":
                return _hdus(path, found, options)
            return _image(path, found, options)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error


def _image(path: Path, found: Contents, options: OpenOptions) -> Source:
    stack = choose(found.hdus, options.images, options)
    parts = tuple((path.name, hdu) for hdu in stack.hdus)
    if len(parts) > 1:
        grids = found.grids_of(stack.hdus)
        check_grids([path] * len(parts), stack.hdus, grids, options.bands)
    objects = Objects(stack, [parts], [0], [], decisions=list(stack.decisions))
    source = _source(stem(path.name), path.parent, objects, options)
    if "N" in stack.axes:
        rows = table_columns(path, options.max_sample_bytes) if found.tables else {}
        columns = {name: one.read(path) for name, one in rows.items() if one.rows == len(source)}
    else:
        columns = _keyword_columns([found.cards])
    _add_columns(source, columns, options)
    return source


def _hdus(path: Path, found: Contents, options: OpenOptions) -> Source:
    """Each HDU that is like the first is a sample."""
    alone = replace(options, axis=None)
    stacks = [choose([hdu], None, alone) for hdu in found.hdus]
    if not stacks or "N" in stacks[0].axes:
        raise DataError("data.axis=hdus: the first HDU is no image of few bands")
    alike = [stack for stack in stacks if stack.make == stacks[0].make]
    objects = Objects(
        stacks[0], [((path.name, stack.hdus[0]),) for stack in alike], [0] * len(alike), []
    )
    objects.decisions.append(f"samples: {len(alike):,} HDUs, from {stacks[0].hdus[0]} on")
    if len(alike) < len(stacks):
        objects.warnings.append(
            f"{len(stacks) - len(alike):,} of {len(stacks):,} HDUs are left out: they have not the "
            "bands of the first"
        )
    return _source(stem(path.name), path.parent, objects, options)


def _many_files(
    root: Path, files: Sequence[str], hdu: str | None, options: OpenOptions, *, strict: bool
) -> tuple[FITSSource, Objects]:
    opened = look(root, files, _keywords(options), options)
    if options.bands and not strict and not _holds_bands(opened, hdu, options):
        objects = one_a_band(root, files, opened, hdu, options)
    else:
        objects = one_a_file(root, files, opened, hdu, options, strict=strict)
        objects.decisions += objects.stack.decisions
    objects.decisions.insert(0, f"images: {len(objects.objects):,} samples of {len(files):,} files")
    source = _source(root.name, root, objects, options)
    source.ids = np.array(objects.ids)
    source.names = [files[place] for place in objects.places]
    chosen = [opened[place] for place in objects.places]
    cards = [{} if isinstance(one, DataError) else one.cards for one in chosen]
    _add_columns(source, _keyword_columns(cards), options)
    return source, objects


def _holds_bands(
    opened: Sequence[Contents | DataError], hdu: str | None, options: OpenOptions
) -> bool:
    """Whether the bands are HDUs or planes of the first file that can be read."""
    for one in opened:
        if not isinstance(one, DataError):
            try:
                choose(one.hdus, hdu, options)
            except DataError:
                return False
            return True
    return False


def _source(
    name: str,
    root: Path,
    found: Objects,
    options: OpenOptions,
) -> FITSSource:
    """The source of these objects."""
    good = [one for one in found.objects if not isinstance(one, DataError)]
    if not good:
        raise next(one for one in found.objects if isinstance(one, DataError))
    hdus = {hdu for parts in good for _, hdu in parts}
    dtypes = {value_dtype(*hdu.make) for hdu in hdus}
    stack = replace(found.stack, hdus=tuple(hdu for _, hdu in good[0]))
    unpacked = any(hdu.storage == "gzip" for hdu in hdus)  # whole, whatever is asked for
    whole = options.read_whole(len(stack.shape) == 4 and not unpacked)
    source = FITSSource(
        name=name,
        loader="fits",
        shape=stack.shape,
        dtype=np.result_type(*dtypes),
        root=root,
        objects=found.objects,
        axes=found.stack.axes,
        planes=found.stack.planes,
        max_sample_bytes=max(options.max_sample_bytes, 0 if whole else LOOKED_OVER),
        decisions=found.decisions,
        warnings=found.warnings,
        bands=options.bands or None,
    )
    if len(dtypes) > 1:
        told = ", ".join(sorted(dtype.name for dtype in dtypes))
        source.decisions.append(f"values: {told} are mixed, and all become {source.dtype}")
    sizes = len({hdu.shape for hdu in hdus})
    if sizes > 1:
        source.decisions.append(f"sizes differ: {sizes:,} of them; the shape is the first's")
    bad = [one for one in found.objects if isinstance(one, DataError)]
    if bad:
        skip = to_skip(len(bad), len(source))
        leave = f". To leave them out{skip}" if skip else ""
        source.warnings.append(
            f"{len(bad):,} of {len(source):,} samples cannot be read, the first: {bad[0]}{leave}"
        )
    if whole:
        source.check_size(found.objects.index(good[0]))
    return source


def _keyword_columns(cards: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Header keywords, in lower case, of each sample."""
    names = sorted({name for one in cards for name in one})
    return {name.lower(): as_column(name, [one.get(name) for one in cards]) for name in names}


def _add_columns(
    source: FITSSource, columns: dict[str, NDArray[Any]], options: OpenOptions
) -> None:
    """Sets what `column` reads; labels, groups and split where they are among it."""
    source.columns, source.keys = columns, tuple(columns)
    arrays = {name: Array(values.shape, values.dtype) for name, values in columns.items()}
    arrays["images"] = Array((len(source), *source.shape), source.dtype)
    spelt = {name.lower(): name for name in columns}
    asked: dict[str, Any] = {
        role: spelt.get(name.lower(), name) for role, name in _asked(options).items()
    }
    found = find_columns(
        arrays, columns.__getitem__, "images", replace(options, **asked), "the file"
    )
    found.complete(source)


def _asked(options: OpenOptions) -> dict[str, str]:
    """Role -> name, of the columns that the user names."""
    roles = {role: getattr(options, role) for role in ("labels", "groups", "ids", "split")}
    return {role: name for role, name in roles.items() if name is not None}


def _keywords(options: OpenOptions) -> tuple[str, ...]:
    compared = (parse(text).column for text in options.where)
    return (*KEYWORDS, *(name.upper() for name in (*_asked(options).values(), *compared)))
