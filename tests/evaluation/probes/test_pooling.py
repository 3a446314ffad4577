from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from domainjepa.errors import UserError
from domainjepa.evaluation.probes.pooling import Bags, pooled_answer, pooled_features
from domainjepa.evaluation.protocol import Protocol, pooling
from domainjepa.evaluation.results.scores import Answer
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.cohorts.test_units import source_with
from tests.evaluation.toys import Table, make_source


@pytest.fixture
def bags(rng):
    features = rng.normal(size=(6, 3)).astype(np.float32)
    return Bags(make_source([0] * 6), np.array([4, 5, 0, 1, 2, 3]), np.array([0, 2, 3]), features)


def test_features_are_pooled_unit_by_unit(bags):
    parts = np.split(bags.features, [2, 3])
    mean, top = (np.stack([of(part, axis=0) for part in parts]) for of in (np.mean, np.max))
    assert pooled_features(bags, "mean") == pytest.approx(mean, rel=1e-6)
    assert np.array_equal(pooled_features(bags, "max"), top)
    assert pooled_features(bags, "mean+max") == pytest.approx(np.hstack([mean, top]), rel=1e-6)


def test_some_units_are_those_units(bags):
    found = bags.take(np.array([2, 0]))
    assert found.rows.tolist() == [1, 2, 3, 4, 5]
    assert found.starts.tolist() == [0, 3]
    assert found.unit.tolist() == [0, 0, 0, 1, 1]
    assert np.array_equal(found.features, bags.features[[3, 4, 5, 0, 1]])


def test_single_samples_keep_their_features_and_answers(rng):
    features = rng.normal(size=(4, 3)).astype(np.float32)
    single = Bags(make_source([0] * 4), np.arange(4), np.arange(4), features)
    assert pooled_features(single, "mean") is features
    assert pooled_features(single, "mean+max").shape == (4, 6)
    answer = Answer(np.arange(4), rng.uniform(size=(4, 4)))
    assert pooled_answer("classes", answer, single, "scores-max") is answer


def test_scores_are_pooled_unit_by_unit(bags, rng):
    chance = rng.dirichlet(np.ones(3), 6)
    answer = Answer(chance.argmax(1), chance)
    parts = np.split(chance, [2, 3])
    mean = pooled_answer("classes", answer, bags, "scores-mean")
    assert mean.chance == pytest.approx(np.stack([part.mean(0) for part in parts]))
    top = np.stack([part.max(0) for part in parts])
    most = pooled_answer("classes", answer, bags, "scores-max")
    assert most.chance == pytest.approx(top / top.sum(1, keepdims=True))
    assert np.array_equal(most.guess, top.argmax(1))
    marks = pooled_answer("multi-label", Answer(chance > 0.5, chance), bags, "scores-max")
    assert marks.chance == pytest.approx(top)
    assert np.array_equal(marks.guess, top > 0.5)
    numbers = pooled_answer("numbers", Answer(chance[:, 0]), bags, "scores-mean")
    assert numbers.guess == pytest.approx([part[:, 0].mean() for part in parts])


def test_a_way_to_pool_that_a_probe_cannot_use_is_refused():
    knn, tune = (Protocol(name=name, probe=name, shots=("all",)) for name in ("knn", "finetune"))
    with pytest.raises(UserError, match="--pool attention with knn"):
        pooling([knn], ["attention"])
    with pytest.raises(UserError, match="fine-tuning pools scores"):
        pooling([tune], ["mean"])
    with pytest.raises(UserError, match="--pool median"):
        pooling([knn], ["median"])
    assert [tune.pooling, knn.pooling] == ["scores-mean", "mean"]
    assert [one.name for one in pooling([knn], ["max"])] == ["knn"]
    assert [one.name for one in pooling([knn], ["max", "mean"])] == ["knn max", "knn mean"]


def planted(rng, units, size, informative, gap, width=8):
    """Units of two classes; the samples of some share of each are moved apart along one axis."""
    labels = np.repeat(np.arange(units) % 2, size)
    features = rng.normal(size=(units * size, width))
    moved = np.tile(np.arange(size) < informative, units)
    features[:, 0] += gap * labels * moved
    groups = np.repeat(np.arange(units), size)
    split = np.where(groups % 4 < 2, "train", "test")
    return features, source_with(labels, groups=groups, split=split)


def auc(results, protocol="p"):
    (row,) = [
        one for one in results.summary if one["metric"] == "roc_auc" and one["protocol"] == protocol
    ]
    return row


def test_pooling_gains_what_normal_noise_says(rng):
    """The AUROC of a difference d in unit noise is Phi(d / sqrt 2); a mean of n has d sqrt n."""
    size, gap = 9, 0.5
    features, source = planted(rng, 2000, size, size, gap)
    protocol = Protocol(name="p", probe="linear", shots=("all",))
    # LayerNorm before the probe would mix the axis with the noise of few others.
    wide = np.hstack([features, rng.normal(size=(len(features), 24))])
    single = auc(evaluate([Table("x", wide)], source, [protocol]))
    pooled = auc(evaluate([Table("x", wide)], source, [protocol], per="groups"))
    assert single["mean"] == pytest.approx(norm.cdf(gap / 2**0.5), abs=0.02)
    # The best answer there is, on these test units: within four standard errors of Phi.
    best = features[:, 0].reshape(-1, size).mean(axis=1)[np.arange(2000) % 4 >= 2]
    most = roc_auc_score(np.arange(1000) % 2, best)
    assert most == pytest.approx(norm.cdf(gap * size**0.5 / 2**0.5), abs=0.05)
    assert most - 0.02 < pooled["mean"] < most + 0.01
    scores = protocol.model_copy(update={"pool": "scores-mean"})
    by_score = auc(evaluate([Table("x", wide)], source, [scores], per="groups"))
    assert by_score["mean"] == pytest.approx(pooled["mean"], abs=0.03)


def test_attention_finds_the_few_samples_that_tell(rng):
    features, source = planted(rng, 400, 30, 1, 5.0, width=16)
    base = Protocol(name="p", probe="linear", shots=("all",))
    run = pooling([base], ["mean", "attention"])
    results = evaluate([Table("x", features)], source, run, per="groups")
    mean, learned = (auc(results, f"p {one}") for one in ("mean", "attention"))
    assert learned["low"] > mean["high"]
    assert learned["mean"] > 0.9


def test_attention_stays_the_mean_where_every_sample_tells(rng):
    features, source = planted(rng, 300, 9, 9, 0.5)
    base = Protocol(name="p", probe="linear", shots=(1, "all"), draws=2)
    run = pooling([base], ["mean", "attention"])
    results = evaluate([Table("x", features)], source, run, per="groups")
    for shots in (1, "all"):
        mean, learned = (
            results.cells[f"p {one}", shots, "x"].values["roc_auc"].mean()
            for one in ("mean", "attention")
        )
        assert learned == pytest.approx(mean, abs=0.03)


def test_k_shots_are_k_units_and_no_test_unit_is_drawn(rng):
    features, source = planted(rng, 80, 5, 5, 1.0)
    protocol = Protocol(name="p", probe="linear", shots=(2, "all"), draws=3)
    results = evaluate([Table("x", features)], source, [protocol], per="groups")
    (told,) = results.settings["protocols"]
    assert (told["train"], told["test"], told["pool"]) == (40, 40, "mean")
    assert results.settings["data"]["units"] == {"one": "group", "number": 80, "samples": 400}
    assert len(results.truth["p"]) == 40
    assert results.features["x"].shape == (40, 8)
    assert set(source.split[results.rows]) == {"test"}


def test_intervals_are_a_written_out_bootstrap_over_groups(rng):
    """Units of unequal size, tied in patients: patients are drawn."""
    sizes = rng.integers(1, 6, 120)
    visit = np.repeat(np.arange(120), sizes)
    patient = (np.arange(120) // 2)[visit]
    labels = (patient % 3 == 0).astype(int)
    features = labels[:, None] + rng.normal(size=(len(labels), 4)) * 2
    split = np.where(patient % 2, "test", "train")
    source = source_with(
        labels, {"visit": np.char.add("v", visit.astype(str))}, groups=patient, split=split
    )
    protocol = Protocol(name="p", probe="linear", shots=("all",))
    results = evaluate([Table("x", features)], source, [protocol], per="visit")
    truth, answer = results.truth["p"], results.answers["p", "x"]
    of = patient[results.rows]
    values = []
    for _ in range(2000):
        chosen = rng.choice(np.unique(of), len(np.unique(of)))
        rows = np.concatenate([np.flatnonzero(of == one) for one in chosen])
        if 0 < truth[rows].sum() < len(rows):
            values.append(roc_auc_score(truth[rows], answer.chance[rows, 1]))
    ends = [0.025, 0.5, 0.975]
    drawn = results.cells["p", "all", "x"].resampled["roc_auc"][0]
    assert np.quantile(drawn, ends) == pytest.approx(np.quantile(values, ends), abs=0.015)
    assert drawn.std() == pytest.approx(np.std(values), rel=0.1)
    by_visit = [
        roc_auc_score(truth[rows], answer.chance[rows, 1])
        for rows in rng.integers(len(truth), size=(1000, len(truth)))
        if 0 < truth[rows].sum() < len(rows)
    ]
    assert drawn.std() > 1.1 * np.std(by_visit)


def test_intervals_of_units_cover_the_truth(monkeypatch):
    """The benchmark in small: 40 trials miss 5 % by at most four standard errors."""
    path = Path(__file__).parents[3] / "benchmarks" / "units.py"
    spec = importlib.util.spec_from_file_location("units_benchmark", path)
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "units_benchmark", benchmark)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr("domainjepa.evaluation.results.cells.RESAMPLES", 200)
    found = benchmark.main(40, 50, population=20_000)
    assert len(found) == 6
    for covered in found.values():
        for share in covered.values():
            assert share > 0.95 - 4 * (0.95 * 0.05 / 40) ** 0.5
