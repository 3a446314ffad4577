from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from scipy.stats import t as student_t

from domainjepa.data.metadata.targets import Target
from domainjepa.evaluation.results.cells import cell_of_answers
from domainjepa.evaluation.results.intervals import (
    independent,
    over_draws,
    over_resamples,
    over_test_sets,
)
from domainjepa.evaluation.results.scores import Answer, resamples, score

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


def test_a_share_has_wilsons_interval():
    # Of accuracy the bootstrap finds p (1 - p) / n, so that the effective size is n.
    right = np.repeat([1.0, 0.0], [34, 6])
    parts = np.concatenate([right @ w / 40 for w in resamples(40, 20000, seed=0)])
    quantile = student_t.ppf(0.975, 39)
    expected = binomtest(34, 40).proportion_ci(2 * norm.cdf(quantile) - 1, method="wilson")
    found = over_test_sets(0.85, parts, 40, "share", 40)
    assert found == pytest.approx(expected, abs=0.01)
    certain = over_test_sets(1.0, np.ones(100), 40, "share", 40)
    expected = binomtest(40, 40).proportion_ci(2 * norm.cdf(quantile) - 1, method="wilson")
    assert certain == pytest.approx(expected)
    assert over_draws(np.ones(5), np.ones((5, 30)), 40, "share", 40) == pytest.approx(expected)


def test_errors_have_an_interval_of_their_logarithm(rng):
    drawn = rng.normal(2.0, 0.1, 500)
    low, high = over_test_sets(2.0, drawn, 50, "size", 50)
    assert low * high == pytest.approx(4.0)
    assert np.log(high / low) == pytest.approx(
        2 * student_t.ppf(0.975, 49) * drawn.std(ddof=1) / 2 * np.sqrt(50 / 49)
    )


def test_large_groups_are_worth_less_than_their_count():
    everything = np.ones(100, bool)
    assert independent(None, everything) == 100
    assert independent(np.arange(100) % 20, everything) == pytest.approx(20)
    uneven = np.repeat(np.arange(11), [50, *[5] * 10])
    assert independent(uneven, everything) == pytest.approx(100**2 / (50**2 + 10 * 25))
    assert independent(None, np.zeros(100, bool)) == 2


def of_labels(number):
    names = tuple(map(str, range(number)))
    known = np.ones(1, bool)
    return Target("x", "multi-label", np.zeros((1, number)), known, names, "")


def test_a_label_known_in_few_rows_has_a_wide_interval(rng):
    """As wide as that of a data set that has no other rows."""
    truth = rng.integers(0, 2, (900, 2))
    chance = norm.cdf(truth - 0.5 + rng.normal(size=truth.shape))
    truth[30:, 1] = -1
    answer = Answer((chance > 0.5).astype(int), chance)
    cell = cell_of_answers(of_labels(2), ["roc_auc"], truth, None, [answer], 0, ["roc_auc"])
    few = Answer(answer.guess[:30, 1:], chance[:30, 1:])
    alone = cell_of_answers(of_labels(1), ["roc_auc"], truth[:30, 1:], None, [few], 0, ["roc_auc"])
    wide, narrow, own = (
        np.diff(one.interval("roc_auc")[:2])[0]
        for one in (cell.each["1"], cell.each["0"], alone.each["0"])
    )
    assert wide == pytest.approx(own, rel=0.15)
    assert wide / narrow == pytest.approx(np.sqrt(900 / 30), rel=0.35)


@pytest.mark.parametrize(
    ("samples", "patients", "apart"),
    [(30, None, 1.0), (30, None, 2.5), (240, 60, 1.0)],
    ids=["30 rows", "30 rows, nearly perfect", "groups of unequal size"],
)
def test_the_interval_of_a_label_covers_its_area(samples, patients, apart, rng):
    """`benchmarks/coverage.py` has every metric, and more trials."""
    truth, hits, percentile = norm.cdf(apart / np.sqrt(2)), [], []
    for trial in range(250):
        groups = None
        if patients:
            groups = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
        n = samples if groups is None else len(groups)
        marks = (rng.random((n, 1)) < 0.35).astype(np.int64)
        noise = rng.normal(size=(n, 1))
        if groups is not None:
            noise = (noise + rng.normal(size=(patients, 1))[groups]) / np.sqrt(2)
        if not 2 < marks.sum() < n - 2:
            continue
        chance = norm.cdf(noise + apart * (marks - 0.5))
        answer = Answer((chance > 0.5).astype(int), chance)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("domainjepa.evaluation.results.cells.RESAMPLES", 200)
            cell = cell_of_answers(of_labels(1), ["roc_auc"], marks, groups, [answer], trial)
        low, high, _ = cell.interval("roc_auc")
        hits.append(low <= truth <= high)
        low, high = over_resamples(cell.resampled["roc_auc"][0])
        percentile.append(low <= truth <= high)
    assert 0.92 <= np.mean(hits) <= 0.995  # 250 trials: within 3.5 % of what they say
    assert np.mean(percentile) < np.mean(hits)
