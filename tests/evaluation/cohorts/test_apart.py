from __future__ import annotations

import numpy as np
import pytest

from domainjepa.errors import DataError
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.cohorts.test_units import source_with
from tests.evaluation.toys import Table

PROTOCOL = Protocol(name="p", probe="linear", shots=("all",), metrics=("accuracy",))


def scanned(rng, count, *, tied, seen):
    """Two classes and two scanners.

    Args:
        tied: how often the scanner is that of the class; 0.5 is independent.
        seen: how far a scanner moves the features.
    """
    labels = rng.integers(0, 2, count)
    scanner = np.where(rng.uniform(size=count) < tied, labels, 1 - labels)
    features = rng.normal(size=(count, 16))
    features[:, 0] += labels
    features[:, 1] += seen * scanner
    names = np.array(["old", "new"])[scanner]
    split = np.where(rng.uniform(size=count) < 0.5, "train", "test")
    return features, source_with(labels, {"scanner": names}, split=split)


@pytest.mark.parametrize(
    ("tied", "seen", "read", "tells"),
    [(0.85, 3, True, True), (0.5, 3, True, False), (0.85, 0, False, True), (0.5, 0, False, False)],
)
def test_a_column_confounds_where_it_is_read_and_tells(tied, seen, read, tells, rng):
    features, source = scanned(rng, 1600, tied=tied, seen=seen)
    if not seen:  # a class alone would tell the scanner that goes with it
        features[:, 0] -= source.labels
    results = evaluate([Table("x", features)], source, [PROTOCOL], by="scanner")
    alone, of_features = results.readable
    assert (alone["encoder"], of_features["encoder"]) == (None, "x")
    assert (of_features["low"] > 0.55) == read
    assert (alone["low"] > 0.55) == tells
    assert any("scanner may confound" in text for text in results.warnings) == (read and tells)


def test_each_value_is_scored_apart(rng):
    features, source = scanned(rng, 800, tied=0.5, seen=0)
    names = source.column("scanner")
    features[names == "old", 0] = rng.normal(size=(names == "old").sum())  # nothing to tell there
    results = evaluate([Table("x", features)], source, [PROTOCOL], by="scanner")
    truth, guess = results.truth["p"], results.answers["p", "x"].guess
    of_test = names[results.rows]
    found = {row.get("part"): row for row in results.summary}
    assert set(found) == {None, "scanner = new", "scanner = old"}
    for name in ("old", "new"):
        there = of_test == name
        row = found[f"scanner = {name}"]
        assert row["mean"] == (truth == guess)[there].mean()
        error = np.sqrt(row["mean"] * (1 - row["mean"]) / there.sum())
        assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert found["scanner = old"]["high"] < found["scanner = new"]["low"]


def test_units_without_a_value_and_rare_values_are_told(rng):
    labels = np.arange(600) % 2
    site = np.array([f"s{row % 25:02d}" for row in range(600)])
    site[:60] = ""
    split = np.where(np.arange(600) // 2 % 2, "test", "train")
    source = source_with(labels, {"site": site}, split=split)
    features = labels[:, None] + rng.normal(size=(600, 4))
    results = evaluate([Table("x", features)], source, [PROTOCOL], by="site")
    assert len(results.apart) == 20
    assert any("30 of 300 test units have no value" in text for text in results.warnings)
    assert any("of 25 values the 20 largest" in text for text in results.warnings)


def test_numbers_are_parted_in_fifths(rng):
    features, source = scanned(rng, 400, tied=0.5, seen=0)
    source.column = {"age": rng.uniform(20, 80, 400)}.__getitem__
    results = evaluate([Table("x", features)], source, [PROTOCOL], by="age")
    assert len(results.apart) == 5
    assert all(where.part.startswith("age = ") for where in results.apart)
    assert [one["metric"] for one in results.readable] == ["roc_auc", "r2"]
    assert results.readable[1]["low"] < 0.05


def test_names_of_single_things_are_no_column_to_part_by(rng):
    features, source = scanned(rng, 400, tied=0.5, seen=0)
    source.column = {"id": np.array([f"p{row}" for row in range(400)])}.__getitem__
    with pytest.raises(DataError, match="400 different values"):
        evaluate([Table("x", features)], source, [PROTOCOL], by="id")


def test_units_of_several_values_have_none(rng):
    features, source = scanned(rng, 400, tied=0.5, seen=0)
    groups = np.arange(400) // 2
    source.labels[:] = groups % 2
    source.groups, source.split = groups, np.where(groups // 2 % 2, "test", "train")
    source.column = {"site": np.array(list("aaab") * 100)}.__getitem__
    results = evaluate([Table("x", features)], source, [PROTOCOL], by="site", per="groups")
    assert results.numbers["p", results.home] == 100
    assert any("50 of 100 test units have no value, or several" in w for w in results.warnings)
