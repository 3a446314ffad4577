from __future__ import annotations

import numpy as np
import pytest

from domainjepa.data.metadata.targets import target_of
from domainjepa.errors import DataError, UserError
from domainjepa.evaluation.cohorts.units import samples_of, target_of_units, units_of
from domainjepa.evaluation.splits import train_test
from tests.evaluation.toys import make_source

NONE = np.arange(0)


def source_with(labels, columns=None, **more):
    source = make_source(labels, **more)
    columns = {name: np.asarray(of) for name, of in (columns or {}).items()}
    source.column = columns.__getitem__
    return source


def test_units_of_a_column_are_its_values_and_blanks_are_units_of_their_own():
    source = source_with([0] * 6, {"visit": ["b", "a", "", "b", "nan", "a"]})
    units = units_of(source, "visit", NONE)
    found = [units.rows_of(np.array([one]))[0].tolist() for one in range(len(units))]
    assert found == [[1, 5], [0, 3], [2], [4]]
    rows, starts = units.rows_of(np.array([1, 0]))
    assert rows.tolist() == [0, 3, 1, 5]
    assert starts.tolist() == [0, 2]
    assert units.shown(np.array([0, 2])).tolist() == [5, 2]


def test_units_of_groups_leave_lost_rows_out():
    source = source_with([0] * 5, groups=np.array([7, 7, 3, 3, 3]))
    units = units_of(source, "groups", np.array([2]))
    assert units.rows.tolist() == [3, 4, 0, 1]
    assert units.sizes.tolist() == [2, 2]
    assert not units.single
    assert samples_of(source, np.array([2])).single


def test_units_that_share_a_group_are_one_group():
    visits = ["a", "a", "b", "b", "c", "d"]
    source = source_with([0] * 6, {"visit": visits}, groups=np.array([0, 1, 1, 2, 5, 2]))
    groups = units_of(source, "visit", NONE).groups
    assert groups[0] == groups[1] == groups[3] != groups[2]


def test_a_unit_in_several_parts_of_the_split_counts_to_the_test():
    split = np.array(["train", "test", "train", "val", "val"])
    source = source_with([0] * 5, {"patient": ["a", "a", "b", "b", "c"]}, split=split)
    units = units_of(source, "patient", NONE)
    assert units.rows.tolist() == [1, 2, 4]
    assert units.split.tolist() == ["test", "train", "val"]
    (line,) = units.said
    assert "2 units (patient) have samples in several parts" in line
    assert "2 samples take no part" in line


@pytest.mark.parametrize(
    ("per", "columns", "message"),
    [
        ("groups", {}, "has no groups"),
        ("wide", {"wide": np.zeros((4, 2))}, "shape"),
        ("id", {"id": list("abcd")}, "a value of its own"),
    ],
)
def test_what_makes_no_units_is_refused(per, columns, message):
    with pytest.raises(DataError, match=message):
        units_of(source_with([0] * 4, columns), per, NONE)


def test_a_unit_has_the_label_that_its_known_samples_have():
    source = source_with([2, -1, 2, 0, -1, -1], groups=np.array([0, 0, 0, 1, 1, 2]))
    source.labels[0] = 1
    source.labels[2] = 1
    target = target_of_units(target_of(source), units_of(source, "groups", NONE))
    assert target.known.tolist() == [True, True, False]
    assert target.values[:2].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("within", "wanted"), [("majority", [0, 1]), ("max", [2, 1]), ("leave-out", [None, 1])]
)
def test_labels_that_differ_are_refused_or_settled_as_asked(within, wanted):
    source = source_with(
        [0, 2, 0, 1, 1], groups=np.array([0, 0, 0, 1, 1]), classes=("none", "mild", "severe")
    )
    units = units_of(source, "groups", NONE)
    with pytest.raises(DataError, match=r"differ within 1 of 2 .*none, severe.*--within"):
        target_of_units(target_of(source), units)
    found = target_of_units(target_of(source), units, within)
    assert "1 of 2 units" in found.decision
    for value, known, want in zip(found.values, found.known, wanted, strict=True):
        assert known == (want is not None)
        assert want is None or value == want


def test_numbers_of_a_unit_are_averaged_on_request_alone(rng):
    age = np.array([40.0, 42.0, 7.5, np.nan, 1e30])
    source = source_with([0] * 5, {"age": age}, groups=np.array([0, 0, 1, 1, 2]))
    units = units_of(source, "groups", NONE)
    target = target_of(source, "age")
    with pytest.raises(DataError, match="40, 42"):
        target_of_units(target, units)
    found = target_of_units(target, units, "mean")
    assert found.values.tolist() == [41.0, 7.5, 1e30]
    with pytest.raises(UserError, match="holds classes"):
        target_of_units(target_of(source), units, "mean")


def test_marks_of_a_unit_are_settled_label_by_label():
    marks = np.array([[0, 1], [1, 1], [0, 0], [0, 0]])
    source = source_with([0] * 4, {"marks": marks}, groups=np.array([0, 0, 1, 1]))
    units = units_of(source, "groups", NONE)
    with pytest.raises(DataError, match="0 is 0 and 1"):
        target_of_units(target_of(source, "marks"), units)
    found = target_of_units(target_of(source, "marks"), units, "max")
    assert found.values.tolist() == [[1, 1], [0, 0]]


def test_a_split_of_units_keeps_groups_of_units_whole(rng):
    patient = np.repeat(np.arange(30), 4)
    visit = np.repeat(np.arange(60), 2)
    source = source_with(np.tile([0, 1], 60), {"visit": visit.astype(str)}, groups=patient)
    source.labels[:] = patient % 2
    units = units_of(source, "visit", NONE)
    found = train_test(units, target_of_units(target_of(source), units), seed=0)
    assert len(found.train) + len(found.test) == 60
    assert not set(units.groups[found.train]) & set(units.groups[found.test])
