"""What a file made by `domainjepa prepare` says of itself, HDF5 or Zarr.

Its arrays are `images` (N, H, W, C) or (N, D, H, W, C), and, where the source had them, `labels`,
`groups`, `split`, `ids` and `spacings`, each with N rows, `masks` (N, H, W) or (N, D, H, W) with
`masks_known` (N,), and numeric columns under their own names. One attribute of the root,
`domainjepa`, holds the rest as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa import catalog
from domainjepa.data.metadata import cards
from domainjepa.data.metadata.columns import as_text, counts
from domainjepa.data.storage.layout import Array, Layout
from domainjepa.errors import DataError

if TYPE_CHECKING:
    from domainjepa.data.source import OpenOptions

ATTRIBUTE = "domainjepa"
FORMAT = 1
SPLITS = ("train", "val", "test")
"""Stored as 0, 1, 2."""
NO_PART = 255
"""Of a sample that is in none of them."""
STACK = "places_in_stack"
"""What a `Source` calls `stack`."""
BLANK = "blank_blocks"
"""How many blocks of a large volume are not there since they hold nothing but zeros."""
BESIDE = ("labels", "groups", "split", "ids", "spacings", STACK)


def about(text: object) -> dict[str, Any] | None:
    """The attribute as plain data; None where a file was not made by `prepare`."""
    try:
        told = json.loads(text) if isinstance(text, str | bytes) else text
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) and told.get("format") == FORMAT else None


def layout_in(arrays: Mapping[str, Array], options: OpenOptions) -> Layout | None:
    """The layout of `images`; None where that is no array of samples, or others are asked for."""
    images = arrays.get("images")
    if images is None or len(images.shape) not in (4, 5) or images.dtype.kind not in "uif":
        return None
    if any(getattr(options, role) not in (None, role) for role in ("images", *BESIDE[:4])):
        return None
    return Layout("last", images.shape[1:])


def restored(
    told: Mapping[str, Any],
    arrays: Mapping[str, Array],
    read: Callable[[str], NDArray[Any]],
    where: str,
) -> dict[str, Any]:
    """The fields of a `Source` exactly as they were when the file was made.

    Args:
        told: the attribute.
        arrays: name -> array, of the whole file.
        read: reads one of them.
        where: what to call the file in a message.

    Raises:
        DataError: an array does not fit the images.
    """
    samples = arrays["images"].shape[0]
    columns: dict[str, NDArray[Any]] = {}
    for name in BESIDE:
        if name in arrays:
            if arrays[name].shape[:1] != (samples,):
                raise DataError(
                    f"{name!r} in {where} is {arrays[name]}; it should have {samples:,} rows."
                )
            columns[name] = read(name)
    fields: dict[str, Any] = {
        "labels": _whole(columns.get("labels")),
        "groups": _whole(columns.get("groups")),
        "classes": arrays["labels"].class_names if "labels" in columns else None,
        "decisions": [_made(told), f"images: 'images', {arrays['images']}"],
    }
    if "class_names" in arrays:  # too many for an attribute
        fields["classes"] = tuple(as_text(read("class_names")).tolist())
    if "ids" in columns:
        fields["ids"] = as_text(columns["ids"])
    if "split" in columns:
        parts = np.array([*SPLITS, ""])
        fields["split"] = parts[columns["split"].astype(np.int64).clip(0, len(SPLITS))]
        fields["decisions"].append(f"split: {counts(fields['split'])}")
    if STACK in columns and columns[STACK].shape == (samples, 3):
        fields["stack"] = columns[STACK].astype(np.float64)
    beside = [name for name in columns if name != "split"]
    if beside:
        fields["decisions"].append(f"beside them: {', '.join(beside)}")
    return fields | described(told, columns.get("spacings"))


def described(told: Mapping[str, Any], spacings: NDArray[Any] | None) -> dict[str, Any]:
    """The fields of a `Source` that only a prepared file has: spacings, modality, origin, card,
    names of what masks show."""
    fields: dict[str, Any] = {}
    if spacings is not None and spacings.ndim == 2:
        fields["spacings"] = spacings.astype(np.float64)
    for name, key in (("modality", "modality"), ("origin", "loader")):
        if isinstance(told.get(key), str):
            fields[name] = told[key]
    if isinstance(told.get("mask_classes"), dict):
        fields["mask_classes"] = {int(one): str(name) for one, name in told["mask_classes"].items()}
    if told.get("card") in catalog.names("datasets"):  # a file may name a card, not bring its own
        card = cards.load(catalog.find("datasets", told["card"]))
        fields["card"] = card.model_dump(mode="json", exclude_none=True)
    return fields


def _whole(values: NDArray[Any] | None) -> NDArray[np.int64] | None:
    return None if values is None else values.astype(np.int64, copy=False)


def _made(told: Mapping[str, Any]) -> str:
    of = f"{told.get('card') or told.get('loader')} data"
    return f"made by domainjepa prepare on {told.get('date')} from {of}"
