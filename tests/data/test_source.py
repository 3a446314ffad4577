from __future__ import annotations

import gc
import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest

from domainjepa.data.opening import open_source
from domainjepa.data.source import Image, OpenOptions, Source, spread
from domainjepa.errors import DataError, UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


def mine(path: Path, options: OpenOptions) -> Source:
    """A loader of one's own, as `--loader module:mine` finds it."""
    return Ramp(name=path.stem, loader="mine", shape=(4, 4, 1), dtype=np.dtype("float32"))


class Ramp(Source):
    def __len__(self) -> int:
        return 10

    def __getitems__(self, indices: list[int]) -> list[Image]:  # type: ignore[override]
        return [np.full((4, 4, 1), index, np.float32) for index in indices]

    def content_key(self) -> str:
        return "ramp"


@pytest.fixture
def hdf5(tmp_path: Path) -> Path:
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=(1, 16, 16, 3))
        file["ans"] = np.arange(12) % 3
        file["split"] = np.array([b"train"] * 6 + [b"val"] * 2 + [b"test"] * 4)
    return path


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.h5", b"ra,dec\n1,2\n", "named like HDF5.*it is text"),
        ("page.h5", b"<!DOCTYPE html><html>", "web page"),
        ("pointer.npz", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("empty.h5", b"", "0 bytes"),
        ("one.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "one image; give the folder"),
        ("noise.bin", bytes(range(256)), "no known format"),
    ],
)
def test_a_file_that_is_no_data_is_named_for_what_it_is(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*{says}") as caught:
        open_source(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)


def test_a_missing_file_names_its_neighbour(hdf5: Path) -> None:
    with pytest.raises(DataError, match=r"'sett\.h5'.*Did you mean set\.h5\?") as caught:
        open_source(hdf5.with_name("sett.h5"))
    assert str(hdf5.parent) not in str(caught.value)


def test_a_missing_card_names_its_neighbour(tmp_path: Path, monkeypatch: object) -> None:
    with pytest.raises(DataError, match="Did you mean galaxy10-decals"):
        open_source("galaxy10-decal")


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds no images; it has 1 \.doc"):
        open_source(tmp_path)


def test_content_decides_before_the_suffix(hdf5: Path) -> None:
    renamed = hdf5.rename(hdf5.with_suffix(".dat"))
    assert open_source(renamed).loader == "hdf5"


def test_opening_leaves_the_garbage_collector_as_it_was(hdf5: Path, tmp_path: Path) -> None:
    before = gc.get_threshold()
    open_source(hdf5)
    with pytest.raises(DataError):
        open_source(tmp_path / "absent.h5")
    assert gc.get_threshold() == before


def test_an_option_that_does_not_exist_is_refused(hdf5: Path) -> None:
    with pytest.raises(UserError, match="Did you mean labels"):
        open_source(hdf5, labls="ans")


def test_options_that_the_data_cannot_have_are_refused(hdf5: Path) -> None:
    with pytest.raises(DataError, match=r"data\.neighbours joins slices .* no slices"):
        open_source(hdf5, neighbours=1)
    with pytest.raises(DataError, match=r"data\.axis=axial .* no slices"):
        open_source(hdf5, axis="axial")
    with pytest.raises(DataError, match=r"no channel of set is called .u.*: 0, 1, 2"):
        open_source(hdf5, bands=tuple("ugrizyJ"))


def test_a_function_is_a_loader(tmp_path: Path) -> None:
    path = tmp_path / "scan.raw"
    path.write_bytes(b"anything")
    source = open_source(path, loader=f"{__name__}:mine")
    assert source.name == "scan"
    assert source[3].max() == 3
    with pytest.raises(DataError, match="no column 'ra'"):
        source.column("ra")


def test_an_unknown_loader_is_refused(hdf5: Path) -> None:
    with pytest.raises(UserError, match="Did you mean hdf5"):
        open_source(hdf5, loader="hdf")


def test_rows_of_splits(hdf5: Path) -> None:
    source = open_source(hdf5)
    assert source.rows("train", "val").tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert source.rows("test").tolist() == [8, 9, 10, 11]
    assert source.rows().tolist() == list(range(12))
    assert source.labels is not None
    source.labels[[1, 9]] = -1
    assert source.rows("train", "val", labelled=True).tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert source.rows(labelled=True).tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    source.labels = None
    assert source.rows("train", labelled=True).tolist() == []


def test_items_by_any_index(hdf5: Path) -> None:
    source = open_source(hdf5)
    np.testing.assert_array_equal(source[-1], IMAGES[-1])
    np.testing.assert_array_equal(source[np.int64(4)], IMAGES[4])
    for wrong in (12, -13):
        with pytest.raises(IndexError):
            source[wrong]
    with pytest.raises(IndexError):
        source.__getitems__([0, 12])
    assert len(list(source)) == 12


def test_the_fingerprint_changes_with_a_row_and_with_a_label(hdf5: Path) -> None:
    before = open_source(hdf5).fingerprint()
    assert open_source(hdf5).fingerprint() == before
    with h5py.File(hdf5, "r+") as file:
        file["images"][5, 3, 3, 0] ^= 1
    changed = open_source(hdf5).fingerprint()
    assert changed != before
    with h5py.File(hdf5, "r+") as file:
        file["ans"][2] = 0
    assert open_source(hdf5).fingerprint() not in (before, changed)


class Torn(Ramp):
    """Some samples cannot be read."""

    torn: frozenset[int] = frozenset()

    def __getitems__(self, indices: list[int]) -> list[Image]:  # type: ignore[override]
        for index in indices:
            if index in self.torn:
                raise DataError(f"sample {index} is torn")
        return super().__getitems__(indices)


def test_data_with_an_unreadable_sample_have_a_fingerprint() -> None:
    def fingerprint(*torn: int) -> str:
        source = Torn(name="t", loader="t", shape=(4, 4, 1), dtype=np.dtype("float32"))
        source.torn = frozenset(torn)
        return source.fingerprint()

    found = [fingerprint(), fingerprint(3), fingerprint(4), fingerprint(3, 4)]
    assert len(set(found)) == 4
    assert fingerprint(3) == found[1]


def read_sum(source: Source, row: int, results: multiprocessing.SimpleQueue[int]) -> None:
    results.put(int(source[row].sum()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["hdf5", "npz"])
def test_a_source_that_was_read_from_is_read_in_another_process(
    hdf5: Path, method: str, kind: str
) -> None:
    path = hdf5
    if kind == "npz":
        path = hdf5.with_suffix(".npz")
        np.savez_compressed(path, images=IMAGES)
    source = open_source(path)
    _ = source[0]  # the handle is open when the process starts
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    process = context.Process(target=read_sum, args=(source, 7, results))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert results.get() == int(IMAGES[7].sum())
    np.testing.assert_array_equal(source[2], IMAGES[2])  # and still here


def test_pickling_leaves_the_handle_behind(hdf5: Path) -> None:
    source = open_source(hdf5)
    _ = source[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[5], IMAGES[5])  # noqa: S301


@pytest.mark.parametrize("samples", [1, 2, 15, 16, 1000])
def test_spread_reaches_both_ends(samples: int) -> None:
    chosen = spread(samples, 16)
    assert chosen[0] == 0
    assert chosen[-1] == samples - 1
    assert len(chosen) == min(samples, 16)


def test_a_folder_is_of_the_format_that_most_of_its_files_have(tmp_path: Path) -> None:
    for number in range(6):
        PIL.Image.fromarray(np.full((20, 20), number, np.uint8)).save(tmp_path / f"{number}.png")
    np.save(tmp_path / "mask.npy", np.zeros((20, 20), np.uint8))
    source = open_source(tmp_path)
    assert (source.loader, len(source)) == ("images", 6)
    assert any(
        "left out: 1 files of other formats (1 .npy); --loader arrays" in line
        for line in source.warnings
    )
    np.save(tmp_path / "a.npy", np.zeros((20, 20), np.uint8))
    np.save(tmp_path / "b.npy", np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match="several formats"):
        open_source(tmp_path)


def test_a_sample_without_a_label_has_no_class_name(hdf5: Path) -> None:
    source = open_source(hdf5)
    assert source.labels is not None
    assert source.class_names([0]) is None  # numbers alone
    source.labels[:3] = 0, -1, 1
    source.classes = tuple("abcdefghij")
    assert source.class_names([1, 2, 0]) == ["", "b", "a"]
