from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domainjepa.data.files.index import MANY
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.tables.test_table import table

TEMPLATE = "files/p{subject_id:.2}/p{subject_id}/s{study_id}/{dicom_id}.png"


@pytest.fixture
def scans(tmp_path: Path) -> dict[str, list[str]]:
    """Columns of six scans of three patients, as MIMIC-CXR has them, and the files."""
    columns: dict[str, list[str]] = {"subject_id": [], "study_id": [], "dicom_id": [], "view": []}
    for number in range(6):
        subject, study, scan = f"1{number // 2}000032", f"{50 + number}", f"0{number}-e4"
        folder = tmp_path / "store" / f"files/p1{number // 2}/p{subject}/s{study}"
        folder.mkdir(parents=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(folder / f"{scan}.png")
        for name, cell in zip(columns, (subject, study, scan, "PA"), strict=True):
            columns[name].append(cell)
    return columns


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_paths_are_made_of_columns_below_a_root(
    tmp_path: Path, scans: dict[str, list[str]], suffix: str
) -> None:
    path = table(tmp_path / f"tables/t.{suffix}", **scans)
    source = open_source(path, root=str(tmp_path / "store"), images=TEMPLATE)
    assert [int(image[0, 0, 0]) for image in source] == list(range(6))
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.decisions[0] == f"paths: {TEMPLATE}, 6 files, 6 rows"


def test_a_blank_does_not_put_a_point_into_ids(tmp_path: Path, scans: dict[str, list[str]]) -> None:
    scans["subject_id"] = [f"{one}.0" for one in scans["subject_id"]]
    path = table(tmp_path / "t.csv", **scans)
    assert len(open_source(path, root=str(tmp_path / "store"), images=TEMPLATE)) == 6


def test_zeros_in_front(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "img_0007.png")
    path = table(tmp_path / "t.csv", number=[7])
    assert len(open_source(path, images="img_{number:04}.png")) == 1


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("../{dicom_id}.png", "may not lead out of data.root"),
        ("a/../../{dicom_id}.png", "may not lead out of data.root"),
        ("{subject}/x.png", "no column 'subject'. Did you mean subject_id"),
        ("{dicom_id.__class__}", "no column 'dicom_id.__class__'"),
        ("{dicom_id!r}", "name a column between"),
        ("{}", "name a column between"),
        ("{dicom_id", "expected '}'"),
        ("{dicom_id:>9}", "is not known"),
        ("{{}}", "names no column"),
        ("/etc/{dicom_id}", "lead out of the folder of the images"),
        ("{dicom_id}.png", "lead to no file"),
    ],
)
def test_templates_that_lead_nowhere_are_told(
    tmp_path: Path, scans: dict[str, list[str]], template: str, says: str
) -> None:
    path = table(tmp_path / "t.csv", **scans)
    # An id that lies elsewhere below the root is found, so here the ids are others.
    scans["dicom_id"] = [f"x{one}" for one in scans["dicom_id"]]
    path = table(tmp_path / "t.csv", **scans)
    with pytest.raises(DataError, match=says):
        open_source(path, root=str(tmp_path / "store"), images=template)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("..", "lead out of the folder"),
        ("../../../../x", "lead out of the folder"),
        ("a/../../..", "lead out of the folder"),
        ("..\\..", "lead out of the folder"),
        ("/etc/passwd", "lead out of the folder"),
        ("", "are blank"),
        ("a\0b", "lead out of the folder"),
    ],
)
def test_hostile_cells_are_refused(
    tmp_path: Path, scans: dict[str, list[str]], cell: str, says: str
) -> None:
    scans["study_id"][4] = cell
    path = table(tmp_path / "t.parquet", **scans)
    with pytest.raises(DataError, match=rf"1 of 6 rows have a 'study_id'.*{says}.*row 4"):
        open_source(path, root=str(tmp_path / "store"), images=TEMPLATE)


def test_roots(tmp_path: Path, scans: dict[str, list[str]]) -> None:
    path = table(tmp_path / "t.csv", **scans)
    with pytest.raises(DataError, match=r"data\.root=/nonexistent is no folder"):
        open_source(path, root="/nonexistent", images=TEMPLATE)
    np.save(tmp_path / "x.npy", np.zeros((4, 8, 8)))
    with pytest.raises(DataError, match=r"leave data\.root out"):
        open_source(tmp_path / "x.npy", root=str(tmp_path))


def test_the_second_opening_lists_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "root"
    for number in range(MANY):
        folder = root / f"p{number // 100}"
        folder.mkdir(parents=True, exist_ok=True)
        if number == 0:
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "smith-0.png")
        else:
            os.link(root / "p0/smith-0.png", folder / f"smith-{number}.png")
    for folder in (root, *root.iterdir()):
        os.utime(folder, (1e9, 1e9))
    ids = [f"smith-{number}" for number in range(MANY)]
    path = table(tmp_path / "t.csv", p=[number // 100 for number in range(MANY)], id_=ids)

    def opened() -> int:
        return len(open_source(path, root=str(root), images="p{p}/{id_}"))

    assert opened() == MANY
    listed: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda where: (listed.append(str(where)), scan(where))[1])
    assert opened() == MANY
    assert [where for where in listed if str(root) in where] == []
    (root / "p1/smith-120.png").unlink()
    with pytest.raises(DataError, match="1 of 500 paths lead to no file"):
        opened()
    (root / "p1/smith-120.png").symlink_to("../p0/smith-0.png")
    with pytest.raises(DataError, match="are links"):
        opened()
    kept = b"".join(file.read_bytes() for file in (tmp_path / "cache").rglob("*.json"))
    assert kept
    assert b"smith" not in kept
