from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from domainjepa import catalog
from domainjepa.data.metadata import cards
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError, UserError

COUNTS = [1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873]
"""Of Galaxy10 DECaLS."""


def write_galaxy10(path: Path) -> Path:
    """Galaxy10 DECaLS in miniature: the real shapes and class counts, no pixels on disk."""
    draw = np.random.default_rng(0)
    samples = sum(COUNTS)
    ra, dec = draw.uniform(0, 360, samples), np.degrees(np.arcsin(draw.uniform(-0.3, 0.5, samples)))
    one, other = draw.permutation(samples)[:472].reshape(2, 236)
    ra[other], dec[other] = ra[one], dec[one] + draw.uniform(0, 60, 236) / 3600
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (samples, 256, 256, 3), "u1", chunks=(1, 256, 256, 3))
        file["ans"] = np.repeat(np.arange(10, dtype="u1"), COUNTS)
        for name, values in {"ra": ra, "dec": dec, "redshift": dec, "pxscale": dec}.items():
            file[name] = values
    return path


@pytest.fixture(scope="module")
def galaxy10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_galaxy10(tmp_path_factory.mktemp("data") / "Galaxy10_DECals.h5")


@pytest.mark.parametrize("name", catalog.names("datasets"))
def test_shipped_cards_are_valid(name: str) -> None:
    card = cards.load(catalog.find("datasets", name))
    assert card.name == name
    assert card.url or card.how
    assert card.files
    assert len(set(card.classes)) == len(card.classes)


def test_galaxy10_is_known_by_its_content(galaxy10: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "galaxies-from-a-friend.hdf5"
    renamed.symlink_to(galaxy10)
    source = open_source(renamed)
    assert source.name == "galaxy10-decals"
    assert source.card is not None
    assert source.card["domain"] == "astronomy"
    assert source.classes is not None
    assert source.classes[4] == "Cigar Shaped Smooth"
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == COUNTS
    assert any("galaxy10-decals" in line for line in source.decisions)


def test_galaxy10s_split_is_grouped_and_stratified(galaxy10: Path) -> None:
    source = open_source(galaxy10)
    assert source.split is not None
    assert source.groups is not None
    assert source.labels is not None
    # About the 11,008 training images of the paper.
    assert abs(len(source.rows("train")) - 11_008) < 20
    assert len(source.rows("train", "test")) == len(source) == 17_736
    # Every planted neighbour is in the same group, and no group is on both sides.
    sizes = np.bincount(source.groups)
    assert (sizes > 1).sum() >= 230
    sides = {(group, part) for group, part in zip(source.groups, source.split, strict=True)}
    assert len(sides) == len(sizes)
    for label, count in enumerate(COUNTS):
        own = source.split[source.labels == label]
        assert (own == "train").sum() / count == pytest.approx(11_008 / 17_736, abs=0.01)
    again = open_source(galaxy10)
    np.testing.assert_array_equal(source.split, again.split)


def test_a_file_with_its_own_split_keeps_it(tmp_path: Path) -> None:
    path = write_galaxy10(tmp_path / "set.h5")
    with h5py.File(path, "r+") as file:
        file["split"] = np.where(np.arange(17_736) < 100, b"test ", b"train")
    source = open_source(path)
    assert source.card is not None
    assert len(source.rows("test")) == 100


def test_labels_that_the_user_names_keep_their_own_classes(tmp_path: Path) -> None:
    path = write_galaxy10(tmp_path / "set.h5")
    with h5py.File(path, "r+") as file:
        file["barred"] = np.repeat([0, 1], 17_736 // 2)
    source = open_source(path, labels="barred")
    assert source.card is not None
    assert source.classes is None
    assert source.labels is not None
    assert source.labels.max() == 1


def test_a_label_below_zero_is_none_of_the_cards_classes(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    images = np.random.default_rng(0).integers(0, 255, (20, 28, 28), dtype=np.uint8)
    np.savez(path, images=images, labels=np.repeat([-1, 1], 10))
    with pytest.raises(DataError, match="has the label -1"):
        open_source(path)


def test_a_file_of_another_size_is_not_the_cards(tmp_path: Path) -> None:
    path = tmp_path / "Galaxy10_DECals.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((20, 256, 256, 3), np.uint8)
        for name in ("ans", "ra", "dec", "redshift", "pxscale"):
            file[name] = np.arange(20) % 10
    assert open_source(path).card is None


def test_a_name_finds_its_file_or_tells_where_to_get_it(
    galaxy10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DOMAINJEPA_DATA", raising=False)
    with pytest.raises(DataError) as caught:
        open_source("galaxy10-decals")
    for words in ("zenodo.org/records/10845026", "19aefc477c41bb7f", "./data", "DOMAINJEPA_DATA"):
        assert words in str(caught.value)
    monkeypatch.setenv("DOMAINJEPA_DATA", str(galaxy10.parent))
    assert open_source("galaxy10-decals").name == "galaxy10-decals"
    monkeypatch.delenv("DOMAINJEPA_DATA")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / galaxy10.name).symlink_to(galaxy10)
    assert len(open_source("galaxy10-decals")) == 17_736


def test_a_name_with_another_file_under_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("Galaxy10.h5", "w") as file:
        file["images"] = np.zeros((20, 69, 69, 3), np.uint8)
        file["ans"] = np.arange(20) % 10
    with pytest.raises(DataError, match="is not Galaxy10 SDSS: it has 20 samples"):
        open_source("galaxy10-sdss")


CARD = """
name = "mine"
title = "My set"
domain = "natural"
licence = "mine"
citation = "me"
files = ["mine.h5"]
classes = ["zero", "one", "two", "three"]
[read]
images = "cube"
labels = "morphology"
[match]
keys = ["cube", "morphology"]
"""


def test_a_card_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(CARD)
    with h5py.File("mine.h5", "w") as file:
        file["cube"] = file["decoy"] = np.zeros((8, 16, 16, 3), np.uint8)
        file["morphology"] = [0, 1, 3, 3, 0, 1, 3, 1]  # class 2 has no sample here
    source = open_source("mine.toml")
    assert source.name == "mine"
    assert source.classes == ("zero", "one", "two", "three")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 3, 3, 0, 1, 3, 1]


def test_blank_labels_stay_unlabelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rule = 'split = { rule = "grouped-stratified", shares = { train = 0.75, test = 0.25 } }'
    Path("mine.toml").write_text(CARD.replace("[read]", f"{rule}\n[read]"))
    with h5py.File("mine.h5", "w") as file:
        file["cube"] = file["decoy"] = np.zeros((8, 16, 16, 3), np.uint8)
        file["morphology"] = [1, np.nan, 3, 3, np.nan, 1, 3, 1]
    source = open_source("mine.toml")
    assert source.labels is not None
    assert source.labels.tolist() == [1, -1, 3, 3, -1, 1, 3, 1]
    assert source.split is not None
    assert (source.split == "train").sum() == 6


def test_a_domain_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(CARD.replace('"natural"', '"my_module:MyDomain"'))
    assert cards.load(path).domain == "my_module:MyDomain"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("licence", "license"), "license"),
        (('"natural"', '"natrual"'), "unknown domain 'natrual'. Did you mean natural"),
        (('"natural"', '"my_module:"'), "unknown domain 'my_module:'"),
        (("[match]", '[split]\nrule = "grouped-stratified"\nshares = {train = 0.5}\n[match]'), "1"),
        (("[match]", '[split]\nrule = "random"\nshares = {train = 1.0}\n[match]'), "rule"),
        (('keys = ["cube"', 'keys = ["cube", 3'), "keys"),
        (("[match]", "[match"), "cannot be read"),
    ],
)
def test_a_wrong_card_names_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(CARD.replace(*change))
    with pytest.raises(UserError, match=rf"mine\.toml.*{says}"):
        open_source("mine.toml")
