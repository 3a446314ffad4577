from __future__ import annotations

import numpy as np
import pytest

from domainjepa.data.metadata.targets import target_of
from domainjepa.errors import DataError
from domainjepa.evaluation.splits import draw_shots, tuning_folds
from domainjepa.evaluation.splits import train_test as split_target
from tests.evaluation.toys import make_source


def train_test(source, seed):
    return split_target(source, target_of(source), seed)


def test_the_sources_own_split_is_kept_and_val_stays_unused():
    split = np.array(["train", "val", "test"] * 4)
    source = make_source([0, 0, 0, 1, 1, 1] * 2, split=split)
    found = train_test(source, seed=0)
    assert found.train.tolist() == [0, 3, 6, 9]
    assert found.test.tolist() == [2, 5, 8, 11]


def test_val_is_the_test_set_where_there_is_no_other():
    source = make_source([0, 1] * 4, split=np.array(["train"] * 4 + ["val"] * 4))
    found = train_test(source, seed=0)
    assert found.test.tolist() == [4, 5, 6, 7]
    assert "val" in found.decisions[0]


def test_a_source_that_is_all_training_has_a_test_set_held_out():
    labels = np.repeat([0, 1], 25)
    found = train_test(make_source(labels, split=np.full(50, "train")), seed=0)
    assert np.bincount(labels[found.test]).tolist() == [5, 5]


def test_a_split_made_here_is_stratified_keyed_and_complete(rng):
    labels = rng.permutation(np.repeat([0, 1, 2], [50, 25, 10]))
    found = train_test(make_source(labels), seed=3)
    assert np.bincount(labels[found.test]).tolist() == [10, 5, 2]
    assert np.array_equal(np.sort(np.r_[found.train, found.test]), np.arange(85))
    assert np.array_equal(train_test(make_source(labels), seed=3).test, found.test)
    assert not np.array_equal(train_test(make_source(labels), seed=4).test, found.test)


def test_unlabelled_samples_take_no_part():
    labels = np.tile([0, 1, -1], 20)
    found = train_test(make_source(labels), seed=0)
    assert (labels[np.r_[found.train, found.test]] >= 0).all()
    assert len(found.train) + len(found.test) == 40


def test_no_group_is_in_train_and_test(rng):
    groups = rng.integers(0, 40, 300)
    source = make_source(rng.integers(0, 3, 300), groups=groups)
    found = train_test(source, seed=0)
    assert not set(groups[found.train]) & set(groups[found.test])


def test_a_source_split_that_cuts_groups_loses_the_shared_training_samples():
    source = make_source(
        [0, 1] * 4,
        split=np.array(["train"] * 5 + ["test"] * 3),
        groups=np.array([0, 1, 2, 3, 4, 4, 5, 6]),
    )
    found = train_test(source, seed=0)
    assert found.train.tolist() == [0, 1, 2, 3]
    assert "1 training samples share a group" in found.warnings[0]


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        ([-1] * 20, {}, "no labels"),
        ([0] * 20, {}, "fewer than two classes"),
        ([0, 1, 2, 3] * 2, {}, "at most 2 labels a class"),
        ([0, 1] * 10, {"groups": np.arange(20) % 3}, "3 groups"),
        ([0, 1] * 10, {"split": np.array(["train"] * 19 + ["val"])}, "test labels"),
    ],
)
def test_labels_that_nothing_can_be_scored_on_are_refused(labels, more, message):
    with pytest.raises(DataError, match=message):
        train_test(make_source(labels, **more), seed=0)


def test_a_draw_has_k_of_each_class_and_takes_small_classes_whole(rng):
    labels = rng.permutation(np.repeat([0, 1, 4], [30, 3, 12]))
    chosen = draw_shots(labels, 5, seed=0, draw=2)
    assert np.bincount(labels[chosen]).tolist() == [5, 3, 0, 0, 5]
    assert len(set(chosen)) == 13
    assert np.array_equal(draw_shots(labels, "all", seed=0, draw=0), np.arange(45))


def test_draws_are_keyed_and_differ(rng):
    labels = rng.integers(0, 3, 200)
    draws = {tuple(draw_shots(labels, 5, seed=0, draw=draw)) for draw in range(20)}
    assert len(draws) == 20
    assert np.array_equal(
        draw_shots(labels, 5, seed=0, draw=7), draw_shots(labels, 5, seed=0, draw=7)
    )
    assert not np.array_equal(
        draw_shots(labels, 5, seed=0, draw=7), draw_shots(labels, 5, seed=1, draw=7)
    )


def test_every_sample_of_a_class_is_equally_likely():
    labels = np.repeat([0, 1], 10)
    counts = sum(
        np.bincount(draw_shots(labels, 3, seed=0, draw=draw), minlength=20) for draw in range(3000)
    )
    # Binomial(3000, 0.3): 900 on average, standard deviation 25.
    assert np.abs(counts - 900).max() < 5 * 25


def test_a_draw_takes_other_groups_before_a_group_twice(rng):
    labels = np.zeros(60, np.int64)
    groups = rng.permutation(np.r_[np.repeat(7, 51), np.arange(100, 109)])  # one large, nine of one
    chosen = draw_shots(labels, 10, seed=0, draw=0, groups=groups)
    assert sorted(groups[chosen]) == [7, *range(100, 109)]
    more = draw_shots(labels, 12, seed=0, draw=0, groups=groups)
    assert (groups[more] == 7).sum() == 3


def test_tuning_folds_hold_every_class_and_cut_no_group(rng):
    labels = np.tile([0, 1, 2], 20)
    groups = np.repeat(np.arange(20), 3)
    folds = tuning_folds(labels, seed=0, groups=groups)
    assert folds is not None
    for fit, validate in folds:
        assert not set(groups[fit]) & set(groups[validate])
        assert len(set(labels[fit])) == len(set(labels[validate])) == 3
    assert np.array_equal(np.sort(np.concatenate([v for _, v in folds])), np.arange(60))


def test_too_few_labels_leave_nothing_to_tune_on():
    assert tuning_folds(np.array([0, 0, 1, 1]), seed=0) is None
    assert tuning_folds(np.array([0, 0, 0, 1, 1, 1]), seed=0) is not None
    two_groups = np.array([0, 0, 1, 0, 1, 1])
    assert tuning_folds(np.array([0, 0, 0, 1, 1, 1]), seed=0, groups=two_groups) is None
