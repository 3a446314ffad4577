from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import median_abs_deviation
from sklearn import metrics

from domainjepa.evaluation.metrics import METRICS, canonical
from domainjepa.evaluation.metrics.names import ALIASES, SENSITIVITY
from domainjepa.evaluation.results.scores import (
    BLOCK,
    Answer,
    confusion,
    resamples,
    score,
    score_each,
)


def binned_calibration_error(truth, chance):
    """Guo et al. (2017), eq. 3, bin by bin."""
    confidence, right = chance.max(1), chance.argmax(1) == truth
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            gap = abs(confidence[inside].mean() - right[inside].mean())
            error += inside.mean() * gap
    return error


def auc(truth, chance, **more):
    if chance.shape[1] == 2:
        return metrics.roc_auc_score(truth, chance[:, 1], **more)
    return metrics.roc_auc_score(truth, chance, multi_class="ovr", average="macro", **more)


def precision(truth, guess):
    return metrics.precision_score(truth, guess, average="macro", zero_division=0)


def sensitivity(positive, chance, specificity):
    false, found, _ = metrics.roc_curve(positive, chance, drop_intermediate=False)
    return found[false <= 1 - specificity + 1e-9].max()


SKLEARN = {
    "classes": {
        "accuracy": lambda t, a: metrics.accuracy_score(t, a.guess),
        "balanced_accuracy": lambda t, a: metrics.balanced_accuracy_score(t, a.guess),
        "macro_f1": lambda t, a: metrics.f1_score(t, a.guess, average="macro"),
        "roc_auc": lambda t, a: auc(t, a.probability),
        "calibration_error": lambda t, a: binned_calibration_error(t, a.probability),
        "macro_precision": lambda t, a: precision(t, a.guess),
        "average_precision": lambda t, a: np.mean([
            metrics.average_precision_score(t == one, a.probability[:, one]) for one in np.unique(t)
        ]),
        "quadratic_kappa": lambda t, a: metrics.cohen_kappa_score(t, a.guess, weights="quadratic"),
        "sensitivity_at_90_specificity": lambda t, a: np.mean([
            sensitivity(t == one, a.probability[:, one], 0.9) for one in np.unique(t)
        ]),
    },
    "numbers": {
        "r2": lambda t, a: metrics.r2_score(t, a.guess),
        "mae": lambda t, a: metrics.mean_absolute_error(t, a.guess),
        "rmse": lambda t, a: metrics.root_mean_squared_error(t, a.guess),
        "scatter": lambda t, a: 1.48 * median_abs_deviation((a.guess - t) / (1 + t)),
        "outliers": lambda t, a: (np.abs(a.guess - t) / (1 + t) > 0.15).mean(),
        "bias": lambda t, a: np.median((a.guess - t) / (1 + t)),
    },
    "multi-label": {
        "average_precision": lambda t, a: metrics.average_precision_score(t, a.probability),
        "roc_auc": lambda t, a: metrics.roc_auc_score(t, a.probability),
        "macro_f1": lambda t, a: metrics.f1_score(t, a.guess, average="macro"),
        "macro_precision": lambda t, a: precision(t, a.guess),
        "macro_recall": lambda t, a: metrics.recall_score(t, a.guess, average="macro"),
        "accuracy": lambda t, a: (t == a.guess).mean(),
        "sensitivity_at_90_specificity": lambda t, a: np.mean([
            sensitivity(of, p, 0.9) for of, p in zip(t.T, a.probability.T, strict=True)
        ]),
    },
}  # fmt: skip
CASES = [(kind, name) for kind, of in SKLEARN.items() for name in of]


def example(kind, rng, samples=300, classes=5):
    if kind == "numbers":
        truth = rng.uniform(0, 2, samples)
        return truth, Answer(truth + 0.3 * rng.normal(size=samples))
    if kind == "multi-label":
        truth = (rng.random((samples, 4)) < [0.5, 0.3, 0.1, 0.8]).astype(np.int64)
        chance = np.round(np.clip(0.3 * truth + 0.7 * rng.random(truth.shape), 0, 1), 2)  # ties
        return truth, Answer((chance > 0.5).astype(np.int64), chance)
    truth = rng.integers(0, classes, samples)
    powers = np.exp(np.round(1.5 * np.eye(classes)[truth] + rng.normal(size=(samples, classes)), 1))
    chance = powers / powers.sum(1, keepdims=True)
    return truth, Answer(chance.argmax(1), chance)


def test_every_metric_is_compared():
    for kind, of in METRICS.items():
        if kind != "masks":  # tests/evaluation/segmentation/test_of_masks.py
            assert set(of) == set(SKLEARN[kind]) - {SENSITIVITY}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_scores_are_those_of_scikit_learn(kind, name, rng):
    truth, answer = example(kind, rng)
    (found,) = score(kind, [name], truth, answer)[name]
    assert found == pytest.approx(SKLEARN[kind][name](truth, answer), abs=1e-12)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_resampled_score_is_that_of_the_samples_repeated(kind, name, rng):
    truth, answer = example(kind, rng, samples=60, classes=3)
    (weights,) = resamples(60, 5, seed=1)
    found = score(kind, [name], truth, answer, weights)[name]
    for number in range(5):
        rows = np.repeat(np.arange(60), weights[:, number].astype(int))
        chance = None if answer.probability is None else answer.probability[rows]
        repeated = Answer(answer.guess[rows], chance)
        expected = SKLEARN[kind][name](truth[rows], repeated)
        assert found[number] == pytest.approx(expected, abs=1e-12)


def test_holes_of_a_label_change_nothing_for_the_others(rng):
    truth, answer = example("multi-label", rng)
    names = [*METRICS["multi-label"], SENSITIVITY]
    holed = truth.copy()
    holed[rng.random(300) < 0.6, 1] = -1
    (weights,) = resamples(300, 20, seed=0)
    for weight in (None, weights):
        _, whole = score_each("multi-label", names, truth, answer, weight)
        means, masked = score_each("multi-label", names, holed, answer, weight)
        for name in names:
            for label in (0, 2, 3):
                assert np.array_equal(whole[name][label], masked[name][label])
            assert means[name] == pytest.approx(masked[name].mean(axis=0))
    # The label itself is that of scikit-learn on the rows that are known.
    known = holed[:, 1] >= 0
    rows = Answer(answer.guess[known], answer.probability[known])
    for name in names:
        alone = {k: SKLEARN["multi-label"][k] for k in names}[name]
        one = Answer(rows.guess[:, [1]], rows.probability[:, [1]])
        if name in ("macro_f1", "macro_precision", "macro_recall"):
            measure = getattr(metrics, f"{name.removeprefix('macro_')}_score")
            expected = measure(holed[known, 1], one.guess[:, 0])
        else:
            expected = alone(holed[known][:, [1]], one)
        _, masked = score_each("multi-label", [name], holed, answer)
        assert masked[name][1, 0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("marks", [[1, 1, -1, -1], [0, 0, 0, -1], [-1] * 4])
def test_a_label_that_cannot_be_scored_is_in_no_mean(marks):
    truth = np.stack([np.array([0, 1, 0, 1]), np.array(marks)], axis=1)
    chance = np.array([[0.1, 0.9], [0.8, 0.1], [0.6, 0.2], [0.9, 0.7]])
    answer = Answer((chance > 0.5).astype(int), chance)
    for name in METRICS["multi-label"]:
        means, each = score_each("multi-label", [name], truth, answer)
        assert np.isnan(each[name][1, 0])
        assert means[name][0] == each[name][0, 0]


@pytest.mark.parametrize("specificity", [0.5, 0.8, 0.95, 0.99])
def test_sensitivity_is_read_off_the_roc_curve(specificity, rng):
    truth, answer = example("classes", rng, samples=400, classes=2)
    name = canonical(f"sensitivity@{specificity}")
    (found,) = score("classes", [name], truth, answer)[name]
    assert found == pytest.approx(sensitivity(truth, answer.probability[:, 1], specificity))


def test_metrics_are_understood_by_the_names_that_people_use():
    written = ["AUROC", "auc", "auprc", "F1", "kappa", "RMSE", "r²", "sigma_nmad", "balanced-acc"]
    meant = ["roc_auc"] * 2 + ["average_precision", "macro_f1", "quadratic_kappa", "rmse", "r2"]
    assert [canonical(name) for name in written] == [*meant, "scatter", "balanced_accuracy"]
    for text in ("sensitivity@0.95", "sens@95%", "sensitivity@spec95", "recall@95"):
        assert canonical(text) == "sensitivity_at_95_specificity"
    assert [canonical(text) for text in ("aurok", "sensitivity@0", "sensitivity@100")] == [None] * 3
    assert all(canonical(name) == ALIASES[name] for name in ALIASES)


def test_accuracy_is_exact():
    truth = np.array([0, 1, 2, 2, 1, 0, 1])
    guess = np.array([0, 1, 2, 1, 1, 1, 1])
    (found,) = score("classes", ["accuracy"], truth, Answer(guess))["accuracy"]
    assert found == (truth == guess).mean()


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_classes_that_never_occur_do_not_count(name):
    truth, guess = np.array([0, 0, 7, 7]), np.array([0, 7, 7, 7])
    answer = Answer(guess)
    (found,) = score("classes", [name], truth, answer)[name]
    assert found == pytest.approx(SKLEARN["classes"][name](truth, answer))


def test_two_classes_have_one_area_under_the_curve(rng):
    truth, answer = example("classes", rng, classes=2)
    expected = auc(truth, answer.probability)
    assert score("classes", ["roc_auc"], truth, answer)["roc_auc"][0] == pytest.approx(expected)


def test_a_label_that_never_occurs_has_no_area(rng):
    truth, answer = example("multi-label", rng)
    truth[:, 2] = 0
    (found,) = score("multi-label", ["roc_auc"], truth, answer)["roc_auc"]
    kept = [0, 1, 3]
    assert found == pytest.approx(
        metrics.roc_auc_score(truth[:, kept], answer.probability[:, kept])
    )


def test_confident_and_right_is_calibrated_and_confident_and_wrong_is_not():
    chance = np.tile([1.0, 0.0], (10, 1))
    answer = Answer(chance.argmax(1), chance)
    for truth, expected in ((np.zeros(10, int), 0.0), (np.ones(10, int), 1.0)):
        found = score("classes", ["calibration_error"], truth, answer)
        assert found["calibration_error"][0] == expected


def test_the_confusion_is_scikit_learns(rng):
    truth, answer = example("classes", rng)
    assert np.array_equal(
        confusion(truth, answer.guess, 5), metrics.confusion_matrix(truth, answer.guess)
    )


def test_resampled_test_sets_are_keyed_whole_and_of_one_size():
    blocks = list(resamples(80, BLOCK + 30, seed=3))
    assert [block.shape for block in blocks] == [(80, BLOCK), (80, 30)]
    weights = np.concatenate(blocks, axis=1)
    assert (weights.sum(axis=0) == 80).all()
    # A sample is drawn with probability 1/80, 80 times: once on average, variance 1 - 1/80.
    assert weights.mean(axis=1) == pytest.approx(np.ones(80), abs=5 / np.sqrt(BLOCK + 30))
    assert weights.var() == pytest.approx(1 - 1 / 80, rel=0.05)
    assert np.array_equal(weights, np.concatenate(list(resamples(80, BLOCK + 30, seed=3)), axis=1))


def test_groups_are_drawn_whole():
    groups = np.repeat([4, 7, 9], [2, 5, 1])
    (weights,) = resamples(8, 50, seed=0, groups=groups)
    for group in (4, 7, 9):
        assert (weights[groups == group] == weights[groups == group][0]).all()
