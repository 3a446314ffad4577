"""Probes: what a small, plain model reads out of frozen features.

A probe takes (N, D) features, their training labels and folds inside them, and returns a fitted
scikit-learn pipeline. It never sees a test sample; adding one is a function and a line in `PROBES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from domainjepa.data.metadata.targets import Kind
from domainjepa.evaluation.encoders.features import Features
from domainjepa.evaluation.probes.device_logistic import DeviceLogisticRegression, device_for
from domainjepa.evaluation.probes.label_probes import EachLabel, best_penalty
from domainjepa.evaluation.results.scores import Answer
from domainjepa.evaluation.splits import Fold

REGULARISATION = (0.001, 0.01, 0.1, 1.0)
"""Values of `C` to choose from, strongest penalty first."""
UNTUNED = 0.1
"""`C` where there are too few labels to choose; with one label a class it hardly matters."""
PENALTIES = (10_000.0, 1_000.0, 100.0, 10.0, 1.0)
"""Values of ridge regression's `alpha` to choose from, strongest first."""
UNTUNED_PENALTY = 100.0
NEIGHBOURS = 20
TEMPERATURE = 0.07


class LayerNorm(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Zero mean and unit variance over the features of each sample, with nothing learned.

    Ba et al. (2016), without gain and bias; LeJEPA (arXiv:2511.08544) puts it before its probes.
    """

    def __init__(self, epsilon: float = 1e-5) -> None:
        self.epsilon = epsilon

    def fit(self, X: Any, y: Any = None) -> LayerNorm:
        validate_data(self, X, dtype=[np.float32, np.float64])
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def transform(self, X: Any) -> Any:
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        centred = X - X.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        return centred / np.sqrt(variance + self.epsilon)


class CommonScale(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Each feature centred, all divided by one number, so that their mean variance is 1.

    With an unpenalised intercept this leaves logistic regression the same classifier, found in a
    tenth of the iterations, and gives `C` the same meaning for every encoder: the features of an
    untrained network hardly vary from image to image, and a penalty that is blind to it would make
    a straw man of the baseline. Features are not scaled one by one: from a few labels that mostly
    scales noise, which costs raw pixels up to ten points.
    """

    def fit(self, X: Any, y: Any = None) -> CommonScale:
        X = validate_data(self, X, dtype=[np.float32, np.float64])
        self.mean_ = X.mean(axis=0)
        self.scale_ = float(np.sqrt(np.square(X - self.mean_).mean())) or 1.0
        return self

    def transform(self, X: Any) -> Any:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return (X - self.mean_) / X.dtype.type(self.scale_)


def linear_pipeline(model: Any) -> Pipeline:
    """LayerNorm, one common scale, then a linear model."""
    return Pipeline([("norm", LayerNorm()), ("scale", CommonScale()), ("predict", model)])


def logistic_regression(c: float = UNTUNED) -> LogisticRegression:
    """The linear model for classes.

    The tolerance bounds the gradient of the mean log-loss; a tenth of it takes twice as long and
    moves accuracies by about 0.2 points.
    """
    return LogisticRegression(C=c, tol=1e-3, max_iter=2000)


def logistic(features: Features, labels: NDArray[Any], folds: Sequence[Fold] | None) -> Pipeline:
    """Multinomial logistic regression; `C` is the most accurate over the folds.

    Log-loss would choose too strong a penalty where features say little: it is up to nine points
    less accurate then, and to the harm of weak encoders alone. On a CUDA device, large fits run
    there.

    Args:
        features: (N, D).
        labels: (N,).
        folds: positions in `labels`, as `splits.tuning_folds` gives them; None where there are too
            few labels to choose: then `C` is `UNTUNED`.
    """
    model = logistic_regression()
    if device := device_for(features):
        model = DeviceLogisticRegression(device=device, C=model.C, tol=model.tol, max_iter=2000)
    return _chosen(linear_pipeline(model), "C", REGULARISATION, "accuracy", features, labels, folds)


def ridge(features: Features, values: NDArray[Any], folds: Sequence[Fold] | None) -> Pipeline:
    """Ridge regression; `alpha` has the best R2 over the folds. (N, D), (N,) numbers."""
    pipeline = linear_pipeline(Ridge(alpha=UNTUNED_PENALTY))
    return _chosen(pipeline, "alpha", PENALTIES, "r2", features, values, folds)


def one_vs_rest(features: Features, marks: NDArray[Any], folds: Sequence[Fold] | None) -> Pipeline:
    """A logistic regression a label, its `C` the one of the best average precision over the folds.

    (N, D) and (N, L) of 1, 0, and -1 where a label is unknown; see `label_probes`.
    """
    prepared = linear_pipeline("passthrough").fit_transform(features)
    penalties = [UNTUNED] * marks.shape[1]
    for label in range(len(penalties)):
        marked, model = marks[:, label], logistic_regression
        best = best_penalty(prepared, marked, folds or (), model, REGULARISATION)
        penalties[label] = UNTUNED if best is None else best
    each = EachLabel([logistic_regression(penalty) for penalty in penalties])
    return linear_pipeline(each).fit(features, marks)


def _chosen(
    pipeline: Pipeline,
    parameter: str,
    values: Sequence[float],
    scoring: str,
    features: Features,
    labels: NDArray[Any],
    folds: Sequence[Fold] | None,
) -> Pipeline:
    """The pipeline with the value that is best over the folds, fitted on all training labels."""
    if folds is None:
        return pipeline.fit(features, labels)
    search = GridSearchCV(
        pipeline, {f"predict__{parameter}": list(values)}, cv=list(folds), scoring=scoring
    )
    return search.fit(features, labels).best_estimator_


def similarity_weights(distances: NDArray[Any]) -> NDArray[Any]:
    """exp(cosine / 0.07), the vote of a neighbour (Wu et al. 2018, arXiv:1805.01978, 3.4)."""
    return np.asarray(np.exp((1.0 - distances) / TEMPERATURE))


def nearest(features: Features, labels: NDArray[Any], folds: Sequence[Fold] | None) -> Pipeline:
    """The vote of the 20 nearest by cosine: nothing is fitted and nothing chosen."""
    return _neighbours(KNeighborsClassifier, features, labels)


def nearest_mean(
    features: Features, values: NDArray[Any], folds: Sequence[Fold] | None
) -> Pipeline:
    """The weighted mean of the 20 nearest."""
    return _neighbours(KNeighborsRegressor, features, values.astype(np.float64))


def nearest_share(
    features: Features, marks: NDArray[Any], folds: Sequence[Fold] | None
) -> Pipeline:
    """The weighted share of the 20 nearest that has each label, of those of which it is known."""
    known = np.maximum((marks >= 0).sum(axis=0), 1)
    models = [
        KNeighborsRegressor(min(NEIGHBOURS, number), metric="cosine", weights=similarity_weights)
        for number in known
    ]
    return Pipeline([("predict", EachLabel(models))]).fit(features, marks)


def _neighbours(model: Any, features: Features, labels: NDArray[Any]) -> Pipeline:
    number = min(NEIGHBOURS, len(labels))
    vote = model(number, metric="cosine", weights=similarity_weights)
    return Pipeline([("predict", vote)]).fit(features, labels)


Probe = Callable[[Features, NDArray[Any], Sequence[Fold] | None], Pipeline]

PROBES: dict[str, dict[Kind, Probe]] = {
    "linear": {"classes": logistic, "numbers": ridge, "multi-label": one_vs_rest},
    "knn": {"classes": nearest, "numbers": nearest_mean, "multi-label": nearest_share},
}


def answers(probe: Pipeline, kind: Kind, features: Features, classes: int) -> Answer:
    """What a fitted probe says of (n, D) features.

    Args:
        classes: how many there are; those that it never saw get probability zero.
    """
    if kind == "numbers":
        return Answer(np.asarray(probe.predict(features), np.float64))
    if kind == "multi-label":
        chance = np.asarray(probe.predict_proba(features), np.float64)
        return Answer((chance > 0.5).astype(np.int64), chance)
    chance = np.zeros((len(features), classes))
    chance[:, probe.classes_] = probe.predict_proba(features)
    return Answer(probe.predict(features), chance)
