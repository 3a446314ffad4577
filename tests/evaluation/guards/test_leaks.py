from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from domainjepa.evaluation.guards import leaks as module
from domainjepa.evaluation.guards.leaks import leaks, repeats_of
from domainjepa.evaluation.splits import Split
from tests.evaluation.toys import ArraySource


@dataclass(kw_only=True)
class Parts(ArraySource):
    """Of another source, as slices and tiles are."""

    whole: ArraySource
    of: np.ndarray


@dataclass(kw_only=True)
class Series(ArraySource):
    """Of files, as volumes of NIfTI are."""

    file_of: np.ndarray


def source_of(images, kind=ArraySource, **more):
    return kind(
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
        ("natural", {"origin": "nifti"}, "patients"),
        ("radio", {}, "sky positions"),
        ("microscopy", {}, "specimens or patients"),
        ("astronomy", {"groups": np.arange(40)}, None),
    ],
)
def test_missing_groups_are_told_where_they_matter(domain, more, unit, images):
    said = leaks(source_of(images, card={"name": "toy", "domain": domain}, **more), [SPLIT])
    assert (unit is not None) == any("no groups are known" in text for text in said)
    assert unit is None or unit in said[0]


def test_parts_of_one_sample_are_no_groups_of_patients(images):
    whole = source_of(images, modality="MR")
    fields = {"whole": whole, "of": np.arange(40), "groups": np.arange(40), "modality": "MR"}
    for groups, told in ((None, True), (np.arange(40) // 4, False)):
        whole.groups = groups
        said = leaks(source_of(images, kind=Parts, **fields), [SPLIT])
        assert any("no groups are known" in text for text in said) == told


def test_files_of_series_are_no_groups_of_patients(images):
    file_of = np.arange(40) // 20
    series = source_of(images, kind=Series, file_of=file_of, groups=file_of, modality="MR")
    assert any("no groups are known" in text for text in leaks(series, [SPLIT]))
    series.groups = file_of.copy()  # by the subjects in their names
    assert leaks(series, [SPLIT]) == []


def test_what_the_source_says_of_its_groups_is_said_again(images):
    told = ["groups: 'patient' is blank for 3 of 40 samples", "spacings: none"]
    assert leaks(source_of(images, warnings=told), [SPLIT]) == told[:1]


def test_volumes_are_not_compared():
    volumes = np.zeros((4, 4, 4, 4, 1), np.float32)
    split = Split(np.arange(2), np.arange(2, 4))
    assert "were not looked for" in leaks(source_of(volumes), [split])[-1]
