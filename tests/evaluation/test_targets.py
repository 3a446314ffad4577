from __future__ import annotations

import numpy as np
import pytest
from toys import make_source

from domainjepa.errors import DataError
from domainjepa.evaluation.splits import draw_shots, train_test, tuning_folds
from domainjepa.evaluation.targets import target_of


class Columns(dict):
    def source(self, labels=None, **more):
        size = len(next(iter(self.values())))
        source = make_source(np.zeros(size) if labels is None else labels, **more)
        source.column = lambda name: np.asarray(self[name])
        return source


def test_labels_are_the_target_unless_one_is_named():
    target = target_of(make_source([0, 1, -1, 1], classes=("a", "b")))
    assert (target.kind, target.classes) == ("classes", ("a", "b"))
    assert target.known.tolist() == [True, True, False, True]
    with pytest.raises(DataError, match="no labels"):
        target_of(make_source([-1, -1]))


@pytest.mark.parametrize(
    ("values", "kind", "classes", "known"),
    [
        (np.array([0.1, 0.2, np.nan, 0.1]), "numbers", (), [1, 1, 0, 1]),
        (np.array(["b", "a", "", "b"]), "classes", ("a", "b"), [1, 1, 0, 1]),
        (np.array([b"b", b"a", b"", b"b"]), "classes", ("a", "b"), [1, 1, 0, 1]),
        (np.array([10, 9, -1, 10]), "classes", ("9", "10"), [1, 1, 0, 1]),
        (np.array([True, False, True, True]), "classes", ("False", "True"), [1, 1, 1, 1]),
        (np.array([[0.5], [1.5], [2.5], [2.5]]), "numbers", (), [1, 1, 1, 1]),
        (np.array([0, 1, np.nan, 2]), "classes", ("0", "1", "2"), [1, 1, 0, 1]),
        (np.array([1.0, 0.0, np.nan, -1.0]), "classes", ("0", "1"), [1, 1, 0, 0]),
        (np.arange(60.0), "numbers", (), [1] * 60),
        (np.array(["none", "NA", "", "b"]), "classes", ("NA", "b", "none"), [1, 1, 0, 1]),
        (np.array([[0, 1], [1, 1], [0, -1], [0, 0]]), "multi-label", ("0", "1"), [1, 1, 0, 1]),
    ],
)  # fmt: skip
def test_what_a_column_holds_says_what_it_is(values, kind, classes, known):
    target = target_of(Columns(x=values).source(), "x")
    assert (target.kind, target.classes) == (kind, classes)
    assert target.known.astype(int).tolist() == known


def test_words_that_may_mean_nothing_and_rows_that_take_no_part_are_told():
    assert "none counts as one" in target_of(Columns(x=["none", "a"]).source(), "x").decision
    several = Columns(a=[1, 0, np.nan, -1], b=[0, 1, 1, 1]).source()
    assert "2 of 4 samples" in target_of(several, "a,b").decision


def test_classes_of_a_column_are_its_values():
    target = target_of(Columns(x=np.array([10, 9, -1, 10])).source(), "x")
    assert target.values[target.known].tolist() == [1, 0, 1]


def test_integers_of_many_values_are_numbers():
    assert target_of(Columns(age=np.arange(80)).source(), "age").kind == "numbers"
    assert target_of(Columns(age=np.arange(80) % 50).source(), "age").kind == "classes"


def test_what_catalogues_write_for_no_number_is_none():
    redshifts = np.array([0.1, -9999.0, 0.3, -99.0, np.nan, 0.2])
    target = target_of(Columns(z=redshifts).source(), "z")
    assert target.known.tolist() == [True, False, True, False, False, True]
    assert "-9999 of 1 samples" in target.decision
    ages = np.where(np.arange(80) % 10 == 0, -999, np.arange(80))
    assert target_of(Columns(age=ages).source(), "age").known.sum() == 72


def test_a_number_among_its_like_is_no_gap():
    celsius = np.arange(-99.0, 30.0)
    target = target_of(Columns(t=celsius).source(), "t")
    assert target.known.all()
    assert target.decision == "numbers"


def test_several_columns_are_several_labels():
    columns = Columns(bar=[0, 1, 1, 0], ring=[0, 0, 1, np.nan])
    target = target_of(columns.source(), "bar,ring")
    assert (target.kind, target.classes) == ("multi-label", ("bar", "ring"))
    assert target.values[target.known].tolist() == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("columns", "name", "message"),
    [
        ({"x": np.zeros((4, 2, 2))}, "x", "shape"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, "x", "4 samples|3 samples|shape"),
        ({"x": ["a", "b"], "y": [0, 1]}, "x,y", "text where zeros and ones"),
        ({"x": [[3, 4], [5, 6]]}, "x", "no sample with zeros and ones"),
        ({"x": [[0, 1], [1, 1]], "y": [0, 1]}, "x,y", "one value a sample"),
    ],
)
def test_columns_that_are_no_target_are_refused(columns, name, message):
    source = make_source(np.zeros(len(columns.get("y", columns["x"]))))
    source.column = lambda wanted: np.asarray(columns[wanted])
    with pytest.raises(DataError, match=message):
        target_of(source, name)


def test_numbers_are_stratified_by_fifths(rng):
    values = rng.lognormal(size=500)
    target = target_of(Columns(x=values).source(), "x")
    strata = target.strata(values)
    assert np.bincount(strata).tolist() == [100] * 5
    assert values[strata == 1].max() <= values[strata == 2].min()
    source = Columns(x=values).source()
    split = train_test(source, target, 0)
    assert np.bincount(strata[split.test]).tolist() == [20] * 5
    of_training = target.strata(values[split.train])
    chosen = draw_shots(of_training, 2, seed=0, draw=0)
    assert np.bincount(of_training[chosen]).tolist() == [2] * 5
    assert len(target.strata_names(values)) == 5


def test_values_that_are_mostly_one_have_fewer_strata():
    target = target_of(Columns(x=np.r_[np.zeros(90), np.linspace(0.1, 1, 10)]).source(), "x")
    assert set(target.strata(target.values)) <= {0, 1}


def test_several_labels_are_stratified_by_the_rarest():
    values = np.array([[1, 1, 0]] * 3 + [[1, 0, 0]] * 6 + [[0, 0, 0]] * 2 + [[0, 0, 1]])
    target = target_of(Columns(x=values).source(), "x")
    assert target.strata(values).tolist() == [1] * 3 + [0] * 6 + [3] * 2 + [2]
    assert target.strata_names(values) == ("0", "1", "2", "none")
    assert tuning_folds(target.strata(values), seed=0) is None
    assert tuning_folds(target.strata(values), seed=0, whole=False) is not None


def test_a_constant_target_is_refused():
    columns = Columns(x=np.full(40, 0.5))
    source = columns.source()
    with pytest.raises(DataError, match="fewer than two different values"):
        train_test(source, target_of(source, "x"), 0)


def test_negative_integers_are_classes_unless_they_stand_for_none():
    hubble = np.array([-5, -3, -1, 0, 4, 6, -9999])
    target = target_of(Columns(t=hubble).source(), "t")
    assert target.classes == ("-5", "-3", "-1", "0", "4", "6")
    assert target.known.tolist() == [True] * 6 + [False]
    assert "1 of 7 samples have none" in target.decision


def test_a_label_that_no_test_sample_has_is_told():
    marks = np.zeros((40, 2), int)
    marks[::2, 0] = 1
    marks[:20:2, 1] = 1  # in training alone
    source = Columns(x=marks).source(split=np.array(["train"] * 20 + ["test"] * 20))
    said = train_test(source, target_of(source, "x"), seed=0).warnings
    assert said == ["no test sample has 1: left out of the means over labels"]
