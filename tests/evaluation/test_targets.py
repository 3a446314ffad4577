from __future__ import annotations

import numpy as np
import pytest

from domainjepa.config import TargetConfig
from domainjepa.data.metadata.targets import target_of
from domainjepa.data.metadata.yes_no import Count
from domainjepa.errors import DataError
from domainjepa.evaluation.splits import draw_shots, train_test, tuning_folds
from tests.evaluation.toys import make_source


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
        (np.arange(60.0), "numbers", (), [1] * 60),
        (np.array(["none", "NA", "", "b"]), "classes", ("NA", "b", "none"), [1, 1, 0, 1]),
        (np.array([[0, 1], [1, 1], [-1, -1], [0, -1]]), "multi-label", ("0", "1"), [1, 1, 0, 1]),
        (np.array([1.0, 0.0, np.nan, -1.0]), "classes", ("0", "1"), [1, 1, 0, 0]),
        (np.array(["1.0", "0", "", "-1"]), "classes", ("0", "1"), [1, 1, 0, 0]),
        (np.array([0.0, 1.0, 2.0, np.nan]), "classes", ("0", "1", "2"), [1, 1, 1, 0]),
        (np.array(["0,25", "1,5", "", "-2,75"]), "numbers", (), [1, 1, 0, 1]),
    ],
)  # fmt: skip
def test_what_a_column_holds_says_what_it_is(values, kind, classes, known):
    target = target_of(Columns(x=values).source(), "x")
    assert (target.kind, target.classes) == (kind, classes)
    assert target.known.astype(int).tolist() == known


def test_words_that_may_mean_nothing_are_told():
    assert "none counts as one" in target_of(Columns(x=["none", "a"]).source(), "x").decision


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
    columns = Columns(bar=[0, 1, 1, np.nan], ring=[0, 0, 1, np.nan], odd=["yes", "", "no", ""])
    target = target_of(columns.source(), "bar,ring, odd")
    assert (target.kind, target.classes) == ("multi-label", ("bar", "ring", "odd"))
    assert target.known.tolist() == [True, True, True, False]
    assert target.values[target.known].tolist() == [[0, 0, 1], [1, 0, -1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("columns", "name", "message"),
    [
        ({"x": np.zeros((4, 2, 2))}, "x", "shape"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, "x", "4 samples|3 samples|shape"),
        ({"x": ["a", "b"], "y": [0, 1]}, "x,y", "'x' is no column of zeros and ones.* 'a'"),
        ({"x": [[3, 4], [5, 6]]}, "x", "it holds 3. If that means uncertain"),
        ({"x": [np.nan, np.nan], "y": [0, 1]}, "x,y", "says neither 0 nor 1"),
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


def test_holes_are_no_negatives_of_the_strata():
    values = np.array([[1, -1], [1, -1], [1, 0], [-1, 1], [0, -1]])
    target = target_of(Columns(x=np.where(values < 0, np.nan, values)).source(), "x")
    assert target.strata(target.values).tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("counted_as", "known", "positive"), [("unknown", 3, 2), (0, 5, 2), (1, 5, 4)]
)
def test_uncertain_labels_are_left_out_or_counted(counted_as, known, positive):
    columns = Columns(a=[1, 0, -1, 1, -1, np.nan], b=[1, 0, 1, 0, 1, 0])
    settings = TargetConfig(column="a,b", uncertain_as=counted_as)
    target = target_of(columns.source(), settings)
    assert target.counts[0] == Count("a", 6, known, positive, 2, str(counted_as))
    assert (target.values[:, 0] >= 0).sum() == known
    assert (target.values[:, 0] == 1).sum() == positive
    alone = target_of(columns.source(), settings.model_copy(update={"column": "a"}))
    assert alone.yes_no
    assert (alone.known.sum(), (alone.values == 1).sum()) == (known, positive)


def test_another_value_may_stand_for_uncertain():
    columns = Columns(a=[1, 0, 9, 1], b=["yes", "no", "maybe", "no"], grade=[0, 1, 2, 9])
    with pytest.raises(DataError, match=r"it holds 9.*target.uncertain=9"):
        target_of(columns.source(), "a,b")
    nine = target_of(columns.source(), TargetConfig(column="a", uncertain=9))
    assert nine.known.tolist() == [True, True, False, True]
    graded = target_of(columns.source(), TargetConfig(column="grade", uncertain=9))
    assert (graded.classes, graded.known.tolist()) == (("0", "1", "2"), [True, True, True, False])
    words = target_of(columns.source(), TargetConfig(column="b", uncertain="maybe"))
    assert (words.kind, words.known.tolist()) == ("classes", [True, True, False, True])


def test_a_class_may_be_called_none():
    target = target_of(Columns(x=np.array(["none", "mild", "severe", ""])).source(), "x")
    assert target.classes == ("mild", "none", "severe")


def test_grades_and_redshifts_are_known_by_name_or_told():
    columns = Columns(z=[0.1, 0.2], mass=[0.5, 1.5], grade=[0, 1], word=["mild", "bad"])
    source = columns.source()
    assert target_of(source, "z").redshift
    assert not target_of(source, "mass").redshift
    assert target_of(source, TargetConfig(column="mass", redshift=True)).redshift
    assert not target_of(source, TargetConfig(column="z", redshift=False)).redshift
    assert target_of(source, TargetConfig(column="grade", ordered=True)).graded
    with pytest.raises(DataError, match="whose order is not known"):
        target_of(source, TargetConfig(column="word", ordered=True))


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
    assert len(said) == 1
    assert said[0].startswith("1: of the test set not both yes and no are known")
