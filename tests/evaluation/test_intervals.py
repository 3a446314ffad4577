from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t

from domainjepa.evaluation.intervals import over_draws, over_resamples
from domainjepa.evaluation.scores import Answer, resamples, score

TRIALS = 600
DRAWN = 20
"""Lists of test sets that the trials share in turn: each trial has data of its own."""
ALLOWED = (0.92, 0.98)


def test_without_luck_of_the_test_set_it_is_students_interval(rng):
    values = rng.normal(size=12)
    expected = student_t.interval(
        0.95, 11, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(12)
    )
    assert over_draws(values, np.tile(values[:, None], 50)) == pytest.approx(expected)


def test_variance_and_degrees_of_freedom_are_those_written_out(rng):
    values = rng.normal(size=5)
    resampled = values[:, None] + rng.normal(size=(1, 400)) + 0.5 * rng.normal(size=(5, 400))
    covariances = np.cov(resampled)
    shared = covariances[~np.eye(5, dtype=bool)].mean()
    spread = values.var(ddof=1) / 5
    freedom = (spread + shared) ** 2 / (spread**2 / 4)
    half = student_t.ppf(0.975, freedom) * np.sqrt(spread + shared)
    found = over_draws(values, resampled)
    assert found == pytest.approx((values.mean() - half, values.mean() + half))


def test_equal_draws_on_equal_test_sets_leave_no_doubt():
    assert over_draws(np.zeros(4), np.zeros((4, 30))) == (0.0, 0.0)
    assert np.isnan(over_resamples(np.full(9, np.nan))).all()


@cache
def drawn(samples, number, seed, of_four=False):
    """Test sets drawn again, of single samples or of groups of four."""
    groups = np.arange(samples) // 4 if of_four else None
    return list(resamples(samples, number, seed=seed, groups=groups))


def experiment(rng, *, draws, samples, mean, of_draws, of_samples):
    """(draws, samples) right or wrong: probit of mean + luck of the draw + ease of the sample."""
    ease = of_samples * rng.normal(size=samples)
    luck = of_draws * rng.normal(size=(draws, 1))
    return rng.random((draws, samples)) < norm.cdf(mean + luck + ease)


def interval_of(right, seed):
    truth = np.zeros(right.shape[1], np.int64)
    parts = []
    values = np.array([
        score("classes", ["accuracy"], truth, Answer(1 - one.astype(np.int64)))["accuracy"][0]
        for one in right
    ])  # fmt: skip
    for weights in drawn(right.shape[1], 100, seed % DRAWN):
        parts.append(right @ weights / weights.sum(axis=0))
    return over_draws(values, np.concatenate(parts, axis=1))


@pytest.mark.parametrize(
    ("draws", "of_draws", "of_samples"),
    [(20, 0.3, 1.0), (20, 0.05, 1.0), (5, 0.3, 1.0), (10, 0.3, 0.0), (20, 0.0, 0.0)],
    ids=["both", "samples", "few draws", "draws", "neither"],
)
def test_the_interval_covers_the_truth_over_draws_and_test_sets(draws, of_draws, of_samples, rng):
    # E[cdf(m + a + b)] of independent normal a and b.
    truth = norm.cdf(0.5 / np.sqrt(1 + of_draws**2 + of_samples**2))
    hits = []
    for trial in range(TRIALS):
        right = experiment(
            rng, draws=draws, samples=250, mean=0.5, of_draws=of_draws, of_samples=of_samples
        )
        low, high = interval_of(right, trial)
        hits.append(low <= truth <= high)
    assert ALLOWED[0] <= np.mean(hits) <= ALLOWED[1]


def test_an_interval_over_draws_alone_would_not(rng):
    truth = norm.cdf(0.5 / np.sqrt(1 + 0.1**2 + 1))
    hits = []
    for _ in range(TRIALS):
        values = experiment(
            rng, draws=20, samples=250, mean=0.5, of_draws=0.1, of_samples=1.0
        ).mean(axis=1)
        low, high = over_draws(values, np.tile(values[:, None], 9))
        hits.append(low <= truth <= high)
    assert np.mean(hits) < 0.8


def test_paired_differences_cover_the_truth(rng):
    truth = norm.cdf(0.8 / np.sqrt(2 + 0.3**2)) - norm.cdf(0.5 / np.sqrt(2 + 0.3**2))
    hits, widths, unpaired = [], [], []
    for trial in range(TRIALS):
        ease = rng.normal(size=250)
        luck = 0.3 * rng.normal(size=(20, 1))  # the same labels for both
        both = [rng.random((20, 250)) < norm.cdf(mean + luck + ease) for mean in (0.8, 0.5)]
        (weights,) = drawn(250, 100, trial % DRAWN)
        one, two = (right @ weights / 250 for right in both)
        low, high = over_draws(both[0].mean(1) - both[1].mean(1), one - two)
        hits.append(low <= truth <= high)
        widths.append(high - low)
        unpaired.append(np.diff(over_draws(both[0].mean(1), one))[0])
    assert ALLOWED[0] <= np.mean(hits) <= ALLOWED[1]
    assert np.mean(widths) < 0.6 * np.mean(unpaired)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_bootstrap_covers_the_truth(grouped, rng):
    hits = []
    for trial in range(TRIALS):
        groups = np.repeat(np.arange(80), 4) if grouped else None
        ease = rng.normal(size=80)[groups] if grouped else rng.normal(size=320)
        right = rng.random(320) < norm.cdf(0.5 + ease)
        parts = [right @ w / w.sum(0) for w in drawn(320, 400, trial % DRAWN, grouped)]
        low, high = over_resamples(np.concatenate(parts))
        hits.append(low <= norm.cdf(0.5 / np.sqrt(2)) <= high)
    assert ALLOWED[0] <= np.mean(hits) <= ALLOWED[1]


def test_the_bootstrap_of_groups_is_wider_where_groups_agree(rng):
    groups = np.repeat(np.arange(30), 10)
    right = (rng.random(30) < 0.6)[groups]  # a whole group is right or wrong
    spread = [
        np.concatenate(
            [right @ w / w.sum(0) for w in resamples(300, 1000, seed=0, groups=of)]
        ).std()
        for of in (None, groups)
    ]
    assert spread[1] / spread[0] == pytest.approx(np.sqrt(10), rel=0.15)


def test_the_bootstrap_of_another_metric_covers_it(rng):
    """The area under the curve of two normal classes a standard deviation apart."""
    truth, hits = norm.cdf(1 / np.sqrt(2)), []
    for trial in range(TRIALS):
        labels = np.repeat([0, 1], [120, 60])
        value = norm.cdf(rng.normal(size=180) + labels)
        answer = Answer((value > 0.5).astype(np.int64), np.stack([1 - value, value], 1))
        parts = [
            score("classes", ["roc_auc"], labels, answer, weights)["roc_auc"]
            for weights in drawn(180, 200, trial % DRAWN)
        ]
        low, high = over_resamples(np.concatenate(parts))
        hits.append(low <= truth <= high)
    assert ALLOWED[0] <= np.mean(hits) <= ALLOWED[1]
