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

from domainjepa.data.metadata.blanks import DOUBTFUL, Values, as_values, plain_text
from domainjepa.data.storage.layout import Array, Layout, full_name, is_usual, layout_of, leaf, rank
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
        "participant",
        "participant_id",
        "eid",
        "donor_id",
        "case_id",
        "lesion_id",
        "slide_id",
    ),
    "ids": ("ids", "id", "objid", "object_id", "obj_id", "iauname", "name", "names"),
    "split": ("split", "splits", "partition", "test", "is_test", "test_mask"),
}
"""The most telling first; case, blanks, underscores and hyphens make no difference. Of groups those
that hold others go first: a patient has lesions, a case has slides."""

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
    """What was found beside the images; the fields are those of a `Source`.

    `blank` is what the user calls no value.
    """

    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    groups: NDArray[np.int64] | None = None
    ids: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    blank: tuple[str, ...] = ()

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
    columns = Columns(
        decisions=[f"images: {images!r}, {array} ({layout})"], blank=options.blank or ()
    )
    for role, make in _MAKE.items():
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


def set_role(role: str, name: str, values: NDArray[Any], blank: tuple[str, ...] = ()) -> Columns:
    """One role out of its values.

    Args:
        role: labels, groups, ids or split.
        name: what the user calls it.
        values: (N,) as stored.
        blank: what the user calls no value.

    Raises:
        DataError: they are unfit for it.
    """
    columns = Columns(blank=blank)
    problem = _MAKE[role](columns, name, Array(values.shape, values.dtype), values)
    if problem:
        raise DataError(f"data.{role}={name}: {problem}")
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
        return np.array([plain_text(value) for value in values.tolist()], dtype=np.str_)
    return np.char.strip(values.astype(np.str_))


def _tell_doubtful(columns: Columns, role: str, name: str, found: Values) -> None:
    """Says that a word which may mean no value counts as one."""
    if found.distinct.dtype.kind == "U":
        words = [word for word in found.distinct.tolist() if word.lower() in DOUBTFUL]
        for word in words:
            columns.warnings.append(
                f"{role}: {word!r} in {name!r} is a {'class' if role == 'labels' else 'group'}; if "
                f"it means no value: --set data.blank='[\"{word}\"]'"
            )


def _labels(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    """Sets labels, -1 where there is none, and classes; returns why it cannot."""
    if stored.ndim == 2 and stored.shape[1] > 1:
        if not (np.isin(stored, (0, 1)).all() and (stored.sum(axis=1, dtype=int) == 1).all()):
            return (
                f"it is {array}, and classes in rows are zeros with a single one; `evaluate "
                "--target` takes several labels at once"
            )
        stored = stored.argmax(axis=1)
    found = as_values(stored, columns.blank)
    if found is None:
        return f"{stored.dtype} values are no class labels, unless all are whole numbers"
    distinct, indices = found.distinct, found.codes
    known = found.known
    if len(distinct) > max(20, int(known.sum()) // 2):
        return f"{len(distinct):,} distinct values in {known.sum():,} samples are no classes"
    numbers = distinct.astype(np.int64) if distinct.dtype.kind in "uib" else None
    if len(distinct) < 2:
        return "all samples have the same value" if len(distinct) else "all samples are blank"
    told = array.class_names
    values = array.values or (dict(enumerate(told)) if told else {})
    if numbers is not None and values and all(int(number) in values for number in numbers):
        numbering = {number: index for index, number in enumerate(sorted(values))}
        renumbered = np.array([numbering[int(number)] for number in numbers])[indices]
        indices = np.where(known, renumbered, -1)
        columns.classes = tuple(values[number] for number in sorted(values))
    elif numbers is None or not np.array_equal(numbers, np.arange(len(numbers))):
        columns.classes = tuple(str(value) for value in distinct.tolist())
        if numbers is not None:
            shown = ", ".join(columns.classes[:10]) + (", …" if len(numbers) > 10 else "")
            columns.decisions.append(f"labels {shown} became 0 to {len(numbers) - 1}")
            if numbers[0] < 0:
                negative = known & (distinct[indices] < 0)
                columns.warnings.append(
                    f"labels: {int(negative.sum()):,} samples of {name!r} are negative and "
                    "count as classes; if they mean unlabelled, store them blank, as NaN"
                )
    columns.labels = indices
    _tell_doubtful(columns, "labels", name, found)
    blank = "" if known.all() else f"; unlabelled: {(~known).sum():,} samples, which are blank"
    columns.decisions.append(f"labels: {name!r}, {len(columns.classes or distinct)} classes{blank}")
    return None


def _groups(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    found = as_values(stored, columns.blank)
    if found is None:
        return f"{stored.dtype} values are no groups, unless they are whole and of few digits"
    distinct, known = found.distinct, found.known
    blank = int((~known).sum())
    if blank == len(known):
        return "all samples are blank"
    columns.groups = found.codes.copy()
    columns.groups[~known] = len(distinct) + np.arange(blank)
    _tell_doubtful(columns, "groups", name, found)
    columns.decisions.append(f"groups: {name!r}, {len(distinct):,} groups")
    if blank:
        columns.warnings.append(
            f"groups: {name!r} is blank for {blank:,} of {len(known):,} samples, each of which is "
            "a group of its own: fill it in where they belong together"
        )
    return None


def _ids(columns: Columns, name: str, array: Array, stored: NDArray[Any]) -> str | None:
    found = as_values(stored, columns.blank)
    if found is None or stored.dtype.kind == "b":
        return f"{stored.dtype} values are no ids"
    columns.ids = np.where(found.known, found.distinct.astype(np.str_)[found.codes], "")
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
        texts = stored
    else:
        return "its values are numbers without names; store train, val or test"
    found = as_values(texts, columns.blank)
    assert found is not None
    named = [value.lower() for value in found.distinct.tolist()]
    unknown = [value for value in named if value not in SPLITS]
    if unknown:
        return f"it has the values {', '.join(map(repr, unknown[:5]))}; store train, val or test"
    if not len(found.distinct):
        return "all samples are blank"
    parts = np.array([SPLITS[value] for value in named])
    columns.split = np.where(found.known, parts[found.codes], "")
    columns.decisions.append(f"split: {name!r}, {counts(columns.split)}")
    if not found.known.all():
        columns.warnings.append(
            f"split: {name!r} is blank for {int((~found.known).sum()):,} of {len(texts):,} "
            "samples, which are in no part and take part in nothing"
        )
    return None


_MAKE: dict[str, Callable[[Columns, str, Array, NDArray[Any]], str | None]] = {
    "labels": _labels,
    "groups": _groups,
    "ids": _ids,
    "split": _split,
}
"""Role -> what sets it; returns why it cannot."""


def counts(split: NDArray[np.str_]) -> str:
    """How many samples each part has, such as "train 3,474, val 500, test 989"."""
    sizes = {part: int((split == part).sum()) for part in ("train", "val", "test")}
    return ", ".join(f"{part} {size:,}" for part, size in sizes.items() if size)
