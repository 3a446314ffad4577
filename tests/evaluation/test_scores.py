from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student_t
from sklearn import metrics

from domainjepa.evaluation.scores import (
    METRICS,
    confusion,
    over_draws,
    over_resamples,
    resampled_confusions,
)

SKLEARN = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "macro_f1": lambda truth, guess: metrics.f1_score(truth, guess, average="macro"),
}


@pytest.mark.parametrize("name", METRICS)
def test_scores_are_those_of_scikit_learn(name, rng):
    truth = rng.integers(0, 5, 300)
    guess = np.where(rng.random(300) < 0.4, truth, rng.integers(0, 5, 300))
    matrix = confusion(truth, guess, 5)
    assert np.array_equal(matrix, metrics.confusion_matrix(truth, guess))
    assert METRICS[name](matrix) == pytest.approx(SKLEARN[name](truth, guess), abs=1e-14)


@pytest.mark.parametrize("name", METRICS)
def test_classes_that_never_occur_do_not_count(name):
    truth, guess = np.array([0, 0, 2, 2]), np.array([0, 2, 2, 2])
    assert METRICS[name](confusion(truth, guess, 9)) == pytest.approx(SKLEARN[name](truth, guess))


def test_scores_of_many_matrices_are_those_of_each(rng):
    matrices = rng.integers(0, 9, (6, 4, 4)).astype(float)
    for score in METRICS.values():
        assert score(matrices) == pytest.approx(np.array([score(one) for one in matrices]))


def test_the_interval_over_draws_is_the_textbooks(rng):
    values = rng.normal(size=12)
    expected = student_t.interval(
        0.95, 11, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(12)
    )
    assert over_draws(values) == pytest.approx(expected)
    assert np.isnan(over_draws(values[:1])).all()


def test_the_interval_over_draws_covers_the_mean(rng):
    hits = [low <= 0.6 <= high for low, high in (
        over_draws(rng.binomial(200, 0.6, size=10) / 200) for _ in range(2000)
    )]  # fmt: skip
    assert 0.92 <= np.mean(hits) <= 0.98


def test_the_bootstrap_covers_the_accuracy(rng):
    hits = []
    for trial in range(300):
        truth = rng.integers(0, 3, 200)
        guess = np.where(rng.random(200) < 0.7, truth, (truth + 1) % 3)
        resampled = METRICS["accuracy"](resampled_confusions(truth, guess, 3, seed=trial))
        low, high = over_resamples(resampled)
        hits.append(low <= 0.7 <= high)
    assert 0.91 <= np.mean(hits) <= 0.985  # 95 %, give or take three standard errors of 300 trials


def test_the_bootstrap_of_groups_is_wider_where_groups_agree(rng):
    groups = np.repeat(np.arange(30), 10)
    truth = np.zeros(300, np.int64)
    guess = (rng.random(30) < 0.4).astype(np.int64)[groups]  # a whole group is right or wrong
    spread = [
        METRICS["accuracy"](resampled_confusions(truth, guess, 2, seed=0, groups=of)).std()
        for of in (None, groups)
    ]
    assert spread[1] / spread[0] == pytest.approx(np.sqrt(10), rel=0.15)


def test_resampled_test_sets_do_not_depend_on_the_prediction(rng):
    truth = rng.integers(0, 3, 80)
    one = resampled_confusions(truth, truth, 3, seed=1)
    two = resampled_confusions(truth, (truth + 1) % 3, 3, seed=1)
    assert np.array_equal(one.sum(axis=2), two.sum(axis=2))
    assert not np.array_equal(one[0], one[1])
