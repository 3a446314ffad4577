"""Which arrays of a container are the images, and what the arrays beside them mean.

HDF5 files and `.npz` archives are both named arrays: a loader lists them as `Array`s and this
module finds the images by shape and the labels, groups, ids and split by their usual names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domainjepa.errors import DataError, did_you_mean

USUAL_NAMES = {
    "images": ("images", "image", "x", "data", "img", "imgs", "pixels", "cutouts"),
    "labels": ("ans", "labels", "label", "y", "target", "targets", "class", "classes"),
    "groups": (
        "groups",
        "group",
        "group_id",
        "patient",
        "patients",
        "patient_id",
        "subject",
        "subjects",
        "subject_id",
    ),
    "ids": ("ids", "id", "objid", "object_id", "obj_id", "iauname", "name", "names"),
    "split": ("split", "splits", "partition", "test", "is_test", "test_mask"),
}
"""Lower case, the most telling first."""

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What data sets call their parts -> what they are called here."""

MOST_CHANNELS = 16
"""An axis that is longer is taken for a side of the image, unless the user names the array."""
SMALLEST_SIDE = 4


@dataclass(frozen=True)
class Array:
    """A named array, before anything is read.

    Attributes:
        shape, dtype: as the header tells.
        values: integer -> name, where the container names its values (an HDF5 enum), or None.
        class_names: names of the classes in the order of their indices, where they are told.
        same_as: equal for two names of one array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    values: Mapping[int, str] | None = None
    class_names: tuple[str, ...] | None = None
    same_as: object = None

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape)) or 'scalar'} {self.dtype}"


@dataclass(frozen=True)
class Layout:
    """How samples lie in an array: axis 0 counts them, `channels` tells where the channels are.

    Attributes:
        channels: last: (N, H, W, C); first: (N, C, H, W); none: (N, H, W).
        shape: (H, W, C) of one sample.
    """

    channels: Literal["last", "first", "none"]
    shape: tuple[int, int, int]

    def images(self, stored: NDArray[Any]) -> NDArray[Any]:
        """(n, …) as stored -> (n, H, W, C), C-contiguous."""
        if self.channels == "first":
            stored = np.moveaxis(stored, 1, -1)
        return np.ascontiguousarray(stored.reshape(len(stored), *self.shape))

    def __str__(self) -> str:
        return {
            "last": "channels last",
            "first": "channels first, moved last",
            "none": "one channel",
        }[self.channels]


def layout_of(array: Array, most_channels: int = MOST_CHANNELS) -> Layout | None:
    """The layout that makes an array one of images, or None where it can be none.

    Of the second and the last of four axes the shorter one holds the channels, the last one where
    they are equal.
    """
    if array.dtype.kind not in "uif":
        return None
    sides = array.shape[1:]
    if len(sides) == 2 and min(sides) >= 2 * SMALLEST_SIDE:
        return Layout("none", (*sides, 1))
    if len(sides) != 3:
        return None
    last = Layout("last", (sides[0], sides[1], sides[2]))
    first = Layout("first", (sides[1], sides[2], sides[0]))
    for layout in sorted((last, first), key=lambda one: one.shape[2]):
        if min(layout.shape[:2]) >= SMALLEST_SIDE and 0 < layout.shape[2] <= most_channels:
            return layout
    return None


def pick_images(arrays: Mapping[str, Array], chosen: str | None, where: str) -> tuple[str, Layout]:
    """The array of images: the one that the user names, else the only one of a fitting shape.

    Among several of a fitting shape, one that alone has a usual name is taken.

    Args:
        arrays: name -> array, of the whole file.
        chosen: the user's `data.images`, or None.
        where: what to call the file in a message.

    Raises:
        DataError: none, or several; the choices are listed.
    """
    if chosen is not None:
        name = full_name(arrays, chosen, "images", where)
        layout = layout_of(arrays[name], most_channels=2**31)
        if layout is None:
            raise DataError(
                f"{name!r} in {where} is {arrays[name]}, not images: they are (N, H, W), "
                "(N, H, W, C) or (N, C, H, W) of integers or floats."
            )
        return name, layout
    # The most usual name speaks for an array that has several.
    ranked = sorted(arrays, key=lambda name: _rank(name, "images"))
    found: dict[object, str] = {}
    for name in ranked:
        if layout_of(arrays[name]):
            found.setdefault(arrays[name].same_as or name, name)
    usual = [name for name in found.values() if _leaf(name) in USUAL_NAMES["images"]]
    candidates = usual if len(usual) == 1 else list(found.values())
    if len(candidates) == 1:
        layout = layout_of(arrays[candidates[0]])
        if layout is not None:
            return candidates[0], layout
    if candidates:
        listed = ", ".join(f"{name} ({arrays[name]})" for name in sorted(candidates)[:20])
        raise DataError(
            f"{where} holds {len(candidates)} arrays that could be the images: {listed}. "
            f"Pick one: --set data.images={candidates[0]}"
        )
    listed = ", ".join(f"{name} ({arrays[name]})" for name in sorted(arrays)[:20]) or "nothing"
    raise DataError(
        f"{where} has no array of images: (N, H, W), or (N, H, W, C) or (N, C, H, W) with at most "
        f"{MOST_CHANNELS} channels. It holds {listed}. If one of these is it: "
        "--set data.images=NAME"
    )


@dataclass
class Columns:
    """What was found beside the images; the fields are those of a `Source`."""

    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    groups: NDArray[np.int64] | None = None
    ids: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_columns(
    arrays: Mapping[str, Array],
    read: Callable[[str], NDArray[Any]],
    images: str,
    chosen: Mapping[str, str | None],
    where: str,
) -> Columns:
    """Labels, groups, ids and split: those that the user names, else those of a usual name.

    Args:
        arrays: name -> array, of the whole file.
        read: reads one of them.
        images: the name of the images; what lies in its group goes before what lies elsewhere.
        chosen: role -> the user's `data.*` setting, or None.
        where: what to call the file in a message.

    Raises:
        DataError: an array that the user names is missing, of the wrong length, or unfit.
    """
    columns = Columns()
    samples = arrays[images].shape[0]
    for role, make in (
        ("labels", _labels),
        ("groups", _groups),
        ("ids", _ids),
        ("split", _split),
    ):
        name = chosen.get(role)
        if name is not None:
            name = full_name(arrays, name, role, where)
            if not _one_a_sample(arrays[name], samples):
                raise DataError(
                    f"{name!r} in {where} is {arrays[name]}: {role} are one value for each of the "
                    f"{samples:,} samples."
                )
            problem = make(columns, name, arrays[name], read(name))
            if problem:
                raise DataError(f"data.{role}={name}: {problem}")
            continue
        group = images.rpartition("/")[0]
        fitting = [
            name
            for name, array in arrays.items()
            if _leaf(name) in USUAL_NAMES[role] and _one_a_sample(array, samples)
        ]
        fitting.sort(key=lambda name: (name.rpartition("/")[0] != group, _rank(name, role)))
        for name in fitting[:1]:
            problem = make(columns, name, arrays[name], read(name))
            if problem and role == "split":
                columns.warnings.append(f"{role}: {name!r} is not used: {problem}")
            elif problem:
                columns.decisions.append(f"{role}: none; {name!r}: {problem}")
    return columns


def full_name(names: Mapping[str, Any], chosen: str, role: str, where: str) -> str:
    """The full name of what the user calls by its full name or by its last part.

    Raises:
        DataError: no such name, or several.
    """
    wanted = chosen.strip("/")
    if wanted in names:
        return wanted
    ends = [name for name in names if name.rpartition("/")[2] == wanted]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise DataError(f"data.{role}={chosen}: {where} has {', '.join(sorted(ends))}. Name one.")
    raise DataError(f"data.{role}={chosen}: {where} has none.{did_you_mean(wanted, names)}")


def _leaf(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _rank(name: str, role: str) -> tuple[int, str]:
    usual = USUAL_NAMES[role]
    return (usual.index(_leaf(name)) if _leaf(name) in usual else len(usual), name)


def _one_a_sample(array: Array, samples: int) -> bool:
    return array.shape in ((samples,), (samples, 1))


def as_text(values: NDArray[Any]) -> NDArray[np.str_]:
    """Numbers, bytes or strings -> strings, one for each value, without surrounding blanks."""
    values = values.reshape(len(values))
    if values.dtype.kind in "SO":
        texts = [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for value in values.tolist()
        ]
        return np.char.strip(np.array(texts, dtype=np.str_))
    return np.char.strip(values.astype(np.str_))


def _labels(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    """Sets labels and classes; returns why it cannot."""
    stored = stored.reshape(len(stored))
    kind = stored.dtype.kind
    if kind not in "uibSUO":
        return f"{stored.dtype} values are no class labels"
    distinct, indices = np.unique(stored if kind in "uib" else as_text(stored), return_inverse=True)
    if len(distinct) > max(20, len(stored) // 2):
        return f"{len(distinct):,} distinct values in {len(stored):,} samples are no classes"
    numbers = distinct.astype(np.int64) if kind in "uib" else None
    if len(distinct) < 2:
        return "all samples have the same value"
    told = array.class_names
    values = array.values or (dict(enumerate(told)) if told else {})
    if numbers is not None and values and all(int(number) in values for number in numbers):
        numbering = {number: index for index, number in enumerate(sorted(values))}
        indices = np.array([numbering[int(number)] for number in numbers])[indices]
        columns.classes = tuple(values[number] for number in sorted(values))
    elif numbers is None or not np.array_equal(numbers, np.arange(len(numbers))):
        columns.classes = tuple(str(value) for value in distinct.tolist())
        if numbers is not None:
            shown = ", ".join(columns.classes[:10]) + (", …" if len(numbers) > 10 else "")
            columns.decisions.append(f"labels {shown} became 0 to {len(numbers) - 1}")
            if numbers[0] < 0:
                columns.warnings.append(
                    f"labels: {int((stored < 0).sum()):,} samples of {name!r} are negative and "
                    "count as classes; if they mean unlabelled, leave them out of the file"
                )
    columns.labels = indices.astype(np.int64)
    columns.decisions.append(f"labels: {name!r}, {len(columns.classes or distinct)} classes")
    return None


def _groups(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    if stored.dtype.kind not in "uibSUO":
        return f"{stored.dtype} values are no groups"
    stored = as_text(stored) if stored.dtype.kind in "SUO" else stored.reshape(len(stored))
    distinct, indices = np.unique(stored, return_inverse=True)
    columns.groups = indices.astype(np.int64)
    columns.decisions.append(f"groups: {name!r}, {len(distinct):,} groups")
    return None


def _ids(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    if stored.dtype.kind not in "uiSUO":
        return f"{stored.dtype} values are no ids"
    columns.ids = as_text(stored)
    columns.decisions.append(f"ids: {name!r}")
    return None


def _split(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    stored = stored.reshape(len(stored))
    kind = stored.dtype.kind
    if kind in "uib" and array.values:
        texts = np.array([array.values.get(int(value), str(value)) for value in stored.tolist()])
    elif kind in "uib" and "test" in _leaf(name) and not set(np.unique(stored).tolist()) - {0, 1}:
        texts = np.where(stored.astype(bool), "test", "train")
    elif kind in "SUO":
        texts = as_text(stored)
    else:
        return "its values are numbers without names; store train, val or test"
    distinct, indices = np.unique(np.char.lower(texts), return_inverse=True)
    unknown = [value for value in distinct.tolist() if value not in SPLITS]
    if unknown:
        return f"it has the values {', '.join(map(repr, unknown[:5]))}; store train, val or test"
    columns.split = np.array([SPLITS[value] for value in distinct.tolist()])[indices]
    columns.decisions.append(f"split: {name!r}, {counts(columns.split)}")
    return None


def counts(split: NDArray[np.str_]) -> str:
    """How many samples each part has, such as "train 3,474, val 500, test 989"."""
    sizes = {part: int((split == part).sum()) for part in ("train", "val", "test")}
    return ", ".join(f"{part} {size:,}" for part, size in sizes.items() if size)
