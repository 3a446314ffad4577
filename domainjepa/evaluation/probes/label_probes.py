"""Probes of several labels with holes: each label on the samples of which it is known.

Nothing of one label enters another's probe, so that a hole in one changes no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from domainjepa.evaluation.metrics.thresholds import Ranked, average_precision
from domainjepa.evaluation.splits import Fold

Chances = NDArray[np.float64]


class EachLabel(BaseEstimator):  # type: ignore[misc]
    """One model a label, on its own known rows.

    A label that is only ever yes, or no, is answered so, and one that is never known by a half.

    Args:
        models: one a label; what has `predict_proba` answers with its second column, what has not
            with what it predicts.
    """

    def __init__(self, models: Sequence[Any] = ()) -> None:
        self.models = models

    def fit(self, X: NDArray[Any], y: NDArray[np.int64]) -> EachLabel:
        """(N, D) features, (N, L) labels of 1, 0, and -1 where one is unknown."""
        y = np.asarray(y)
        self.constants_ = [constant(marks) for marks in y.T]
        for model, marks, fixed in zip(self.models, y.T, self.constants_, strict=True):
            if fixed is None:
                model.fit(*known_rows(X, marks))
        return self

    def predict_proba(self, X: NDArray[Any]) -> Chances:
        """(n, D) -> (n, L) how likely each label is."""
        chance = np.empty((len(X), len(self.models)))
        for label, (model, fixed) in enumerate(zip(self.models, self.constants_, strict=True)):
            if fixed is not None:
                chance[:, label] = fixed
            elif hasattr(model, "predict_proba"):
                chance[:, label] = model.predict_proba(X)[:, 1]
            else:
                chance[:, label] = model.predict(X)
        return chance

    def predict(self, X: NDArray[Any]) -> NDArray[np.int64]:
        """(n, D) -> (n, L) zeros and ones."""
        return (self.predict_proba(X) > 0.5).astype(np.int64)


def constant(marks: NDArray[np.int64]) -> float | None:
    """The answer to a label of which one value alone is known, or none; None where both are."""
    values = np.unique(marks[marks >= 0])
    if len(values) > 1:
        return None
    return float(values[0]) if len(values) else 0.5


def known_rows(X: NDArray[Any], marks: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Features and marks where a label is known; without holes nothing is copied."""
    known = marks >= 0
    return (X, marks) if known.all() else (X[known], marks[known])


def best_penalty(
    X: NDArray[Any],
    marks: NDArray[np.int64],
    folds: Sequence[Fold],
    model: Callable[[float], LogisticRegression],
    values: Sequence[float],
) -> float | None:
    """The value of `C` with the best average precision over the folds, of equal ones the first.

    Args:
        X: (N, D) features, as the model takes them.
        marks: (N,) of one label.
        folds: (fit, validate) positions.
        model: a logistic regression with this `C`.
        values: to choose from.

    Returns:
        None where no fold knows enough of the label to tell.
    """
    found = []
    for fit, validate in folds:
        seen, held_out = known_rows(X[fit], marks[fit]), known_rows(X[validate], marks[validate])
        if any(len(np.unique(side)) < 2 for _, side in (seen, held_out)):
            continue
        often = np.ones((1, len(held_out[1])), np.int64)
        of_fold = []
        one = model(values[0]).set_params(warm_start=True)  # from one penalty's weights to the next
        for value in values:
            score = one.set_params(C=value).fit(*seen).decision_function(held_out[0])
            ranked = Ranked.of(held_out[1] == 1, score, often)
            of_fold.append(float(average_precision(ranked)[0]))
        found.append(of_fold)
    return None if not found else float(values[int(np.mean(found, axis=0).argmax())])
