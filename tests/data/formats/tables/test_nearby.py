from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.tables.test_table import table


def pictures(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(root / name)


@pytest.mark.parametrize(
    ("disk", "told"),
    [
        (["ISIC_1.jpg", "ISIC_10.jpg"], ["ISIC_1", "ISIC_10"]),
        (["ISIC_1.jpg", "ISIC_2.png"], ["ISIC_1", "ISIC_2"]),
        (["part_1/ISIC_1.jpg", "part_2/ISIC_2.jpg"], ["ISIC_1", "ISIC_2"]),
        (["part_1/ISIC_1.jpg", "part_2/ISIC_2.jpg"], ["ISIC_1.jpg", "ISIC_2.jpg"]),
        (["img.PNG", "b.png"], ["img.png", "B.PNG"]),
        (["Images/A.png", "Images/b.png"], ["images/a.png", "images/b.png"]),
        ([unicodedata.normalize("NFD", "Müller.png"), "b.png"], ["Müller.png", "b.png"]),
        (
            [unicodedata.normalize("NFC", "é.png"), "b.png"],
            [unicodedata.normalize("NFD", "é"), "b"],
        ),
        (["a.1.png", "b.png"], ["a.1", "b.png"]),
        (["train/a.png", "b.png"], ["CheXpert-v1.0/train/a.png", "CheXpert-v1.0/b.png"]),
        (["train/a.png", "b.png"], ["/home/alice/set/train/a.png", "/home/alice/set/b.png"]),
        (["train/a.png", "b.png"], ["C:\\set\\train\\a.png", "C:\\set\\b.png"]),
        (["train/a.png", "b.png"], ["/home/alice/set/train/a", "/home/alice/set/b"]),
    ],
)
def test_names_that_are_nearly_there_are_found(
    tmp_path: Path, disk: list[str], told: list[str]
) -> None:
    pictures(tmp_path, *disk)
    source = open_source(table(tmp_path / "t.csv", file=told))
    assert [int(image[0, 0, 0]) for image in source] == [0, 1]
    assert any(line.startswith("paths: ") for line in source.decisions[1:])


@pytest.mark.parametrize(
    ("disk", "told", "says"),
    [
        (
            ["img.png", "img.jpg"],
            "img",
            r"there is 'img\.jpg' or 'img\.png'|'img\.png' or 'img\.jpg",
        ),
        (["a/x.png", "b/x.png"], "x.png", r"'a/x\.png' or 'b/x\.png'"),
        (["ISIC_1.png"], "ISIC_2.png", r"there is 'ISIC_1\.png'"),
        (["train/a.png", "b.png"], "/home/alice/c.png", "lead out of the folder"),
    ],
)
def test_what_is_not_certain_is_told(tmp_path: Path, disk: list[str], told: str, says: str) -> None:
    pictures(tmp_path, *disk)
    with pytest.raises(DataError, match=says):
        open_source(table(tmp_path / "t.csv", file=[told]))


def test_folders_that_differ_are_not_left_out(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png")
    with pytest.raises(DataError, match="lead to no file"):
        open_source(table(tmp_path / "t.csv", file=["train/a.png", "test/a.png"]))


def test_a_path_of_this_machine_is_not_taken_for_another(tmp_path: Path) -> None:
    pictures(tmp_path, "root/x/a.png", "outside/x/a.png")
    path = table(tmp_path / "root/t.csv", file=[str(tmp_path / "outside/x/a.png")])
    with pytest.raises(DataError, match="lead out of the folder of the images"):
        open_source(path)


def test_links_found_by_a_near_name_are_links(tmp_path: Path) -> None:
    pictures(tmp_path, "root/a.png", "secret.png")
    (tmp_path / "root/ID_1.png").symlink_to("../secret.png")
    (tmp_path / "root/sub").mkdir()
    (tmp_path / "root/sub/ID_2.png").symlink_to("../../secret.png")
    for name in ("ID_1", "id_1.png", "ID_2", "sub/id_2.png"):
        for follow in (False, True):
            with pytest.raises(DataError, match="are links"):
                open_source(table(tmp_path / "root/t.csv", file=[name]), follow_links=follow)


def test_links_to_files_below_the_root_are_followed(tmp_path: Path) -> None:
    pictures(tmp_path, "store/a.png", "store/b.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/1.png").symlink_to("../store/a.png")
    (tmp_path / "set/2.png").symlink_to("../store/b.png")
    path = table(tmp_path / "set/t.csv", file=["set/1.png", "set/2.png"])
    source = open_source(path, root=str(tmp_path), follow_links=True)
    assert [int(image[0, 0, 0]) for image in source] == [0, 1]
    path = table(tmp_path / "set/u.csv", file=["1.png"])
    with pytest.raises(DataError, match=r"links that lead out .*data\.root=FOLDER"):
        open_source(path, follow_links=True)
    assert (
        len(open_source(tmp_path / "set", loader="images", root=str(tmp_path), follow_links=True))
        == 2
    )
    with pytest.raises(DataError, match="2 symbolic links lead out of the folder"):
        open_source(tmp_path / "set", loader="images", follow_links=True)
