"""Probes: what a small, plain classifier reads out of frozen features.

A probe takes (N, D) features, (N,) labels and folds inside them, and returns a fitted scikit-learn
pipeline. It never sees a test sample; adding a probe is one function and one line in `PROBES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from domainjepa.evaluation.features import Features
from domainjepa.evaluation.splits import Fold, Rows

REGULARISATION = (0.001, 0.01, 0.1, 1.0)
"""Values of `C` to choose from, strongest penalty first."""
UNTUNED = 0.1
"""`C` where there are too few labels to choose; with one label a class it hardly matters."""
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


def logistic_pipeline(c: float = UNTUNED) -> Pipeline:
    """LayerNorm, then multinomial logistic regression.

    The tolerance bounds the gradient of the mean log-loss; a tenth of it takes twice as long and
    moves accuracies by about 0.2 points.
    """
    return Pipeline(
        [
            ("norm", LayerNorm()),
            ("scale", CommonScale()),
            ("classify", LogisticRegression(C=c, tol=1e-3, max_iter=2000)),
        ]
    )


def logistic(features: Features, labels: Rows, folds: Sequence[Fold] | None) -> Pipeline:
    """The linear probe; `C` is the most accurate over the folds, `UNTUNED` where there are none.

    Log-loss would choose too strong a penalty where features say little: it is up to nine points
    less accurate then, and to the harm of weak encoders alone.

    Args:
        features: (N, D).
        labels: (N,).
        folds: positions in `labels`, as `splits.tuning_folds` gives them.
    """
    pipeline = logistic_pipeline()
    if folds is None:
        return pipeline.fit(features, labels)
    search = GridSearchCV(
        pipeline, {"classify__C": REGULARISATION}, cv=list(folds), scoring="accuracy"
    )
    return search.fit(features, labels).best_estimator_


def similarity_weights(distances: NDArray[Any]) -> NDArray[Any]:
    """exp(cosine / 0.07), the vote of a neighbour (Wu et al. 2018, arXiv:1805.01978, 3.4)."""
    return np.asarray(np.exp((1.0 - distances) / TEMPERATURE))


def nearest(features: Features, labels: Rows, folds: Sequence[Fold] | None) -> Pipeline:
    """The vote of the 20 nearest by cosine: nothing is fitted and nothing chosen."""
    vote = KNeighborsClassifier(
        min(NEIGHBOURS, len(labels)), metric="cosine", weights=similarity_weights
    )
    return Pipeline([("classify", vote)]).fit(features, labels)


PROBES: dict[str, Callable[[Features, Rows, Sequence[Fold] | None], Pipeline]] = {
    "logistic": logistic,
    "knn": nearest,
}
