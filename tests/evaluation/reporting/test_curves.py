from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from domainjepa.evaluation.metrics import Answer
from domainjepa.evaluation.reporting import curves


def example(rng, classes=3):
    truth = rng.integers(0, classes, 200)
    powers = np.exp(np.eye(classes)[truth] + rng.normal(size=(200, classes)))
    chance = powers / powers.sum(1, keepdims=True)
    return truth, Answer(chance.argmax(1), chance)


def test_the_mean_roc_curve_is_that_of_scikit_learn(rng):
    truth, answer = example(rng)
    found = curves.mean_roc(list(curves.rankings("classes", truth, answer).values()))
    expected = np.zeros(len(curves.GRID))
    for one in range(3):
        false, true, _ = metrics.roc_curve(truth == one, answer.probability[:, one])
        expected += np.interp(curves.GRID, false, true) / 3
    assert found == pytest.approx(expected)


def test_precision_at_a_recall_is_the_best_from_there_on(rng):
    truth, answer = example(rng, classes=2)
    (one,) = curves.rankings("classes", truth, answer).values()
    found = curves.mean_precision([one])
    every = metrics.precision_recall_curve(truth, answer.probability[:, 1])
    precision, recall = every[0][:-1], every[1][:-1]  # without the point that stands for nothing
    expected = [precision[recall >= at - 1e-12].max() for at in curves.GRID]
    assert found == pytest.approx(expected)
    assert (np.diff(found) <= 0).all()


def test_reliability_is_that_of_scikit_learn_and_knows_holes(rng):
    marks = rng.integers(0, 2, (300, 2))
    chance = rng.random((300, 2))
    holes = marks.copy()
    holes[::3, 1] = -1
    said, so, counts = curves.calibration("multi-label", holes, Answer(marks, chance))
    known = holes >= 0
    right, confidence = calibration_curve(marks[known], chance[known], n_bins=10)
    assert said == pytest.approx(confidence)
    assert so == pytest.approx(right)
    assert counts.sum() == known.sum()
    truth, answer = example(rng)
    said, so, counts = curves.calibration("classes", truth, answer)
    assert (said * counts).sum() / 200 == pytest.approx(answer.probability.max(1).mean())
    assert (so * counts).sum() / 200 == pytest.approx((answer.guess == truth).mean())


def test_classes_without_positives_or_negatives_have_no_curve(rng, tmp_path):
    truth, answer = np.zeros(20, int), Answer(np.zeros(20, int), rng.dirichlet([1, 1, 1], 20))
    assert curves.rankings("classes", truth, answer) == {}
    assert not curves.threshold_curves("classes", truth, {"a": answer}, tmp_path / "x.png")
