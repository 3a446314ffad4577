from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domainjepa.data.metadata.columns import Columns, find_columns
from domainjepa.data.source import OpenOptions
from domainjepa.data.storage.layout import Array
from domainjepa.errors import DataError

N = 6


def found(stored: dict[str, Any], names: dict[str, Any] | None = None, **chosen: Any) -> Columns:
    """What is found in a file of images and these arrays; `names`: more fields of an Array."""
    values = {name: np.asarray(value) for name, value in stored.items()}
    arrays = {"images": Array((N, 8, 8, 3), np.dtype("uint8"))}
    for name, value in values.items():
        arrays[name] = Array(value.shape, value.dtype, **(names or {}).get(name, {}))
    return find_columns(arrays, values.__getitem__, "images", OpenOptions(**chosen), "a.h5")


def test_contiguous_integers_stay() -> None:
    columns = found({"ans": [2, 0, 1, 1, 0, 2]})
    assert columns.labels is not None
    assert columns.labels.tolist() == [2, 0, 1, 1, 0, 2]
    assert columns.labels.dtype == np.int64
    assert columns.classes is None


@pytest.mark.parametrize(
    ("stored", "labels", "classes"),
    [
        ([7, 3, 3, 9, 7, 7], [1, 0, 0, 2, 1, 1], ("3", "7", "9")),
        (["b", "a", "b", "c", "a", "a"], [1, 0, 1, 2, 0, 0], ("a", "b", "c")),
        ([b"b ", b"a", b"b", b"a", b"a", b"a"], [1, 0, 1, 0, 0, 0], ("a", "b")),
        ([[1], [0], [1], [0], [0], [0]], [1, 0, 1, 0, 0, 0], None),
        ([True, False, True, False, False, True], [1, 0, 1, 0, 0, 1], None),
    ],
)
def test_other_labels_are_numbered(
    stored: list[Any], labels: list[int], classes: tuple[str, ...] | None
) -> None:
    columns = found({"labels": stored})
    assert columns.labels is not None
    assert columns.labels.tolist() == labels
    assert columns.classes == classes


def test_objects_of_text_are_labels() -> None:
    columns = found({"labels": np.array([b"spiral", "disc"] * 3, dtype=object)})
    assert columns.classes == ("disc", "spiral")


def test_negative_labels_warn() -> None:
    columns = found({"labels": [-1, 0, 1, 0, 1, -1]})
    assert columns.classes == ("-1", "0", "1")
    assert any("2 samples" in warning for warning in columns.warnings)


@pytest.mark.parametrize(
    ("stored", "says"), [([0.5, 1.5, 1.0, 0.0, 0.25, 3.0], "float64"), ([4] * N, "same value")]
)
def test_what_is_no_class_is_left_out_with_a_reason(stored: list[float], says: str) -> None:
    columns = found({"target": stored})
    assert columns.labels is None
    assert any(says in decision for decision in columns.decisions)
    with pytest.raises(DataError, match=says):
        found({"target": stored}, labels="target")


def test_names_of_classes_number_them() -> None:
    columns = found({"ans": [2, 0, 2, 0, 0, 2]}, {"ans": {"class_names": ("a", "b", "c")}})
    assert columns.classes == ("a", "b", "c")
    assert columns.labels is not None
    assert columns.labels.tolist() == [2, 0, 2, 0, 0, 2]
    enum = found({"ans": [5, 9, 5, 9, 9, 9]}, {"ans": {"values": {9: "disc", 5: "smooth"}}})
    assert enum.classes == ("smooth", "disc")
    assert enum.labels is not None
    assert enum.labels.tolist() == [0, 1, 0, 1, 1, 1]


def test_only_columns_of_the_right_length_are_taken() -> None:
    assert found({"labels": [0, 1, 0], "classes": ["a", "b"]}).labels is None
    with pytest.raises(DataError, match="one value for each of the 6 samples"):
        found({"labels": [0, 1, 0]}, labels="labels")


def test_the_neighbour_of_the_images_goes_first() -> None:
    columns = found({"old/labels": [0, 1] * 3, "y": [1, 1, 1, 0, 0, 0]})
    assert columns.labels is not None
    assert columns.labels.tolist() == [1, 1, 1, 0, 0, 0]


def test_groups_and_ids() -> None:
    columns = found(
        {"patient": [b"q", b"p", b"q", b"r", b"p", b"q"], "objid": np.arange(6) + 10**17}
    )
    assert columns.groups is not None
    assert columns.groups.tolist() == [1, 0, 1, 2, 0, 1]
    assert columns.ids is not None
    assert columns.ids[5] == "100000000000000005"
    assert any("'group' is not used" in text for text in found({"group": [0.1] * 6}).warnings)


@pytest.mark.parametrize("name", ["PatientID", "Patient ID", "patient-id", "patient_id"])
def test_names_are_as_people_write_them(name: str) -> None:
    groups = found({name: [1, 0, 1, 2, 0, 1]}).groups
    assert groups is not None
    assert groups.tolist() == [1, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    "stored",
    [
        [12.0, 7.0, 12.0, np.nan, np.nan, 7.0],
        ["12", " 7", "12", "", "nan", " 7"],
        [b"b", b"a", b"b", b"", b"nan", b"a"],
        [b"12", b"7", b"12", b"", b"NA", b"7"],
        np.array(["b", "a", "b", None, np.nan, "a"], dtype=object),
    ],
)
def test_a_blank_group_is_one_of_its_own(stored: Any) -> None:
    columns = found({"patient": stored})
    assert columns.groups is not None
    assert len(set(columns.groups.tolist())) == 4
    assert columns.groups[0] == columns.groups[2]
    assert columns.groups[1] == columns.groups[5]
    assert any("'patient' is blank for 2 of 6 samples" in text for text in columns.warnings)


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (np.array([2.0**53, 2.0**53 + 2] * 3), "of few digits"),
        (np.array([2.0**24, 1] * 3, dtype="f4"), "of few digits"),
        ([np.nan] * N, "all samples are blank"),
        ([1, 2, 3], "is 3 int64, and groups are one value for each of the 6 samples"),
    ],
)
def test_groups_that_cannot_be_used_warn(stored: Any, says: str) -> None:
    columns = found({"subject": stored})
    assert columns.groups is None
    assert any("'subject' is not used" in text and says in text for text in columns.warnings)


@pytest.mark.parametrize(
    ("stored", "classes"),
    [
        ([0, np.nan, 1, 1, np.nan, 0], None),
        (["a", "", "b", "b", "NaN", "a"], ("a", "b")),
        ([b"a", b"nan", b"b", b"b", b"", b"a"], ("a", "b")),
        ([b"0", b"NA", b"1", b"1", b"null", b"0"], ("0", "1")),
        (np.array(["a", None, "b", "b", np.nan, "a"], dtype=object), ("a", "b")),
    ],
)
def test_a_blank_label_is_none(stored: Any, classes: tuple[str, ...] | None) -> None:
    columns = found({"label": stored})
    assert columns.labels is not None
    assert columns.labels.tolist() == [0, -1, 1, 1, -1, 0]
    assert columns.classes == classes
    assert any("unlabelled: 2 samples" in text for text in columns.decisions)


@pytest.mark.parametrize("dtype", ["u1", "f4", bool])
def test_one_hot_rows_are_classes(dtype: Any) -> None:
    rows = np.eye(3, dtype=dtype)[[2, 0, 1, 1, 0, 2]]
    columns = found({"labels": rows}, {"labels": {"class_names": ("a", "b", "c")}})
    assert columns.labels is not None
    assert columns.labels.tolist() == [2, 0, 1, 1, 0, 2]
    assert columns.classes == ("a", "b", "c")
    single = found({"labels": rows, "class": [0, 1] * 3})
    assert single.labels is not None
    assert single.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (np.ones((N, 3)), "it is 6x3 float64, and classes in rows are zeros with a single one"),
        (np.arange(5), "it is 5 int64, and labels are one value for each of the 6 samples"),
        (np.ones((N, 8, 8)), "it is 6x8x8 float64"),
    ],
)
def test_labels_of_another_shape_warn(stored: Any, says: str) -> None:
    columns = found({"labels": stored})
    assert columns.labels is None
    assert any("'labels' is not used" in text and says in text for text in columns.warnings)


@pytest.mark.parametrize(
    ("name", "stored", "names"),
    [
        ("split", ["train", "Training", "val", "validation", "test", "TEST"], {}),
        ("split", [b"train", b"train", b"dev", b"valid", b"test ", b"testing"], {}),
        ("split", [0, 0, 1, 1, 2, 2], {"values": {0: "train", 1: "val", 2: "test"}}),
    ],
)
def test_splits(name: str, stored: list[Any], names: dict[str, Any]) -> None:
    columns = found({name: stored}, {name: names})
    assert columns.split is not None
    assert columns.split.tolist() == ["train", "train", "val", "val", "test", "test"]
    assert any("train 2, val 2, test 2" in decision for decision in columns.decisions)


def test_a_mask_of_the_test_rows_is_a_split() -> None:
    columns = found({"is_test": [False, True, False, False, True, False]})
    assert columns.split is not None
    assert columns.split.tolist() == ["train", "test", "train", "train", "test", "train"]


@pytest.mark.parametrize("stored", [[0, 0, 1, 1, 2, 2], ["a", "b"] * 3])
def test_a_split_without_meaning_warns(stored: list[Any]) -> None:
    columns = found({"split": stored})
    assert columns.split is None
    assert any("store train, val or test" in warning for warning in columns.warnings)
    with pytest.raises(DataError, match=r"data\.split=split"):
        found({"split": stored}, split="split")


def test_none_and_na_among_words_are_classes_unless_they_are_told_to_be_blank() -> None:
    stored = ["none", "mild", "NA", "mild", "none", ""]
    columns = found({"label": stored})
    assert columns.classes == ("NA", "mild", "none")
    assert any("'NA' in 'label' is a class" in text for text in columns.warnings)
    told = found({"label": stored}, blank=("NA",))
    assert told.classes == ("mild", "none")
    assert told.labels is not None
    assert told.labels.tolist() == [1, 0, -1, 0, 1, -1]


def test_numbers_may_be_told_to_be_blank() -> None:
    columns = found({"label": [0, 1, -9, 1, 0, -9]}, blank=("-9",))
    assert columns.labels is not None
    assert columns.labels.tolist() == [0, 1, -1, 1, 0, -1]
    groups = found({"patient": [7.0, 7.0, -1.0, -1.0, 8.0, 8.0]}, blank=("-1",)).groups
    assert groups is not None
    assert len(set(groups.tolist())) == 4


@pytest.mark.parametrize(
    "name", ["participant_id", "subject", "lesion_id", "slide_id", "case_id", "eid", "Donor ID"]
)
def test_what_laboratories_call_their_groups(name: str) -> None:
    groups = found({name: [1, 0, 1, 2, 0, 1]}).groups
    assert groups is not None
    assert groups.tolist() == [1, 0, 1, 2, 0, 1]


def test_of_patients_and_their_lesions_the_patients_are_the_groups() -> None:
    groups = found({"lesion_id": [0, 1, 2, 3, 4, 5], "patient_id": [0, 0, 1, 1, 2, 2]}).groups
    assert groups is not None
    assert groups.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_blank_split_is_in_no_part_and_drops_no_other() -> None:
    columns = found({"split": ["train", "", "test", "val", "NaN", "train"]})
    assert columns.split is not None
    assert columns.split.tolist() == ["train", "", "test", "val", "", "train"]
    assert any("blank for 2 of 6 samples" in text for text in columns.warnings)


def test_ids_may_be_named() -> None:
    ids = found({"accession": ["1E2", "10E1", "", "a", "b", "c"]}, ids="accession").ids
    assert ids is not None
    assert ids.tolist() == ["1E2", "10E1", "", "a", "b", "c"]
