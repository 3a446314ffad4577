from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

from domainjepa.evaluation.probes.finetune import loss_of
from domainjepa.evaluation.probes.label_probes import EachLabel, best_penalty
from domainjepa.evaluation.probes.probes import (
    REGULARISATION,
    CommonScale,
    LayerNorm,
    answers,
    logistic_regression,
    nearest_share,
    one_vs_rest,
    similarity_weights,
)
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.splits import tuning_folds
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.toys import Table, make_source


def holed(rng, samples=200, labels=3, width=6):
    features = rng.normal(size=(samples, width)).astype(np.float32)
    marks = (features[:, :labels] + rng.normal(size=(samples, labels)) > 0.3).astype(np.int64)
    holes = marks.copy()
    holes[rng.random(samples) < 0.5, 1] = -1
    return features, marks, holes


@pytest.mark.parametrize("folds", [None, tuning_folds(np.zeros(200, int), seed=0)])
def test_each_label_is_fitted_on_its_own_known_rows(folds, rng):
    features, marks, holes = holed(rng)
    found = answers(one_vs_rest(features, holes, folds), "multi-label", features, 3).probability
    whole = answers(one_vs_rest(features, marks, folds), "multi-label", features, 3).probability
    assert np.array_equal(found[:, [0, 2]], whole[:, [0, 2]])
    assert not np.allclose(found[:, 1], whole[:, 1])
    x = make_pipeline(LayerNorm(), CommonScale()).fit_transform(features)
    known = holes[:, 1] >= 0
    penalty = 0.1
    if folds:
        penalty = best_penalty(x, holes[:, 1], folds, logistic_regression, REGULARISATION)
    alone = LogisticRegression(C=penalty, tol=1e-3, max_iter=2000).fit(x[known], holes[known, 1])
    assert found[:, 1] == pytest.approx(alone.predict_proba(x)[:, 1])


def test_neighbours_of_a_label_are_those_of_which_it_is_known(rng):
    features, marks, holes = holed(rng)
    found = answers(nearest_share(features, holes, None), "multi-label", features, 3).probability
    whole = answers(nearest_share(features, marks, None), "multi-label", features, 3).probability
    assert np.array_equal(found[:, [0, 2]], whole[:, [0, 2]])
    known = holes[:, 1] >= 0
    alone = KNeighborsRegressor(20, metric="cosine", weights=similarity_weights)
    expected = alone.fit(features[known], holes[known, 1].astype(float)).predict(features)
    assert found[:, 1] == pytest.approx(expected)


def test_labels_of_one_value_or_none_are_answered_by_it(rng):
    marks = np.array([[1, 0, -1], [1, -1, -1], [-1, 0, -1]])
    each = EachLabel([logistic_regression()] * 3).fit(rng.normal(size=(3, 2)), marks)
    assert each.predict_proba(rng.normal(size=(4, 2))).tolist() == [[1.0, 0.0, 0.5]] * 4


def test_the_penalty_is_the_one_of_the_best_average_precision(rng):
    features = rng.normal(size=(300, 40))
    marks = (features[:, 0] + rng.normal(size=300) > 0).astype(np.int64)
    folds = tuning_folds(np.zeros(300, int), seed=0)
    values = (1e-6, 1e-4, 0.01, 0.3)
    search = GridSearchCV(
        logistic_regression(), {"C": list(values)}, cv=list(folds), scoring="average_precision"
    )
    expected = search.fit(features, marks).best_params_["C"]
    assert best_penalty(features, marks, folds, logistic_regression, values) == expected
    assert best_penalty(features, np.full(300, -1), folds, logistic_regression, (1.0,)) is None


def test_the_loss_of_fine_tuning_leaves_unknown_labels_out(rng):
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as loss

    given = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    wanted = torch.tensor([[1.0, -1], [0, -1], [1, 0], [-1, 1], [-1, -1], [0, 1]])
    known = wanted >= 0
    found = loss_of("multi-label", given, wanted)
    assert found.item() == pytest.approx(loss(given[known], wanted[known]).item())
    found.backward()
    assert (given.grad[~known] == 0).all()


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_holes_of_one_label_change_no_score_of_another(probe, rng):
    """A whole evaluation, with the source's split."""
    features, marks, holes = holed(rng, samples=300)
    split = np.array(["train", "train", "test"] * 100)
    protocol = Protocol(name="x", probe=probe, shots=("all",))
    found = []
    for values in (marks, holes):
        source = make_source(np.zeros(300), split=split)
        columns = dict(zip("abc", np.where(values < 0, np.nan, values).T, strict=True))
        source.column = columns.__getitem__
        results = evaluate([Table("t", features)], source, [protocol], target="a,b,c")
        found.append({(r["label"], r["metric"]): r for r in results.summary if "label" in r})
    for key, row in found[0].items():
        assert (row == found[1][key]) == (key[0] != "b")
    assert results.settings["target"]["labels"][1]["known"] == int((holes[:, 1] >= 0).sum())
