"""What the arrays beside the images mean: labels, groups, ids, split.

They are found by their usual names, or by the names that the user gives. None of them is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.layout import Array, Layout, full_name, is_usual, layout_of, leaf, rank
from domainjepa.errors import DataError

if TYPE_CHECKING:
    from domainjepa.data.source import OpenOptions, Source

USUAL_NAMES = {
    "labels": ("ans", "labels", "label", "cls", "y", "target", "targets", "class", "classes"),
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
"""The most telling first; case, blanks, underscores and hyphens make no difference."""

BLANK = ("", "nan", "NaN", "NA", "N/A", "n/a", "null", "NULL", "None")
"""What tables and their tools write for no value."""

WARNED = ("groups", "split")
"""Roles without which scores may come out too good."""

MOST_ONE_HOT = 2**28
"""Bytes of an array of classes as rows of zeros with a single one."""

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

    def complete(self, source: Source) -> None:
        """Adds what was found to a source that has told of its images already."""
        source.decisions += self.decisions[1:]  # the first tells of the images
        source.warnings += self.warnings
        for role in ("labels", "classes", "groups", "ids", "split"):
            if getattr(self, role) is not None:
                setattr(source, role, getattr(self, role))


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
            if not _fits(role, arrays[name], samples):
                raise DataError(
                    f"{name!r} in {where} is {arrays[name]}: {role} are one value for each of the "
                    f"{samples:,} samples."
                )
            problem = make(columns, name, arrays[name], read(name))
            if problem:
                raise DataError(f"data.{role}={name}: {problem}")
            continue
        group = images.rpartition("/")[0]
        usual = [name for name in arrays if name != images and is_usual(name, USUAL_NAMES[role])]
        usual.sort(key=lambda name: rank(name, USUAL_NAMES[role]))
        usual.sort(key=lambda name: name.rpartition("/")[0] != group)
        fitting = [name for name in usual if _fits(role, arrays[name], samples)]
        fitting.sort(key=lambda name: not _one_a_sample(arrays[name], samples))
        for name in fitting[:1]:
            problem = make(columns, name, arrays[name], read(name))
            if problem and (role in WARNED or not _one_a_sample(arrays[name], samples)):
                columns.warnings.append(f"{role}: {name!r} is not used: {problem}")
            elif problem:
                columns.decisions.append(f"{role}: none; {name!r}: {problem}")
        if not fitting and role in ("labels", "groups"):
            for name in [name for name in usual if not _names_classes(name, arrays[name])][:1]:
                columns.warnings.append(
                    f"{role}: {name!r} is not used: it is {arrays[name]}, and {role} are one value "
                    f"for each of the {samples:,} samples"
                    + (", or a row of zeros with a single one" if role == "labels" else "")
                )
    return columns


def _one_a_sample(array: Array, samples: int) -> bool:
    return array.shape in ((samples,), (samples, 1))


def _fits(role: str, array: Array, samples: int) -> bool:
    """Whether there is a value for each sample; for labels, a row that may be one-hot will do."""
    if _one_a_sample(array, samples):
        return True
    rows = role == "labels" and len(array.shape) == 2 and array.shape[0] == samples
    size = array.dtype.itemsize * math.prod(array.shape)
    return rows and array.dtype.kind in "uibf" and 0 < size <= MOST_ONE_HOT


def _names_classes(name: str, array: Array) -> bool:
    """Whether an array is a list of the classes' names."""
    return leaf(name) in ("class", "classes") and array.dtype.kind in "SUO"


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


def _known(stored: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
    """Integers, booleans or strings, one for each value, and which of them are not blank.

    Whole floats are integers: that is what a single blank makes of a column of them.

    Returns:
        None where the values are other numbers, or too large to be told apart as floats.
    """
    stored = stored.reshape(len(stored))
    if stored.dtype.kind in "SUO":
        texts = as_text(stored)
        return texts, ~np.isin(texts, BLANK)
    if stored.dtype.kind == "f":
        known = ~np.isnan(stored)
        whole = np.where(known, stored, 0)
        exact = 2 ** (np.finfo(stored.dtype).nmant + 1)
        if (whole != np.floor(whole)).any() or not (np.abs(whole) < exact).all():
            return None
        return whole.astype(np.int64), known
    return (stored, np.ones(len(stored), bool)) if stored.dtype.kind in "uib" else None


def _labels(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    """Sets labels, -1 where there is none, and classes; returns why it cannot."""
    if stored.ndim == 2 and stored.shape[1] > 1:
        if not (np.isin(stored, (0, 1)).all() and (stored.sum(axis=1, dtype=int) == 1).all()):
            return (
                f"it is {array}, and classes in rows are zeros with a single one; `evaluate "
                "--target` takes several labels at once"
            )
        stored = stored.argmax(axis=1)
    found = _known(stored)
    if found is None:
        return f"{stored.dtype} values are no class labels, unless all are whole numbers"
    stored, known = found[0][found[1]], found[1]
    kind = stored.dtype.kind
    distinct, indices = np.unique(stored, return_inverse=True)
    if len(distinct) > max(20, len(stored) // 2):
        return f"{len(distinct):,} distinct values in {len(stored):,} samples are no classes"
    numbers = distinct.astype(np.int64) if kind in "uib" else None
    if len(distinct) < 2:
        return "all samples have the same value" if len(stored) else "all samples are blank"
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
                    "count as classes; if they mean unlabelled, store them blank, as NaN"
                )
    columns.labels = np.full(len(known), -1, dtype=np.int64)
    columns.labels[known] = indices
    blank = "" if known.all() else f"; unlabelled: {(~known).sum():,} samples, which are blank"
    columns.decisions.append(f"labels: {name!r}, {len(columns.classes or distinct)} classes{blank}")
    return None


def _groups(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    found = _known(stored)
    if found is None:
        return f"{stored.dtype} values are no groups, unless they are whole and of few digits"
    values, known = found
    distinct, indices = np.unique(values[known], return_inverse=True)
    blank = int((~known).sum())
    if blank == len(known):
        return "all samples are blank"
    columns.groups = np.empty(len(known), dtype=np.int64)
    columns.groups[known] = indices
    columns.groups[~known] = len(distinct) + np.arange(blank)
    columns.decisions.append(f"groups: {name!r}, {len(distinct):,} groups")
    if blank:
        columns.warnings.append(
            f"groups: {name!r} is blank for {blank:,} of {len(known):,} samples, each of which is "
            "a group of its own: fill it in where they belong together"
        )
    return None


def _ids(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    found = _known(stored)
    if found is None or stored.dtype.kind == "b":
        return f"{stored.dtype} values are no ids"
    columns.ids = np.where(found[1], as_text(found[0]), "")
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
