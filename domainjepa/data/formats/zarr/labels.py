"""Label images beside the images of an OME-Zarr store, as masks.

After OME-NGFF 0.4 and 0.5, section "labels": a group `labels` below the image names its label
images, each a pyramid of its own whose pixels hold the number of an object, and 0 where there is
none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.zarr import ome
from domainjepa.data.formats.zarr import store as zarr_store
from domainjepa.data.formats.zarr.source import Part, ZarrSource
from domainjepa.data.masks.masks import Mask, Masks
from domainjepa.data.remote.addresses import is_url
from domainjepa.errors import DataError, did_you_mean

LABELS = "labels"


@dataclass(kw_only=True)
class LabelMasks(Masks):
    """Masks from label images.

    Attributes:
        images: the label images.
        layers: value in the mask -> (N,) the label image of each sample, -1 where it has none; a
            later one lies over an earlier one. The value 0 takes what the label image holds.
    """

    images: ZarrSource = field(repr=False)
    layers: dict[int, NDArray[np.int64]] = field(repr=False)

    def read(self, index: int) -> Mask:
        rows = {value: int(rows[index]) for value, rows in self.layers.items() if rows[index] >= 0}
        stored = {value: self.images[row][..., 0] for value, row in rows.items()}
        if 0 in stored:
            return stored[0]
        mask = np.zeros(next(iter(stored.values())).shape, np.int32)
        for value, objects in stored.items():
            mask[objects > 0] = value
        return mask


def offer_labels(source: ZarrSource, told: str | None) -> None:
    """Gives a source of OME-Zarr images the label images that lie beside them.

    Each label image is a class by its name, and every object in it is of that class; one that
    `told` names holds classes itself, as its values.

    Args:
        told: `data.masks`.

    Raises:
        DataError: no label image is called so, or one is damaged.
    """
    if told == "none" or not any(part.ome for part in source.parts):
        return
    if told is None and is_url(source.root) and len(source.parts) > 1:
        return  # a round for each image of a plate far away, for what pretraining does not need
    try:
        found = [list(_label_parts(source, part)) for part in source.parts]
    except DataError as error:
        raise DataError(f"{error} data.masks=none does without the label images.") from error
    names = sorted({name for labels in found for name, _ in labels})
    if told is not None:
        if told not in names:
            raise DataError(
                f"data.masks={told}: {source.name} has no label image of that name."
                f"{did_you_mean(told, names)}"
            )
        names = [told]
    if not names:
        return
    values = {name: 0 if told else place for place, name in enumerate(names, start=1)}
    layers = {value: np.full(len(source), -1, np.int64) for value in values.values()}
    parts: list[Part] = []
    row, samples = 0, 0
    for part, labels in zip(source.parts, found, strict=True):
        for name, label in labels:
            if name not in values:
                continue
            layers[values[name]][samples : samples + part.side("t")] = row + np.arange(
                part.side("t")
            )
            parts.append(label)
            row += part.side("t")
        samples += part.side("t")
    dtype = np.result_type(*(np.dtype(part.dtype) for part in parts))
    images = ZarrSource(
        name=f"labels of {source.name}",
        loader=source.loader,
        shape=(*source.shape[:-1], 1),
        dtype=dtype.newbyteorder("=") if dtype.kind in "iu" else np.dtype(np.int64),
        root=source.root,
        parts=parts,
        follow_links=source.follow_links,
    )
    source.masks = LabelMasks(
        known=np.any([rows >= 0 for rows in layers.values()], axis=0),
        classes=None if told else {value: name for name, value in values.items()},
        images=images,
        layers=layers,
    )
    what = "its values" if told else "each a class, whatever the object"
    source.decisions.append(f"masks: label images {', '.join(names)}, {what}")


def _label_parts(source: ZarrSource, part: Part) -> Iterator[tuple[str, Part]]:
    """(name, label image) of each one that has a resolution of the sides of its image."""
    if not part.ome:
        return
    place = source.root if not part.store else os.fspath(Path(source.root) / part.store)
    folder = f"{part.path.rpartition('/')[0]}/{LABELS}".strip("/")
    if Path(place).is_dir() and not (Path(place) / folder).is_dir():
        return  # the usual case, told without opening anything
    store = zarr_store.connect(place, source.follow_links)
    where = part.store or source.name
    if not zarr_store.is_there(store, folder):
        return
    with unreadable((Exception,), f"the label images of {where}"):
        listed = ome.metadata(zarr_store.node(store, folder, where).attrs).get(LABELS, ())
        for name in map(str, listed):
            label = _of_its_sides(store, f"{folder}/{name}", part, where)
            if label is not None:
                yield name, label


def _of_its_sides(store: Any, path: str, image: Part, where: str) -> Part | None:
    """The resolution of a label image that has the sides of an image, if there is one."""
    group = zarr_store.node(store, path, where)
    for dataset in ome.metadata(group.attrs)["multiscales"][0]["datasets"]:
        level = ome.level(group.attrs, str(dataset["path"]), where)
        assert level is not None
        array: zarr.Array[Any] = zarr_store.array_at(store, f"{path}/{level.path}", where)
        if array.dtype.kind not in "iu" or array.ndim != len(level.axes):
            return None
        told = replace(
            image,
            path=array.path,
            axes=level.axes,
            shape=array.shape,
            chunks=array.chunks,
            dtype=array.dtype.str,
            missing=0,
        )
        if told.side("c") == 1 and all(told.side(one) == image.side(one) for one in "tzyx"):
            return told
    return None
