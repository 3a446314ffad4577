from __future__ import annotations

import json

import numpy as np
import pytest
from toys import ArraySource

from domainjepa.evaluation import leaks as module
from domainjepa.evaluation.leaks import leaks, repeats_of
from domainjepa.evaluation.splits import Split


def source_of(images, **more):
    return ArraySource(
        name="toy", loader="memory", shape=images.shape[1:], dtype=images.dtype, images=images,
        **{"card": {"name": "toy", "domain": "natural"}, **more},
    )  # fmt: skip


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


SPLIT = Split(np.arange(30), np.arange(30, 40))


def test_repeats_across_the_split_are_told(images):
    images[35] = images[3]  # across
    images[5] = images[4]  # both in training
    images[39], images[38] = images[30], images[30]  # all in the test
    images[36] = np.clip(images[7].astype(int) + 2, 0, 255)  # nearly
    exact, near = leaks(source_of(images), [SPLIT])
    assert exact.startswith("1 test samples (10 %) are identical to a training sample")
    assert "row 35" in exact
    assert near.startswith("1 test samples (10 %) are nearly the same")
    assert "row 36" in near


def test_nothing_is_said_where_nothing_repeats(images):
    assert leaks(source_of(images), [SPLIT]) == []


def test_a_second_look_reads_no_image(images, tmp_path, monkeypatch):
    images[35] = images[3]
    source = source_of(images)
    first = repeats_of(source, tmp_path)
    assert first["identical"] == [[3, 35]]
    monkeypatch.setattr(module, "take_census", None)
    assert repeats_of(source, tmp_path) == first


def test_a_damaged_memory_is_made_anew(images, tmp_path):
    source = source_of(images)
    found = repeats_of(source, tmp_path)
    (path,) = tmp_path.iterdir()
    for damaged in ("", "{}", "[1, 2", json.dumps({"identical": []})):
        path.write_text(damaged)
        assert repeats_of(source, tmp_path) == found


@pytest.mark.parametrize(
    ("domain", "more", "unit"),
    [
        ("astronomy", {}, "sky positions"),
        ("natural", {"modality": "CT"}, "patients"),
        ("natural", {}, None),
        ("astronomy", {"groups": np.arange(40)}, None),
    ],
)
def test_missing_groups_are_told_where_they_matter(domain, more, unit, images):
    said = leaks(source_of(images, card={"name": "toy", "domain": domain}, **more), [SPLIT])
    assert (unit is not None) == any("no groups are known" in text for text in said)
    assert unit is None or unit in said[0]


def test_volumes_are_not_compared():
    volumes = np.zeros((4, 4, 4, 4, 1), np.float32)
    split = Split(np.arange(2), np.arange(2, 4))
    assert "were not looked for" in leaks(source_of(volumes), [split])[-1]
