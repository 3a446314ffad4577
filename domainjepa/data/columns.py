"""What the arrays beside the images mean: labels, groups, ids, split.

They are found by their usual names, or by the names that the user gives. None of them is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.layout import Array, Layout, full_name, layout_of, leaf, rank
from domainjepa.errors import DataError

if TYPE_CHECKING:
    from domainjepa.data.source import OpenOptions

USUAL_NAMES = {
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
    options: OpenOptions,
    where: str,
    layout: Layout | None = None,
) -> Columns:
    """Labels, groups, ids and split: those that the user names, else those of a usual name.

    Args:
        arrays: name -> array, of the whole file.
        read: reads one of them.
        images: the name of the images; what lies in its group goes before what lies elsewhere.
        options: names that the user gives.
        where: what to call the file in a message.
        layout: of the images, where it is not that of plain images.

    Raises:
        DataError: an array that the user names is missing, of the wrong length, or unfit.
    """
    array = arrays[images]
    samples, layout = array.shape[0], layout or layout_of(array, most_channels=2**31)
    columns = Columns(decisions=[f"images: {images!r}, {array} ({layout})"])
    for role, make in (
        ("labels", _labels),
        ("groups", _groups),
        ("ids", _ids),
        ("split", _split),
    ):
        name = getattr(options, role, None)
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
            if leaf(name) in USUAL_NAMES[role] and _one_a_sample(array, samples)
        ]
        fitting.sort(key=lambda name: rank(name, USUAL_NAMES[role]))
        fitting.sort(key=lambda name: name.rpartition("/")[0] != group)
        for name in fitting[:1]:
            problem = make(columns, name, arrays[name], read(name))
            if problem and role == "split":
                columns.warnings.append(f"{role}: {name!r} is not used: {problem}")
            elif problem:
                columns.decisions.append(f"{role}: none; {name!r}: {problem}")
    return columns


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
    elif kind in "uib" and "test" in leaf(name) and not set(np.unique(stored).tolist()) - {0, 1}:
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
