from __future__ import annotations

import os
from pathlib import Path

import pytest

from domainjepa.data.files.listing import ends_in, list_files, walk
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        root.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        root.joinpath(name).touch()


def test_a_walk_finds_what_is_not_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b/x.png", "b/c/y.png", "a.png", ".git/z.png", "b/.z.png")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    assert sorted(walk(tmp_path)) == ["a.png", "b/c/y.png", "b/x.png", "gone"]


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.PNG", "a/2.png", "a.png", "notes.txt", "a/10.png")
    found = list_files(tmp_path, (".png",), OpenOptions())
    assert found.files == ["a.png", "a/10.png", "a/2.png", "b/1.PNG"]
    assert list_files(tmp_path, (".png",), OpenOptions(images="1*")).files == [
        "a/10.png",
        "b/1.PNG",
    ]


def test_links_are_counted_or_followed_inside_alone(tmp_path: Path) -> None:
    touch(tmp_path, "root/a.png", "outside.png")
    root = tmp_path / "root"
    (root / "in.png").symlink_to("a.png")
    (root / "out.png").symlink_to("../outside.png")
    (root / "gone.png").symlink_to("nothing.png")
    left_out = list_files(root, (".png",), OpenOptions())
    assert (left_out.files, left_out.links) == (["a.png"], (3, 0))
    followed = list_files(root, (".png",), OpenOptions(follow_links=True))
    assert (followed.files, followed.links) == (["a.png", "in.png"], (0, 2))


def test_nothing_to_read_says_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    with pytest.raises(DataError, match=r"no file fits, of those that end in \.png"):
        list_files(tmp_path, (".png",), OpenOptions())
    with pytest.raises(DataError, match=r"data\.images = 'x\*'"):
        list_files(tmp_path, (".txt",), OpenOptions(images="x*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "closed/b.png")
    (tmp_path / "closed").chmod(0)
    assert list(walk(tmp_path)) == ["a.png"]
    (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize(
    ("name", "fits"), [("a/IM_0001", True), ("a.b/IM", True), ("a.DCM", True), ("a.b", False)]
)
def test_no_suffix_is_a_suffix_too(name: str, fits: bool) -> None:
    assert ends_in(name, (".dcm", "")) is fits
