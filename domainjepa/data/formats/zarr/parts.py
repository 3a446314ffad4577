"""Which arrays of a Zarr store hold samples, and how."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.zarr import codecs as zarr_codecs
from domainjepa.data.formats.zarr import ome
from domainjepa.data.formats.zarr import store as zarr_store
from domainjepa.data.formats.zarr.source import Part
from domainjepa.data.metadata.columns import find_columns
from domainjepa.data.packing import prepared
from domainjepa.data.packing.prepared import BLANK
from domainjepa.data.source import OpenOptions
from domainjepa.data.storage.layout import Array, dimensions_of, layout_of, leaf, pick_images
from domainjepa.errors import DataError

AXES = {
    (2, "last"): "tyxc",
    (2, "first"): "tcyx",
    (2, "none"): "tyx",
    (3, "last"): "tzyxc",
    (3, "first"): "tczyx",
    (3, "none"): "tzyx",
}
"""(dimensions, where the channels are) -> axes of a stored array."""


MOST_OF_OVERVIEW = 2**22
"""Values of a coarse resolution that a map of what is there is made from."""


def any_parts(place: str, file: Path, options: OpenOptions) -> list[Part]:
    """The samples of one store among others."""
    where = file.parent.name
    root = zarr_store.node(zarr_store.connect(place, options.follow_links), "", where)
    if "*" in (options.images or ""):
        options = replace(options, images=None)
    if parts := ome_parts(root, place, where, options).parts:
        return parts
    found = {"": root} if isinstance(root, zarr.Array) else zarr_store.members(root, where)[0]
    # A small store of its own is one image rather than a stack of them.
    whole = _alone(found, options.dimensions)
    if len(whole) != 1 and options.images is None:
        return [plain_part(root, place, where, options)[0]]
    name, layout = pick_images(whole, options.images, where, options.dimensions)
    axes = AXES[options.dimensions, layout.channels].removeprefix("t")
    return [_part(found[name], axes, None, place, where, options)]


def _alone(found: dict[str, zarr.Array[Any]], dimensions: int) -> dict[str, Array]:
    """The arrays that can be one image or one volume, each as a stack of one."""
    stacks = {name: Array((1, *array.shape), array.dtype) for name, array in found.items()}
    return {name: one for name, one in stacks.items() if layout_of(one, dimensions=dimensions)}


def plain_part(
    root: zarr.Array[Any] | zarr.Group, place: str, where: str, options: OpenOptions
) -> tuple[Part, dict[str, Any]]:
    """The array of images of a store that is no OME-Zarr, and what lies beside it."""
    found: dict[str, zarr.Array[Any]] = {}
    refused: dict[str, str] = {}
    if isinstance(root, zarr.Group):
        try:
            found, refused = zarr_store.members(root, where)
        except DataError as error:  # zarr gives up where it does not know one of the arrays
            if options.images is None:
                raise DataError(f"{error} To read one array alone: data.images=NAME.") from error
            found = {options.images: zarr_store.array_at(root.store, options.images, where)}
    elif why := zarr_codecs.unsafe(root):
        refused["images"] = why
    else:
        found["images"] = root
    for name, why in refused.items():
        named = options.images and options.images.strip("/") in (name, leaf(name))
        others = [zarr_store.as_array(one) for one in found.values()]
        if named or not any(layout_of(one) or layout_of(one, dimensions=3) for one in others):
            raise DataError(f"{name!r} in {where} {why}.")
    arrays = {name: zarr_store.as_array(array) for name, array in found.items()}

    def read(name: str) -> NDArray[Any]:
        return zarr_store.read_column(found[name], where)

    volumes = _alone(found, 3) if options.dimensions == 3 else {}
    if volumes and not any(layout_of(one, dimensions=3) for one in arrays.values()):
        name, whole = pick_images(volumes, options.images, where, 3)
        axes = AXES[3, whole.channels].removeprefix("t")
        decision = f"images: one volume, {name!r}, {arrays[name]} ({whole})"
        return _part(found[name], axes, None, place, where, options), {"decisions": [decision]}
    told = prepared.about(root.attrs.get(prepared.ATTRIBUTE))
    layout = prepared.layout_in(arrays, options) if told else None
    if told and layout:
        name, fields = "images", prepared.restored(told, arrays, read, where)
    else:
        dimensions = dimensions_of(arrays, options.images, options.dimensions)
        name, layout = pick_images(arrays, options.images, where, dimensions)
        fields = vars(find_columns(arrays, read, name, options, where, layout))
    fields["keys"] = tuple(sorted(arrays))
    if refused:
        names = ", ".join(f"{name} ({why})" for name, why in sorted(refused.items())[:10])
        fields["decisions"].append(f"left out: {names}")
    axes = AXES[3 if layout.volumetric else 2, layout.channels]
    part = _part(found[name], axes, None, place, where, options)
    if told and part.missing == told.get(BLANK):
        part = replace(part, missing=0)
    if told and part.missing:
        raise DataError(f"{where} is damaged: {part.missing} of its files are gone.")
    return part, fields


class Images(NamedTuple):
    """The images of an OME-Zarr store.

    Attributes:
        parts: their arrays.
        groups: a number for each that images of one well share.
        missing: wells and fields that the metadata name and that are not there.
    """

    parts: list[Part]
    groups: list[int]
    missing: int


def ome_parts(
    root: zarr.Array[Any] | zarr.Group, place: str, where: str, options: OpenOptions
) -> Images:
    """The images of an OME-Zarr store; none where it is of another kind.

    A plate has a path for every well that was planned; those without a folder were not imaged, or
    not copied, and the others are read.

    Raises:
        DataError: the metadata are damaged, or no image that they name is there.
    """
    if isinstance(root, zarr.Array):
        return Images([], [], 0)
    with unreadable((Exception,), f"the OME metadata of {where}"):
        paths, missing = _image_paths(root, where)
        parts, groups = [], []
        for number, path in paths:
            if path and not zarr_store.is_there(root.store, path):
                missing += 1
                continue
            group = root if not path else zarr_store.node(root.store, path, where)
            level = ome.level(group.attrs, options.images, where)
            if level is None:
                continue
            array = zarr_store.array_at(root.store, f"{path}/{level.path}".strip("/"), where)
            if array.ndim != len(level.axes):
                raise DataError(
                    f"{level.path!r} in {where} has {array.ndim} axes, its metadata "
                    f"{len(level.axes)}."
                )
            if options.dimensions == 3 and "z" not in level.axes:
                raise DataError(f"{where} has no z axis: --set data.dimensions=2 reads its images.")
            part = _part(array, level.axes, level.spacing, place, where, options)
            coarse = _overview(root.store, path, level, where)
            parts.append(replace(part, ome=True, overview=coarse))
            groups.append(number)
    if missing and not parts:
        raise DataError(f"none of the wells that the metadata of {where} name is there.")
    return Images(parts, groups, missing)


def _overview(store: Store, path: str, level: ome.Level, where: str) -> str:
    """The finest of the coarser resolutions that is small; none where all are large."""
    for lower in level.lower:
        array = zarr_store.array_at(store, f"{path}/{lower}".strip("/"), where)
        if array.ndim == len(level.axes) and prod(array.shape) <= MOST_OF_OVERVIEW:
            return array.path
    return ""


def _image_paths(root: zarr.Group, where: str) -> tuple[list[tuple[int, str]], int]:
    """(number of the well or the series, path below the store) of every image that the metadata
    name, and how many wells are not there."""
    wells = ome.wells(root.attrs)
    if wells is not None:
        there = {at: well for at, well in enumerate(wells) if zarr_store.is_there(root.store, well)}
        images = [
            (at, f"{well}/{field}")
            for at, well in there.items()
            for field in ome.fields(zarr_store.node(root.store, well, where).attrs)
        ]
        return images, len(wells) - len(there)
    if ome.is_series(root.attrs):
        names = sorted((name for name in root.group_keys() if name.isdigit()), key=int)
        return [(number, name) for number, name in enumerate(names)], 0
    return [(0, "")], 0


def _part(
    array: zarr.Array[Any],
    axes: str,
    spacing: tuple[float, ...] | None,
    place: str,
    where: str,
    options: OpenOptions,
) -> Part:
    """An array of images, its cost compared with what is allowed."""
    part = Part("", array.path, axes, array.shape, array.chunks, array.dtype.str, spacing)
    stored = part.storage(where)
    stored.check(options, volumetric=part.side("z") > 1)
    if Path(place).is_dir():
        missing, expected = zarr_store.missing_chunks(array, Path(place))
        stored.check_claim((expected - missing) * max(stored.chunk_bytes, 1))
        if missing == expected:
            raise DataError(f"{stored.name!r} in {where} holds no data: no chunk of it is there.")
        part = replace(part, missing=missing)
    return part
