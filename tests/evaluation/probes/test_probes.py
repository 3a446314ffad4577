from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from domainjepa.evaluation.probes.device_logistic import DeviceLogisticRegression, device_for
from domainjepa.evaluation.probes.probes import (
    PENALTIES,
    REGULARISATION,
    UNTUNED_PENALTY,
    CommonScale,
    LayerNorm,
    answers,
    linear_pipeline,
    logistic,
    logistic_regression,
    nearest,
    nearest_mean,
    nearest_share,
    one_vs_rest,
    ridge,
)
from domainjepa.evaluation.splits import tuning_folds


@parametrize_with_checks([LayerNorm(), CommonScale()])
def test_transformers_are_scikit_learns(estimator, check):
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

    def fit(x, y, c):
        norm = FunctionTransformer(
            lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        )
        centre = StandardScaler(with_std=False)
        spread = centre.fit_transform(norm.transform(x)).std()
        shrink = FunctionTransformer(lambda x: x / spread)
        model = LogisticRegression(C=c, tol=1e-3, max_iter=2000)
        return make_pipeline(norm, centre, shrink, model).fit(x, y)

    scores = [
        np.mean([fit(features[f], labels[f], c).score(features[v], labels[v]) for f, v in folds])
        for c in REGULARISATION
    ]
    best = REGULARISATION[int(np.argmax(scores))]
    assert len(set(scores)) > 1
    assert best == probe["predict"].C
    fresh, _ = blobs(rng, 3000)
    assert np.array_equal(probe.predict(fresh), fit(features, labels, best).predict(fresh))


def test_the_common_scale_is_one_number(rng):
    features = rng.normal(5, 1, (50, 6)) * np.array([1, 2, 3, 4, 5, 6])
    found = CommonScale().fit_transform(features)
    assert found.mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-12)
    assert found.var(axis=0).mean() == pytest.approx(1)
    ratio = features.std(axis=0) / found.std(axis=0)
    assert ratio == pytest.approx(np.full(6, ratio[0]))
    assert np.array_equal(CommonScale().fit_transform(np.ones((4, 3))), np.zeros((4, 3)))


def test_the_common_scale_changes_the_solver_not_the_classifier(rng):
    features, labels = blobs(rng)
    features = features.astype(np.float64) + 2 * rng.normal(size=features.shape[1])
    probe = (
        linear_pipeline(logistic_regression(0.3))
        .set_params(predict__tol=1e-10)
        .fit(features, labels)
    )
    c = 0.3 / probe["scale"].scale_ ** 2  # the same penalty in the units of what is not scaled
    without = clone(probe).set_params(scale="passthrough", predict__C=c).fit(features, labels)
    fresh, _ = blobs(rng, 500)
    assert probe.predict_proba(fresh) == pytest.approx(without.predict_proba(fresh), abs=1e-5)


def test_the_scale_of_features_does_not_matter(rng):
    features, labels = blobs(rng)
    fresh, _ = blobs(rng, 500)
    faint = 1 + features.astype(np.float64) / 30  # hardly varies from sample to sample
    one, two = (logistic(x, labels, None) for x in (features.astype(np.float64), faint))
    agree = one.predict(fresh) == two.predict(1 + fresh.astype(np.float64) / 30)
    assert agree.mean() > 0.99  # LayerNorm's epsilon is all that differs


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


def test_the_ridge_probe_is_ridge_regression_written_out(rng):
    features = rng.normal(size=(120, 12)).astype(np.float32)
    values = 3 + features[:, 0] - 0.5 * features[:, 1] + 0.3 * rng.normal(size=120)
    folds = tuning_folds(np.arange(120) % 5, seed=0)

    def fit(x, y, alpha):
        return make_pipeline(LayerNorm(), CommonScale(), Ridge(alpha=alpha)).fit(x, y)

    scores = [
        np.mean([fit(features[f], values[f], a).score(features[v], values[v]) for f, v in folds])
        for a in PENALTIES
    ]
    best = PENALTIES[int(np.argmax(scores))]
    probe = ridge(features, values, folds)
    assert probe["predict"].alpha == best
    fresh = rng.normal(size=(300, 12)).astype(np.float32)
    found = answers(probe, "numbers", fresh, 0)
    assert np.array_equal(found.guess, fit(features, values, best).predict(fresh).astype(float))
    assert ridge(features, values, None)["predict"].alpha == UNTUNED_PENALTY


def test_the_multi_label_probe_is_a_logistic_regression_a_label(rng):
    features = rng.normal(size=(150, 6)).astype(np.float32)
    marks = (features[:, :3] + 0.5 * rng.normal(size=(150, 3)) > [0, 0.5, 9]).astype(np.int64)
    probe = one_vs_rest(features, marks, None)
    found = answers(probe, "multi-label", features, 3)
    x = make_pipeline(LayerNorm(), CommonScale()).fit_transform(features)
    for label in (0, 1):
        alone = logistic_regression().fit(x, marks[:, label])
        assert found.probability[:, label] == pytest.approx(alone.predict_proba(x)[:, 1])
    assert (found.probability[:, 2] == 0).all()  # never set
    assert np.array_equal(found.guess, found.probability > 0.5)
    tuned = one_vs_rest(features, marks[:, :2], tuning_folds(marks[:, 0], seed=0))
    assert {model.C for model in tuned["predict"].models} <= set(REGULARISATION)


@pytest.mark.parametrize("kind", ["numbers", "multi-label"])
def test_neighbours_give_their_weighted_mean(kind, rng):
    features = rng.normal(size=(60, 5)).astype(np.float32)
    values = rng.normal(size=60) if kind == "numbers" else rng.integers(0, 2, (60, 3))
    fresh = rng.normal(size=(20, 5)).astype(np.float32)
    probe = nearest_mean if kind == "numbers" else nearest_share
    found = answers(probe(features, values, None), kind, fresh, 3)
    unit, asked = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, fresh))
    likeness = asked @ unit.T
    near = np.argsort(-likeness, axis=1)[:, :20]
    weight = np.exp(np.take_along_axis(likeness, near, 1) / 0.07)
    parts = values[near].reshape(20, 20, -1)
    mean = (weight[:, :, None] * parts).sum(1) / weight.sum(1)[:, None]
    given = found.guess[:, None] if kind == "numbers" else found.probability
    assert given == pytest.approx(mean, rel=1e-3, abs=1e-5)


def test_classes_that_were_never_seen_get_no_probability(rng):
    features, labels = blobs(rng)
    probe = logistic(features, 2 * labels, None)
    found = answers(probe, "classes", features, 6)
    assert found.probability.shape == (90, 6)
    assert (found.probability[:, [1, 3, 5]] == 0).all()
    assert np.array_equal(found.guess, probe.predict(features))
    assert np.array_equal(found.guess, found.probability.argmax(1))


def test_a_device_fits_the_same_classifier(rng):
    features, labels = blobs(rng, 300)
    settings = {"C": 0.1, "tol": 1e-3, "max_iter": 2000}
    here = LogisticRegression(**settings).fit(features, labels)
    there = clone(DeviceLogisticRegression(device="cpu", **settings)).fit(features, labels)
    assert there.coef_ == pytest.approx(here.coef_, abs=1e-5)
    assert isinstance(there.coef_, np.ndarray)
    assert np.array_equal(there.predict(features), here.predict(features))
    assert there.predict_proba(features) == pytest.approx(here.predict_proba(features), abs=1e-5)


def test_small_fits_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for(np.zeros((10, 10))) is None
    assert device_for(np.zeros((4000, 512), np.float32)) in ("cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for(np.zeros((4000, 512), np.float32)) is None
