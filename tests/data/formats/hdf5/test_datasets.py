"""One group a sample, one scan a data set, one file a sample, shards of samples."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from domainjepa.data.formats.hdf5 import index
from domainjepa.data.formats.hdf5.datasets import DatasetsSource
from domainjepa.data.opening import open_source
from domainjepa.data.source import Source
from domainjepa.errors import DataError
from tests.data.fuzz import flip_bits

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 20, 24), dtype=np.uint8)
SCANS = [np.random.default_rng(n).normal(size=(9 + n, 20, 24)).astype("f4") for n in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.h5"


def groups(path: Path, **columns: list[Any]) -> Path:
    """12 groups g0 to g11 with an image, and these scalars beside it."""
    with h5py.File(path, "w") as file:
        for row, image in enumerate(IMAGES):
            group = file.create_group(f"g{row}")
            group["Img"] = image
            group["Img"].attrs["RA"] = row * 1.5
            for name, values in columns.items():
                group[name] = values[row]
    return path


def test_a_group_a_sample(path: Path) -> None:
    parts = ["train"] * 8 + ["test"] * 4
    labels = [float(row % 3) for row in range(12)]
    source = open_source(groups(path, Label_1=labels, Split_a=parts, Split_b=parts))
    assert (len(source), source.shape, source.dtype) == (12, (20, 24, 1), np.dtype("uint8"))
    for row in (11, 0, 10, 2):
        np.testing.assert_array_equal(source[row][..., 0], IMAGES[row])
    assert source.labels is not None
    assert source.labels.tolist() == [row % 3 for row in range(12)]
    assert source.split is not None
    assert source.split.tolist() == parts
    assert source.ids is not None
    assert source.ids.tolist() == [f"g{row}" for row in range(12)]
    np.testing.assert_array_equal(source.column("RA"), np.arange(12) * 1.5)
    np.testing.assert_array_equal(source.region(3, (2, 4), (9, 20))[..., 0], IMAGES[3, 2:9, 4:20])


@pytest.mark.parametrize("how", ["*/Label_b", "Label_b", "g0/Label_b"])
def test_labels_that_differ_are_a_choice(path: Path, how: str) -> None:
    one, other = [row % 3 for row in range(12)], [row % 4 for row in range(12)]
    groups(path, Label_a=one, Label_b=other)
    source = open_source(path)
    assert source.labels is None
    assert any("Label_a and Label_b differ. Pick one" in line for line in source.warnings)
    chosen = open_source(path, images="*/Img", labels=how)
    assert chosen.labels is not None
    assert chosen.labels.tolist() == other


def test_several_images_a_group_are_a_choice(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for row, image in enumerate(IMAGES):
            file[f"g{row}/noisy"], file[f"g{row}/clean"] = 255 - image, image
    with pytest.raises(DataError, match=r"pick the name: .*'\*/clean' or '\*/noisy'"):
        open_source(path)
    for chosen in ("*/clean", "clean"):
        np.testing.assert_array_equal(open_source(path, images=chosen)[4][..., 0], IMAGES[4])
    with pytest.raises(
        DataError, match=r"no such data sets. Its names are like \*/clean, \*/noisy"
    ):
        open_source(path, images="*/raw")


def test_scans_are_volumes_or_slices(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number, scan in enumerate(SCANS):
            file[f"scan_{number}"] = scan
    volumes = open_source(path, dimensions=3, images="*")
    assert (len(volumes), volumes.shape) == (3, (9, 20, 24, 1))
    for number, scan in enumerate(SCANS):
        np.testing.assert_array_equal(volumes[number][..., 0], scan)
        assert volumes.sides(number) == scan.shape
    np.testing.assert_array_equal(
        volumes.region(2, (3, 0, 5), (6, 20, 9))[..., 0], SCANS[2][3:6, :, 5:9]
    )


def test_scans_are_found_by_their_numbers(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number in range(3):
            file[f"scan_{number}"] = np.repeat(SCANS[number], 2, axis=0)  # deeper than channels
    assert len(open_source(path, dimensions=3)) == 3
    slices = open_source(path, axis="0")
    assert (len(slices), slices.shape) == (2 * (9 + 10 + 11), (20, 24, 1))
    np.testing.assert_array_equal(slices[18 + 5][..., 0], SCANS[1][2])
    assert slices.groups is not None
    assert len(set(slices.groups.tolist())) == 3


def test_two_arrays_of_other_names_stay_a_choice(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["raw"], file["mask"] = SCANS[0], SCANS[0] > 0
        file["other"] = SCANS[0]
    with pytest.raises(DataError, match=r"holds mask .*If each .* is a sample.*data\.images='\*'"):
        open_source(path, dimensions=3)
    np.testing.assert_array_equal(open_source(path, dimensions=3, images="r*")[0][..., 0], SCANS[0])


def test_parts_in_groups_are_stacks_of_samples(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for part, rows in {"train": slice(0, 9), "test": slice(9, 12)}.items():
            file[f"{part}/images"] = IMAGES[rows]
            file[f"{part}/labels"] = np.arange(12)[rows] % 2
    source = open_source(path)
    assert (len(source), source.shape) == (12, (20, 24, 1))
    assert source.split is not None
    assert source.labels is not None
    order = [9, 10, 11, *range(9)]  # test goes before train by name
    assert source.split.tolist() == ["test"] * 3 + ["train"] * 9
    assert source.labels.tolist() == [row % 2 for row in order]
    for place, row in enumerate(order):
        np.testing.assert_array_equal(source[place][..., 0], IMAGES[row])


def test_a_folder_and_a_table_of_files(tmp_path: Path) -> None:
    lines = ["file,label"]
    for row in range(4):
        file = tmp_path / "ab"[row % 2] / f"{row}.h5"
        file.parent.mkdir(exist_ok=True)
        with h5py.File(file, "w") as made:
            made["image"] = IMAGES[row]
            made["mass"] = row / 2
        lines.append(f"{file.relative_to(tmp_path)},{row % 2}")
    folder = open_source(tmp_path)
    assert (folder.loader, folder.classes) == ("hdf5", ("a", "b"))
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table = open_source(tmp_path / "t.csv")
    for source, order in ((folder, [0, 2, 1, 3]), (table, [0, 1, 2, 3])):
        for place, row in enumerate(order):
            np.testing.assert_array_equal(source[place][..., 0], IMAGES[row])
    np.testing.assert_array_equal(folder.column("mass"), np.array([0, 2, 1, 3]) / 2)
    assert table.labels is not None
    assert table.labels.tolist() == [0, 1, 0, 1]


def test_a_folder_of_shards(tmp_path: Path) -> None:
    for name, rows in {
        "train_0": slice(0, 5),
        "train_1": slice(5, 9),
        "val_0": slice(9, 12),
    }.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["images"], file["labels"] = IMAGES[rows], np.arange(12)[rows] % 3
    source = open_source(tmp_path)
    assert len(source) == 12
    assert source.labels is not None
    assert source.labels.tolist() == [row % 3 for row in range(12)]
    assert source.split is not None
    assert source.split.tolist() == ["train"] * 9 + ["val"] * 3
    np.testing.assert_array_equal(source[7][..., 0], IMAGES[7])


@pytest.mark.parametrize("how", ["external", "soft", "raw"])
def test_no_group_leads_out_of_the_file(path: Path, how: str) -> None:
    secret = path.parent / "elsewhere"
    secret.mkdir()
    with h5py.File(secret / "s.h5", "w") as file:
        file["Img"] = IMAGES[0]
    (secret / "s.raw").write_bytes(IMAGES[0].tobytes())
    with h5py.File(groups(path), "r+") as file:
        del file["g5/Img"]
        if how == "external":
            file["g5/Img"] = h5py.ExternalLink("elsewhere/s.h5", "/Img")
        elif how == "soft":
            file["out"] = h5py.ExternalLink("elsewhere/s.h5", "/")
            file["g5/Img"] = h5py.SoftLink("/out/Img")
        else:
            raw = [(str(secret / "s.raw"), 0, IMAGES[0].nbytes)]
            file["g5"].create_dataset("Img", IMAGES[0].shape, "u1", external=raw)
    with pytest.raises(DataError, match=r"(g5/Img|out)' in set\.h5 .* not followed"):
        open_source(path)


def test_a_link_in_another_file_is_no_sample(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = IMAGES[0]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["image"] = h5py.ExternalLink("/etc/secret.h5", "/image")
    with pytest.raises(DataError, match=r"sample 1.*in b\.h5.*is a link, which is not followed"):
        open_source(tmp_path)[1]


def test_groups_that_are_not_alike_say_which(path: Path) -> None:
    with h5py.File(groups(path), "r+") as file:
        del file["g7/Img"]
        file["g7/Img"] = IMAGES[7].astype("f4")
    source = open_source(path)
    with pytest.raises(DataError, match=r"sample 7, 'g7/Img' in set\.h5.*float32"):
        source[7]


def _read(source: Source) -> np.ndarray:
    return source[9]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it(path: Path, method: str) -> None:
    source = open_source(groups(path))
    source[0]
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        np.testing.assert_array_equal(pool.submit(_read, source).result()[..., 0], IMAGES[9])


def test_many_links_to_one_group_are_quick(path: Path) -> None:
    with h5py.File(groups(path), "r+") as file:
        for number in range(3_000):
            file[f"link{number}"] = h5py.SoftLink("/g0")
    begin = time.process_time()
    assert len(open_source(path)) == 12
    assert time.process_time() - begin < 2


def test_flipped_bits_give_an_array_or_an_error(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for row in range(3):
            options = {"chunks": (10, 12), "compression": "gzip", "fletcher32": True}
            file.create_dataset(f"g{row}/Img", data=IMAGES[row], **options)
            file[f"g{row}/label"] = row % 2
    flip_bits(path, 30)


def test_many_groups_are_visited_once_and_what_is_kept_names_nobody(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(cache))
    with h5py.File(path, "w") as file:
        for row in range(520):
            group = file.create_group(f"meier_{row}")
            group["Img"] = np.full((8, 9), row, np.uint16)
            group["Label"] = row % 3
            group["Town"] = "Zagreb" if row % 2 else "Linz"
    first = open_source(path, labels="Town")
    kept = list(cache.rglob("*.sealed"))
    assert len(kept) == 2  # the objects, and the column of labels
    assert all(name not in one.read_bytes() for one in kept for name in (b"meier", b"Zagreb"))
    monkeypatch.setattr(index, "look", None)  # would be called without what is kept
    monkeypatch.setattr(DatasetsSource, "_column", None)
    second = open_source(path, labels="Town")
    assert second.decisions == first.decisions
    assert second.class_names(range(3)) == ["Linz", "Zagreb", "Linz"]
    np.testing.assert_array_equal(second[519][..., 0], np.full((8, 9), 519))
    monkeypatch.undo()
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(cache))
    shutil.copy(path, tmp_path / "new.h5")
    with h5py.File(tmp_path / "new.h5", "r+") as file:
        file["meier_519/Town"][()] = "Graz"
    (tmp_path / "new.h5").replace(path)
    changed = open_source(path, labels="Town")
    assert changed.class_names([517, 519]) == ["Zagreb", "Graz"]
