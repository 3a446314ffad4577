"""HDF5: images in one data set, or in one data set a sample; in one file, or in many.

Labels and the rest lie beside them. netCDF-4 and MATLAB 7.3 are HDF5, too: what their attributes
declare of values, and MATLAB's order of axes, is honoured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.files.folder import read_folders
from domainjepa.data.files.gathering import gather
from domainjepa.data.files.listing import ends_in, first_bytes
from domainjepa.data.files.shards import part_of
from domainjepa.data.formats.hdf5.datasets import DatasetsSource, open_datasets
from domainjepa.data.formats.hdf5.index import indexed
from domainjepa.data.formats.hdf5.pattern import (
    Pattern,
    beside,
    found_in,
    is_pattern,
    is_stack,
    matching,
    one_volume,
    pattern_of,
)
from domainjepa.data.formats.hdf5.reading import (
    UNREADABLE,
    declared_of,
    read_column,
    require_filters,
    storage_of,
)
from domainjepa.data.formats.hdf5.source import HDF5Source
from domainjepa.data.formats.hdf5.tree import Place, Tree, look, open_dataset, open_file
from domainjepa.data.metadata.columns import USUAL_NAMES, counts, find_columns
from domainjepa.data.packing import prepared
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.data.storage.layout import USUAL_NAMES as IMAGE_NAMES
from domainjepa.data.storage.layout import dimensions_of, is_usual, layout_of, pick_images
from domainjepa.data.storage.turned import check_samples_last
from domainjepa.errors import DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class HDF5Loader(Loader):
    """Opens HDF5 files, netCDF-4 and MATLAB 7.3 among them, and folders and lists of them."""

    name = "hdf5"
    title = "HDF5"
    suffixes = (".h5", ".hdf5", ".hdf", ".he5", ".nc", ".nc4", ".mat")
    container = True

    def sniff(self, path: Path, head: bytes) -> bool:
        # A user block of 512, 1024, … bytes may come before the signature.
        return any(head[at : at + 8] == SIGNATURE for at in (0, 512, 1024, 2048))

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        first = next((path / name for name in names if ends_in(name, self.suffixes)), None)
        return first is not None and self.sniff(first, first_bytes(first))

    def open(self, path: Path, options: OpenOptions) -> Source:
        if path.is_dir():
            pattern, inside = _apart(options.images)
            found = gather(path, self, replace(options, images=pattern))

            def read(files: list[str], asked: OpenOptions) -> DatasetsSource:
                return _many(found.root, files, replace(asked, images=inside))

            source = found.open(read)
            if isinstance(source, DatasetsSource) and source.stacked:
                _read_parts(source, found.files)
            elif source.labels is None:
                read_folders(source, found.names)
            return source
        with unreadable(UNREADABLE, f"{path.name}, HDF5,"):
            return self._open(path, path.name, options)

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        return _many(root, files, options)

    def _open(self, path: Path, where: str, options: OpenOptions) -> Source:
        tree = indexed(path, options.follow_links)
        told = _told(path)
        if not (told and prepared.layout_in(tree.arrays, options)):
            _refuse(tree, options, where)
            pattern = _pattern(tree, options, where)
            if pattern:
                return _by_pattern(path, tree, pattern, options)
        return _one(path, where, tree, told, options)


def _many(root: Path, files: Sequence[str], options: OpenOptions) -> DatasetsSource:
    """A sample a file, or rows of several."""
    first = root / files[0]
    with unreadable(UNREADABLE, f"{first.name}, HDF5,"):
        tree = look(first, options.follow_links)
        name, stacked = _of_file(tree, options, files[0])
        if stacked:
            check_samples_last(tree.arrays, name, options.axis, files[0])
        places = [Place(root / file, tree.places[name].path) for file in files]
        decision = f"{len(files):,} files, {name!r} of each"
        turned = tree.arrays[name].turned
        source = open_datasets(root.name, places, stacked, turned, options, decision)
    source.files = list(files)
    return source


def _one(
    path: Path, where: str, tree: Tree, told: dict[str, Any] | None, options: OpenOptions
) -> Source:
    """All images in one data set."""

    def read(column: str) -> NDArray[Any]:
        return read_column(tree.places[column], path)

    layout = prepared.layout_in(tree.arrays, options) if told else None
    if told and layout:
        name, fields = "images", prepared.restored(told, tree.arrays, read, where)
    else:
        dimensions = dimensions_of(tree.arrays, options.images, options.dimensions)
        name, layout = pick_images(tree.arrays, options.images, where, dimensions)
        check_samples_last(tree.arrays, name, options.axis, where)
        fields = vars(find_columns(tree.arrays, read, name, options, where, layout))
    place = tree.places[name]
    with open_file(place.file) as file:
        dataset = open_dataset(file, place.path)
        storage = storage_of(dataset, name, where)
        storage.check(options, volumetric=layout.volumetric)
        if not (dataset.is_virtual or dataset.external):
            storage.check_claim(path.stat().st_size)
        require_filters(dataset)
        declared = declared_of(dataset, f"{name!r} in {where}")
    if declared and str(declared):
        fields["decisions"].append(f"values: {declared}")
    if tree.refused:
        names = ", ".join(sorted(tree.refused)[:10])
        fields["decisions"].append(f"left out, since they lead to other files: {names}")
    own = declared.dtype if declared else tree.arrays[name].dtype
    source = HDF5Source(
        name=path.stem,
        loader="hdf5",
        shape=layout.shape,
        dtype=own.newbyteorder("="),
        keys=tuple(sorted(tree.arrays)),
        path=path,
        place=place,
        layout=layout,
        stored_shape=tree.arrays[name].shape,
        storage=storage,
        declared=declared,
        places=tree.places,
        **fields,
    )
    source.warnings += storage.advice()
    return source


def _pattern(tree: Tree, options: OpenOptions, where: str) -> Pattern | None:
    """The data sets that hold a sample each; None where one of them holds all."""
    chosen = options.images
    if is_pattern(chosen):
        return matching(tree.arrays, chosen or "", options.dimensions, where)
    if options.dimensions == 3 and (alone := one_volume(tree.arrays, chosen)):
        return alone
    if chosen is not None:
        ends = [name for name in tree.arrays if name.rpartition("/")[2] == chosen.strip("/")]
        if chosen.strip("/") in tree.arrays or len(ends) < 2:
            return None
        return matching(tree.arrays, pattern_of(ends[0]), options.dimensions, where)
    try:
        dimensions = dimensions_of(tree.arrays, None, options.dimensions)
        pick_images(tree.arrays, None, where, dimensions)
    except DataError as error:
        found = found_in(tree.arrays, options.dimensions)
        if isinstance(found, list):
            raise DataError(
                f"{error} If each data set of a name is a sample, pick the name: --set "
                f"data.images='{found[0]}'" + "".join(f" or '{one}'" for one in found[1:5])
            ) from error
        return found
    return None


def _by_pattern(path: Path, tree: Tree, pattern: Pattern, options: OpenOptions) -> Source:
    """A sample a data set, or rows of several."""
    for name in pattern.names if pattern.stacked else ():
        within = {one: tree.arrays[one] for one in tree.arrays if beside(one) == beside(name)}
        check_samples_last(within, name, options.axis, path.name)
    places = [tree.places[name] for name in pattern.names]
    turned = tree.arrays[pattern.names[0]].turned
    decision = f"{len(places):,} data sets {pattern.text!r}"
    source = open_datasets(path.stem, places, pattern.stacked, turned, options, decision)
    groups = [name.rpartition("/")[0] or name for name in pattern.names]
    _read_parts(source, groups)
    if source.ids is None and not pattern.stacked and len(set(groups)) == len(groups):
        source.ids = np.array(groups)
    if tree.refused:
        names = ", ".join(sorted(tree.refused)[:10])
        source.decisions.append(f"left out, since they lead to other files: {names}")
    return source


def _of_file(tree: Tree, options: OpenOptions, where: str) -> tuple[str, bool]:
    """The data set of one of many files, and whether its rows are samples.

    It is one image or one volume, unless columns of as many values as it has rows lie beside it.
    """
    arrays = {name: replace(array, shape=(1, *array.shape)) for name, array in tree.arrays.items()}
    dimensions = dimensions_of(arrays, options.images, options.dimensions)
    name, _ = pick_images(arrays, options.images, where, dimensions)
    return name, is_stack(tree.arrays, [name], options.dimensions)


def _read_parts(source: DatasetsSource, names: Sequence[str]) -> None:
    """Sets the split by the names of groups or files where all tell one, and has none yet."""
    parts = [part_of(f"{name}.h5" if "." not in name else name) for name in names]
    if source.split is None and all(parts):
        source.split = np.repeat(np.array(parts), source.counts)
        source.decisions.append(f"split: by the names, {counts(source.split)}")


def _apart(images: str | None) -> tuple[str | None, str | None]:
    """`data.images` of a folder -> a pattern of file names, and a data set: `*.h5[raw]`, `raw`."""
    if images is None:
        return None, None
    match = re.fullmatch(r"(.*?)\[([^\]]+)\]", images)
    if match:
        return match[1] or None, match[2]
    return (images, None) if re.search(r"[*?]|\.\w+$", images) else (None, images)


def _told(path: Path) -> dict[str, Any] | None:
    """What `domainjepa prepare` wrote about the file; None where it did not make it."""
    with open_file(path) as file:
        if prepared.ATTRIBUTE not in file.attrs:
            return None
        kind = file.attrs.get_id(prepared.ATTRIBUTE)
        if kind.dtype.kind != "S" or kind.shape:
            return None
        return prepared.about(bytes(file.attrs[prepared.ATTRIBUTE]))


def _refuse(tree: Tree, options: OpenOptions, where: str) -> None:
    """Raises DataError where a link stands in place of something that would have been read."""
    missed = [] if any(map(layout_of, tree.arrays.values())) else list(tree.refused)
    for role, usual in {"images": IMAGE_NAMES, **USUAL_NAMES}.items():
        wanted = getattr(options, role, None)
        for name in tree.refused:
            named = wanted is not None and f"{wanted.strip('/')}/".startswith(f"{name}/")
            if named or (wanted is None and is_usual(name, usual)):
                missed.append(name)
    for name in missed[:1]:
        raise DataError(
            f"{name!r} in {where} {tree.refused[name]} and is not followed. Where you trust the "
            "file: --set data.follow_links=true follows what stays in its folder; or copy it all "
            "into one file with h5repack."
        )
