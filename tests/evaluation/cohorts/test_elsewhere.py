from __future__ import annotations

import numpy as np
import pytest

from domainjepa.data.metadata.targets import target_of
from domainjepa.errors import DataError, UserError
from domainjepa.evaluation.cohorts.elsewhere import matched_target, shared_with_training
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.cohorts.test_units import source_with
from tests.evaluation.toys import Table

PROTOCOL = Protocol(name="p", probe="linear", shots=(3, "all"), draws=4)


class Blurred(Table):
    """Features are the pixels that hold them, so that every source has its own."""

    def transform(self, images):
        self.calls += 1
        return np.stack([image[1:].ravel() for image in images])


def hospital(rng, count, axis, *, split=True, classes=("no", "yes"), shift=0.0):
    """Images whose class moves one of its pixels; another hospital moves another one, too."""
    labels = np.arange(count) % 2
    part = np.where(np.arange(count) // 2 % 3 == 0, "test", "train") if split else None
    source = source_with(labels, classes=classes, split=part)
    pixels = rng.normal(size=(count, 12)) + shift
    pixels[:, axis] += 2 * labels
    source.images[:, 1:] = pixels.reshape(count, 3, 4, 1)
    return source


def values(results, data, fitted_on, metric="accuracy"):
    return [
        (row["shots"], row["draw"], row["value"])
        for row in results.records
        if (row["data"], row.get("fitted_on", row["data"]), row["metric"])
        == (data, fitted_on, metric)
    ]


def test_a_copy_of_the_data_gives_the_scores_at_home_exactly(rng):
    home = hospital(rng, 240, 0)
    copy = source_with(home.labels, classes=home.classes, split=home.split)
    copy.images[:] = home.images
    results = evaluate([Blurred("x", [[0]])], home, [PROTOCOL], test_source=copy)
    name = home.public_name
    there = f"{name} (test data)"
    at_home = values(results, name, name)
    assert len(at_home) == 5
    assert values(results, there, name) == at_home
    assert values(results, there, there) == at_home
    for row in results.differences:
        if "versus_fitted_on" in row:
            assert (row["mean"], row["low"], row["high"]) == (0, 0, 0)
    assert not any("identical" in text for text in results.warnings)


def test_the_probe_elsewhere_is_fitted_at_home_alone(rng):
    home, there = hospital(rng, 400, 0), hospital(rng, 400, 1)
    results = evaluate([Blurred("x", [[0]])], home, [PROTOCOL], test_source=there)
    one, other = home.public_name, there.public_name
    mean = {
        (row["data"], row.get("fitted_on", row["data"])): row["mean"]
        for row in results.summary
        if (row["metric"], row["shots"]) == ("accuracy", "all")
    }
    assert mean[one, one] > 0.75
    assert mean[other, other] > 0.75
    assert mean[other, one] == pytest.approx(0.5, abs=0.15)
    swapped = hospital(rng, 400, 1)
    swapped.images[:] = there.images
    train = np.flatnonzero(there.split == "train")
    swapped.labels[:] = there.labels
    swapped.labels[train] = 1 - there.labels[train]
    again = evaluate([Blurred("x", [[0]])], home, [PROTOCOL], test_source=swapped)
    assert values(again, swapped.public_name, one) == values(results, other, one)
    (gap,) = [
        row
        for row in results.differences
        if (row.get("fitted_on"), row.get("versus_fitted_on")) == (one, other)
        and (row["metric"], row["shots"]) == ("accuracy", "all")
    ]
    assert (gap["encoder"], gap["versus"], gap["data"]) == ("x", "x", other)
    assert gap["mean"] == pytest.approx(mean[other, one] - mean[other, other])
    assert gap["high"] < 0


def test_test_data_without_training_rows_are_scored_whole(rng):
    home, there = hospital(rng, 240, 0), hospital(rng, 60, 0, split=False)
    for more in ({"test_all": True}, {}):
        if not more:
            there.split = np.full(60, "test")
        results = evaluate([Blurred("x", [[0]])], home, [PROTOCOL], test_source=there, **more)
        (where,) = results.apart
        assert results.numbers["p", where] == 60
        assert (where.data, where.fitted_on) == (there.public_name, home.public_name)


def test_images_that_train_the_probe_are_told(rng):
    home, there = hospital(rng, 240, 0), hospital(rng, 240, 0)
    test = np.flatnonzero(there.split == "test")[:7]
    there.images[test] = home.images[np.flatnonzero(home.split == "train")[:7]]
    results = evaluate([Blurred("x", [[0]])], home, [PROTOCOL], test_source=there)
    assert any("7 of 80 images of the test data are identical" in w for w in results.warnings)


def test_copies_at_another_size_or_compressed_anew_are_told(rng):
    scenes = rng.uniform(0, 200, (8, 12, 12, 1)).repeat(4, axis=1).repeat(4, axis=2)
    noise = rng.normal(0, 2, scenes.shape)
    others = rng.uniform(0, 200, (8, 12, 12, 1)).repeat(4, axis=1).repeat(4, axis=2)
    smaller = scenes[:3].reshape(3, 24, 2, 24, 2, 1).mean(axis=(2, 4)).repeat(3, axis=3)
    home, again, small = (source_with(np.zeros(n, int)) for n in (8, 11, 6))
    home.images = scenes.astype(np.float32)
    again.images = np.concatenate([others, (scenes + noise)[:3]]).astype(np.float32)
    small.images = np.concatenate([smaller, smaller[:, ::-1]]).astype(np.float32)
    (said,) = shared_with_training(home, np.arange(8), again, np.arange(11))
    assert said.startswith("3 of 11 images of the test data are nearly the same")
    assert "first row 8:" in said
    (said,) = shared_with_training(home, np.arange(8), small, np.arange(6))
    assert said.startswith("3 of 6 images of the test data are nearly the same")
    assert not shared_with_training(home, np.arange(3, 8), small, np.arange(6))


def test_classes_are_matched_by_their_names(rng):
    home = target_of(source_with([0, 1, 2], classes=("E", "S", "M")))
    there = target_of(source_with([0, 1, 2, 3], classes=("M", "unknown", "E", "S")))
    found = matched_target(there, home, {}, "there")
    assert found.values.tolist() == [2, -1, 0, 1]
    assert found.known.tolist() == [True, False, True, True]
    assert "1 samples are of classes unknown at home (unknown)" in found.decision
    found = matched_target(there, home, {"unknown": "S", "S": "?"}, "there")
    assert found.values.tolist() == [2, 1, 0, -1]


def test_numbers_of_classes_that_do_not_agree_are_refused(rng):
    home = target_of(source_with([0, 1, 2], classes=("1", "2", "3")))
    there = target_of(source_with([0, 1]))
    with pytest.raises(DataError, match=r"numbers 0, 1, at home they are 1, 2, 3.*--match"):
        matched_target(there, home, {}, "there")
    found = matched_target(there, home, {"0": "1", "1": "2"}, "there")
    assert found.values.tolist() == [0, 1]
    with pytest.raises(UserError, match="no class '7'"):
        matched_target(there, home, {"7": "1"}, "there")
    with pytest.raises(UserError, match="called alike"):
        matched_target(there, home, {"0": "1", "1": "1"}, "there")
    named = target_of(source_with([0, 1], classes=("a", "b")))
    with pytest.raises(DataError, match="no class in common"):
        matched_target(named, home, {}, "there")


def test_other_channels_and_kinds_of_target_are_refused(rng):
    home, there = hospital(rng, 60, 0), hospital(rng, 60, 0)
    there.shape = (4, 4, 3)
    with pytest.raises(DataError, match="3 channels"):
        evaluate([Blurred("x", [[0]])], home, [PROTOCOL], test_source=there)
    there.shape = (8, 8, 1)
    results = evaluate([Blurred("x", [[0]])], home, [PROTOCOL], test_source=there)
    assert any("samples of the test data are 8x8" in text for text in results.warnings)
    home.column = {"z": np.linspace(0, 1, 60)}.__getitem__
    there.column = {"z": np.array(list("ab") * 30)}.__getitem__
    with pytest.raises(DataError, match="is classes, at home it is numbers"):
        evaluate([Blurred("x", [[0]])], home, [PROTOCOL], target="z", test_source=there)
