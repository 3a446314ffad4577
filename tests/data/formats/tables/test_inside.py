from __future__ import annotations

from pathlib import Path

import pytest

from domainjepa.data.formats.tables.inside import files_inside
from domainjepa.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = (tmp_path / "root").resolve()
    for name in ("a.png", "b/c.png", "b/..d.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp_path / "secret.png").touch()
    return root


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("a.png", "a.png"),
        ("./b//c.png", "b/c.png"),
        ("b/../a.png", "a.png"),
        ("b\\c.png", "b/c.png"),
        ("b/..d.png", "b/..d.png"),
        ("{root}/b/c.png", "b/c.png"),
    ],
)
def test_detours_that_stay_inside_are_straightened(root: Path, named: str, found: str) -> None:
    assert files_inside(root, ["a.png", named.format(root=root)], False, "").files == [
        "a.png",
        found,
    ]


def test_absolute_paths_may_name_the_root_by_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert files_inside(root, [f"{tmp_path}/alias/b/c.png"], False, "").files == ["b/c.png"]


@pytest.mark.parametrize(
    "named",
    ["../secret.png", "b/../../secret.png", "..\\secret.png", "{up}/secret.png", "/etc/passwd", "",
     "C:\\secret.png", "{root}", "b\0.png", "{root}-2/x.png"],
)  # fmt: skip
def test_nothing_leads_out(root: Path, tmp_path: Path, named: str) -> None:
    named = named.format(up=tmp_path, root=root)
    with pytest.raises(DataError, match=r"1 of 2 paths lead (out|to no file).*row 1"):
        files_inside(root, ["a.png", named], False, "paths")


def test_missing_files_are_counted(root: Path) -> None:
    named = ["a.png", *(f"gone/{number}.png" for number in range(1_200)), "b"]
    with pytest.raises(
        DataError, match=r"t: 1,201 of 1,202 paths lead to no file.* row 1 'gone/0\.png', .*, …"
    ):
        files_inside(root, named, False, "t")


def test_links_are_followed_when_told_and_never_out(root: Path, tmp_path: Path) -> None:
    (root / "in.png").symlink_to("b/c.png")
    (root / "folder").symlink_to("b")
    (root / "out.png").symlink_to("../secret.png")
    (root / "away").symlink_to(tmp_path)
    (root / "loop.png").symlink_to("loop.png")
    inside = ["in.png", "folder/c.png"]
    for name in inside:
        with pytest.raises(DataError, match=r"are links; --set data\.follow_links=true"):
            files_inside(root, ["a.png", name], False, "paths")
    assert files_inside(root, inside, True, "paths").files == inside
    for name in ("out.png", "away/secret.png", "loop.png"):
        for follow in (False, True):
            with pytest.raises(DataError, match=r"are links"):
                files_inside(root, ["a.png", name], follow, "paths")


def test_names_of_any_depth_and_order_keep_their_rows(root: Path) -> None:
    (root / "b/deep").mkdir()
    (root / "b/deep/c.png").write_bytes(b"")
    named = ["b/c.png", "a.png", "b/deep/c.png", "a.png", "b/c.png"]
    found = files_inside(root, named, False, "t")
    assert (found.files, found.distinct) == (named, 3)
    named[1:1] = ["gone/c.png", "b/a.png"]
    with pytest.raises(DataError, match=r"2 of 7 paths lead to no file.*row 1 .*row 2 "):
        files_inside(root, named, False, "t")
