from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import parametrize_with_checks

from domainjepa.evaluation.probes import REGULARISATION, LayerNorm, logistic, nearest
from domainjepa.evaluation.splits import tuning_folds


@parametrize_with_checks([LayerNorm()])
def test_layer_norm_is_a_scikit_learn_transformer(estimator, check):
    check(estimator)


def test_layer_norm_is_torchs(rng):
    features = rng.normal(3, 2, (7, 20)).astype(np.float32)
    expected = torch.nn.functional.layer_norm(torch.from_numpy(features), (20,)).numpy()
    found = LayerNorm().fit(features).transform(features)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-5)


def blobs(rng, samples=90, width=12):
    labels = np.arange(samples) % 3
    features = rng.normal(size=(samples, width)) + 1.5 * np.eye(width)[labels]
    return features.astype(np.float32), labels


def test_the_linear_probe_is_logistic_regression_written_out(rng):
    features, labels = blobs(rng)
    folds = tuning_folds(labels, seed=0)
    probe = logistic(features, labels, folds)

    def normalised(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    losses = []
    for c in REGULARISATION:
        of_folds = []
        for fit, validate in folds:
            middle = normalised(features[fit]).mean(0)
            model = LogisticRegression(C=c, max_iter=2000)
            model.fit(normalised(features[fit]) - middle, labels[fit])
            guess = model.predict_proba(normalised(features[validate]) - middle)
            of_folds.append(log_loss(labels[validate], guess))
        losses.append(np.mean(of_folds))
    best = REGULARISATION[int(np.argmin(losses))]
    assert best == probe["classify"].C

    fresh, truth = blobs(rng, 3000)
    middle = normalised(features).mean(0)
    plain = LogisticRegression(C=best, max_iter=2000).fit(normalised(features) - middle, labels)
    guess = plain.predict(normalised(fresh) - middle)
    assert (probe.predict(fresh) == truth).mean() == (guess == truth).mean()


def test_centring_changes_the_solver_not_the_classifier(rng):
    features, labels = blobs(rng)
    features += 2 * rng.normal(size=features.shape[1]).astype(np.float32)
    probe = logistic(features.astype(np.float64), labels, None)
    tight = clone(probe).set_params(classify__tol=1e-10)
    without = clone(tight).set_params(centre="passthrough")
    fresh, _ = blobs(rng, 500)
    one, two = (
        p.fit(features.astype(np.float64), labels).predict_proba(fresh) for p in (tight, without)
    )
    assert one == pytest.approx(two, abs=1e-5)


def test_the_nearest_neighbours_vote_as_written_out(rng):
    features, labels = blobs(rng)
    fresh, _ = blobs(rng, 200)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = (fresh / np.linalg.norm(fresh, axis=1, keepdims=True)) @ unit.T
    votes = np.zeros((200, 3))
    for row, near in enumerate(np.argsort(-likeness, axis=1)[:, :20]):
        np.add.at(votes[row], labels[near], np.exp(likeness[row, near] / 0.07))
    assert np.array_equal(nearest(features, labels, None).predict(fresh), votes.argmax(1))


def test_few_samples_are_all_neighbours(rng):
    features, labels = blobs(rng, 6)
    assert (nearest(features, labels, None).predict(features) == labels).all()
