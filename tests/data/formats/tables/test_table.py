from __future__ import annotations

import csv
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from domainjepa.data.formats.images.loader import ImagesLoader
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.fuzz import FUZZ, flip_bits

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 20, 30, 3), dtype=np.uint8)


def table(path: Path, /, **columns: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Names of four pictures below tmp_path."""
    names = [f"sub/{number}.png" for number in range(4)]
    (tmp_path / "sub").mkdir()
    for name, pixels in zip(names, PIXELS, strict=False):
        Image.fromarray(pixels).save(tmp_path / name)
    return names


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_samples_with_their_columns(
    tmp_path: Path, pictures: list[str], suffix: str
) -> None:
    order = [2, 0, 3, 2]
    path = table(
        tmp_path / f"t.{suffix}",
        filename=[pictures[number] for number in order],
        label=["spiral", "disk", "disk", "spiral"],
        patient=["b", "a", "a", "b"],
        split=["train", "test", "val", "train"],
        objid=[11, 12, 13, 14],
        redshift=[0.1, 0.2, 0.3, 0.4],
    )
    source = open_source(path)
    assert (source.name, source.loader, source.origin) == ("t", "table", "images")
    assert (source.shape, source.dtype) == ((20, 30, 3), np.dtype("uint8"))
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 0, 1]
    assert source.classes == ("disk", "spiral")
    assert source.groups is not None
    assert source.groups.tolist() == [1, 0, 0, 1]
    assert source.split is not None
    assert source.split.tolist() == ["train", "test", "val", "train"]
    assert source.ids is not None
    assert source.ids.tolist() == ["11", "12", "13", "14"]
    assert set(source.keys) == {"filename", "label", "patient", "split", "objid", "redshift"}
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    np.testing.assert_array_equal(copy.column("redshift"), [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(np.stack(list(copy)), PIXELS[order])
    np.testing.assert_array_equal(source.region(1, (2, 3), (9, 11)), PIXELS[0, 2:9, 3:11])
    assert source.decisions[0] == "paths: column 'filename', 3 files, 4 rows"
    with pytest.raises(DataError, match="Did you mean redshift"):
        source.column("redshft")


def test_the_user_names_columns(tmp_path: Path, pictures: list[str]) -> None:
    path = table(tmp_path / "t.csv", what=pictures, kind=["a", "b", "a", "b"], label=[0, 1, 1, 0])
    with pytest.raises(DataError, match=r"no column of paths; its columns are what, kind, label"):
        open_source(path)
    source = open_source(path, images="what", labels="kind")
    assert source.classes == ("a", "b")
    with pytest.raises(DataError, match=r"data\.images=wat.*Did you mean what"):
        open_source(path, images="wat")


def test_of_two_columns_of_paths_the_one_with_files_is_taken(
    tmp_path: Path, pictures: list[str]
) -> None:
    bare = [name.removeprefix("sub/") for name in pictures]
    assert len(open_source(table(tmp_path / "t.csv", file=bare, path=pictures))) == 4
    with pytest.raises(DataError, match=r"several columns of paths; they are file, path"):
        open_source(table(tmp_path / "t.csv", file=pictures, path=pictures))


def test_whole_numbers_are_classes_in_their_own_order(tmp_path: Path, pictures: list[str]) -> None:
    source = open_source(table(tmp_path / "t.csv", path=pictures, label=[10, 9, 10, 9]))
    assert source.classes == ("9", "10")
    floats = open_source(table(tmp_path / "t.csv", path=pictures, label=[0.5, 1, 2, 3]))
    assert floats.labels is None
    assert any("no class labels" in line for line in floats.decisions)


def test_y_beside_x_is_no_label(tmp_path: Path, pictures: list[str]) -> None:
    path = table(tmp_path / "t.csv", path=pictures, x=[1, 2, 3, 4], y=[0, 1, 0, 1])
    assert open_source(path).labels is None
    assert open_source(path, labels="y").labels is not None
    assert open_source(table(tmp_path / "t.csv", path=pictures, y=[0, 1, 0, 1])).labels is not None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.png", r"t\.csv, column 'path': 1 of 4 paths lead to no file.*row 2 'gone\.png'"),
        ("../secret.png", r"lead out of the folder of the images.*row 2"),
        ("link.png", r"are links.*row 2 'link\.png'"),
    ],
)
def test_bad_paths_name_row_and_column(
    tmp_path: Path, pictures: list[str], name: str, says: str
) -> None:
    (tmp_path / "link.png").symlink_to(pictures[0])
    pictures[2] = name
    with pytest.raises(DataError, match=says):
        open_source(table(tmp_path / "t.csv", path=pictures))


def test_a_file_that_goes_is_an_error_when_read(tmp_path: Path, pictures: list[str]) -> None:
    source = open_source(table(tmp_path / "t.csv", path=pictures))
    (tmp_path / pictures[2]).unlink()
    with pytest.raises(DataError, match=r"sample 2, sub/2\.png, cannot be read: .*No such file"):
        source[2]


def test_mixed_formats_are_refused_with_the_choices(tmp_path: Path, pictures: list[str]) -> None:
    np.save(tmp_path / "a.npy", PIXELS[0])
    with pytest.raises(DataError, match=r"several formats: row 0 is JPEG.*row 4 is Num"):
        open_source(table(tmp_path / "t.csv", path=[*pictures, "a.npy"]))


def test_volumes_of_a_table_become_slices_with_its_labels(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volumes = np.random.default_rng(0).integers(1, 99, (2, 12, 14, 5), dtype=np.int16)
    names = [f"{number}.nii" for number in range(2)]
    for name, volume in zip(names, volumes, strict=True):
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 3, 1])), tmp_path / name)
    path = table(tmp_path / "t.csv", path=names, label=["ill", "well"], patient=["b", "a"])
    source = open_source(path)
    assert (len(source), source.shape, source.classes) == (10, (14, 12, 1), ("ill", "well"))
    assert source.labels is not None
    assert source.labels.tolist() == [0] * 5 + [1] * 5
    assert source.groups is not None
    assert source.groups.tolist() == [1] * 5 + [0] * 5
    whole = open_source(path, dimensions=3)
    assert (len(whole), whole.shape) == (2, (5, 14, 12, 1))
    np.testing.assert_array_equal(np.sort(whole[1], axis=None), np.sort(volumes[1], axis=None))


def test_a_format_of_several_samples_a_file_is_refused(
    tmp_path: Path, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImagesLoader.open_files
    monkeypatch.setattr(
        ImagesLoader,
        "open_files",
        lambda self, root, files, options: whole(self, root, [*files, files[0]], options),
    )
    with pytest.raises(DataError, match=r"4 rows, and their files hold 5 samples"):
        open_source(table(tmp_path / "t.csv", path=pictures))


def test_no_rows_and_tables_of_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv has no rows"):
        open_source(table(tmp_path / "t.csv", path=[]))
    with pytest.raises(DataError, match=r"names tables"):
        open_source(table(tmp_path / "u.csv", path=["t.csv"]))


def test_something_else_of_that_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"path\na\0.png\n")
    with pytest.raises(DataError, match=r"t\.csv is named like a CSV"):
        open_source(tmp_path / "t.csv")


def test_another_encoding_asks_for_utf_8(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("path,label\na.png,é\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"t\.csv is not in UTF-8.*: save it as UTF-8\.$"):
        open_source(tmp_path / "t.csv")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_blank_label_or_patient_leaves_the_others_as_they_are(
    tmp_path: Path, pictures: list[str], suffix: str
) -> None:
    path = table(
        tmp_path / f"t.{suffix}",
        path=[*pictures, *pictures],
        label=[1, None, 0, 1, 0, 1, None, 0],
        PatientID=[7, 7, None, 9, 9, None, 8, 8],
    )
    source = open_source(path)
    assert source.labels is not None
    assert source.labels.tolist() == [1, -1, 0, 1, 0, 1, -1, 0]
    assert source.classes is None
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 3, 2, 2, 4, 1, 1]
    assert any("'PatientID' is blank for 2 of 8 samples" in text for text in source.warnings)
    named = open_source(path, groups="PatientID")
    assert named.groups is not None
    assert named.groups.tolist() == source.groups.tolist()


def test_subjects_in_the_names_of_volumes_are_groups(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    names = [f"sub-{name}_ses-{ses}_T1w.nii" for name in "BA" for ses in "12"]
    for name in names:
        nibabel.save(nibabel.Nifti1Image(PIXELS[0, ..., 0:1] + 1, np.eye(4)), tmp_path / name)
    source = open_source(table(tmp_path / "t.csv", path=names, label=["a", "b"] * 2), dimensions=3)
    assert source.groups is not None
    assert source.groups.tolist() == [1, 1, 0, 0]
    parting = table(tmp_path / "u.csv", path=names, group=[0, 1, "", 1])  # arms of a study
    source = open_source(parting, dimensions=3)
    assert source.groups is not None
    assert source.groups.tolist() == [1, 1, 0, 0]
    assert [text for text in source.warnings if "blank" in text] == []


def test_long_texts_are_no_labels(tmp_path: Path, pictures: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("domainjepa.data.formats.tables.roles.MOST_BYTES", 1_000)
    path = table(tmp_path / "t.csv", path=pictures, label=["a", "b" * 100, "a", "b"])
    with pytest.raises(DataError, match=r"column 'label' of t\.csv has a field of 100 characters"):
        open_source(path)


def test_the_fingerprint_changes_with_the_table(tmp_path: Path, pictures: list[str]) -> None:
    prints = set()
    for split in ("train", "test"):
        path = table(tmp_path / "t.csv", path=pictures, split=["train", "train", "test", split])
        prints.add(open_source(path).fingerprint())
    assert len(prints) == 2


def test_a_million_rows_open(tmp_path: Path, pictures: list[str]) -> None:
    path = tmp_path / "t.parquet"
    rows = 1_000_000
    names = pa.array(pictures).take(pa.array(np.arange(rows) % 4))
    pq.write_table(pa.table({"path": names, "label": np.arange(rows) % 10}), path)
    source = open_source(path)
    assert len(source) == rows
    np.testing.assert_array_equal(source[rows - 1], PIXELS[3])


def test_flipped_bits_give_an_array_or_an_error(tmp_path: Path, pictures: list[str]) -> None:
    path = table(tmp_path / "t.csv", path=pictures, label=[0, 1, 0, 1])
    beside = "bad.write_bytes(content)\n    (folder / 'sub').mkdir(); " + "; ".join(
        f"(folder / {name!r}).write_bytes((good.parent / {name!r}).read_bytes())"
        for name in pictures
    )
    flip_bits(path, 100, program=FUZZ.replace("bad.write_bytes(content)", beside))


def test_two_patients_whose_numbers_look_like_powers(tmp_path: Path, pictures: list[str]) -> None:
    path = table(tmp_path / "t.csv", path=pictures, patient=["1E2", "10E1", "1E2", "100"])
    groups = open_source(path).groups
    assert groups is not None
    assert groups.tolist() == [2, 1, 2, 0]


def test_rows_that_share_an_identifier_are_hinted_at(tmp_path: Path, pictures: list[str]) -> None:
    path = table(tmp_path / "t.csv", path=pictures, study_id=[1, 1, 2, 2])
    source = open_source(path)
    assert source.groups is None
    (hint,) = [text for text in source.warnings if text.startswith("groups:")]
    assert "study_id (2)" in hint
    assert "--set data.groups=study_id" in hint
    assert not open_source(path, groups="study_id").warnings


def test_a_blank_is_kept_out_of_columns_by_its_name(tmp_path: Path, pictures: list[str]) -> None:
    path = table(tmp_path / "t.csv", path=pictures, z=["1", "-9", "3", "unknown"])
    source = open_source(path, blank=("-9", "unknown"))
    np.testing.assert_array_equal(source.column("z"), [1, np.nan, 3, np.nan])


def test_ids_of_medical_tables_become_hashes(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    for number in range(2):
        image = nibabel.Nifti1Image(np.ones((6, 6, 6), np.int16), np.eye(4))
        nibabel.save(image, tmp_path / f"{number}.nii")
    path = table(tmp_path / "t.csv", path=["0.nii", "1.nii"], who=["smith", "jones"])
    ids = open_source(path, ids="who", dimensions=3).ids
    assert ids is not None
    assert len(set(ids.tolist())) == 2
    assert not {"smith", "jones"} & set(ids.tolist())
    where = open_source(path, where=("who=smith",), dimensions=3)
    assert len(where) == 1
    assert "smith" not in " ".join(where.decisions)
