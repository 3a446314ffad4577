from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import Flowers102, Food101

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError


def write_food(root: Path) -> Path:
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for part, numbers in (("train", (1, 2, 3)), ("test", (4,))):
        listed = {name: [f"{name}/{n}" for n in numbers] for name in ("apple_pie", "sushi")}
        for names in listed.values():
            for name in names:
                file = folder / "images" / f"{name}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(file)
        (folder / "meta" / f"{part}.json").write_text(json.dumps(listed))
    return folder


def write_flowers(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six flowers of two classes; torchvision's checksums become those of the test's own files."""
    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 7):
        pixels = np.full((16, 16, 3), 20 * number, np.uint8)
        Image.fromarray(pixels).save(folder / "jpg" / f"image_{number:05}.jpg", quality=95)
    savemat(folder / "imagelabels.mat", {"labels": [1, 2, 1, 2, 1, 2]})
    savemat(folder / "setid.mat", {"trnid": [5, 6], "valid": [1, 2], "tstid": [3, 4]})
    table = {
        name: (file, hashlib.md5((folder / file).read_bytes()).hexdigest())
        for name, file in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
    }
    monkeypatch.setattr(Flowers102, "_file_dict", {**Flowers102._file_dict, **table})
    return folder


def test_food_is_what_torchvision_says(tmp_path: Path) -> None:
    source = open_source(write_food(tmp_path))
    theirs = [Food101(tmp_path, split=part) for part in ("train", "test")]
    pairs = [pair for part in theirs for pair in part]
    assert len(source) == len(pairs) == 8
    assert source.labels is not None
    assert source.labels.tolist() == [label for _, label in pairs]
    for index, (image, _) in enumerate(pairs):
        assert np.array_equal(source[index], np.asarray(image))
    assert source.classes == ("apple pie", "sushi")
    assert source.split is not None
    assert source.split.tolist() == ["train"] * 6 + ["test"] * 2
    assert source.name == "food101"
    assert source.card is not None


def test_flowers_are_what_torchvision_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(write_flowers(tmp_path, monkeypatch))
    pairs = [pair for part in ("train", "val", "test") for pair in Flowers102(tmp_path, split=part)]
    assert source.labels is not None
    assert source.labels.tolist() == [label for _, label in pairs] == [0, 1, 0, 1, 0, 1]
    for index, (image, _) in enumerate(pairs):
        assert np.array_equal(source[index], np.asarray(image))
    assert source.split is not None
    assert source.split.tolist() == ["train", "train", "val", "val", "test", "test"]


def test_arrays_that_the_user_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.groups names an array"):
        open_source(write_food(tmp_path), groups="cook")


def test_a_damaged_list_is_told(tmp_path: Path) -> None:
    folder = write_food(tmp_path)
    (folder / "meta" / "test.json").write_text("{")
    with pytest.raises(DataError, match="Food101, part test"):
        open_source(folder)


def test_what_is_absent_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"data\.download=true"):
        open_source("flowers102")
