from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

N = 8
SOURCES = ["nih", "vindr"] * 4
QC = ["true"] * 6 + ["false", ""]
Z = [f"{0.1 * number:.1f}" for number in range(7)] + [""]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for number in range(N):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    names = [f"{number}.png" for number in range(N)]
    codes = [f"{number:03d}" for number in range(N)]
    days = [f"2020-01-{number + 1:02d}" for number in range(N)]
    rows = map(",".join, zip(names, SOURCES, QC, Z, codes, days, strict=True))
    (tmp_path / "t.csv").write_text("\n".join(["file,source,qc_pass,z,code,day", *rows]))
    return tmp_path / "t.csv"


def shown(path: Path, *conditions: str, **options: Any) -> list[int]:
    return [int(image[0, 0, 0]) for image in open_source(path, where=conditions, **options)]


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        (["source=vindr"], [1, 3, 5, 7]),
        (["source == 'vindr'"], [1, 3, 5, 7]),
        (["source!=vindr"], [0, 2, 4, 6]),
        (["qc_pass=true"], [0, 1, 2, 3, 4, 5]),
        (["qc_pass!=true"], [6]),
        (["z<0.3"], [0, 1, 2]),
        (["z<=0.3"], [0, 1, 2, 3]),
        (["z>=0.3", "source=vindr"], [3, 5]),
        (["z=0.3"], [3]),
        (["z!=0.3"], [0, 1, 2, 4, 5, 6]),
        (["z="], [7]),
        (["z!="], [0, 1, 2, 3, 4, 5, 6]),
        (["code=007"], [7]),
        (["day>2020-01-06"], [6, 7]),
    ],
)
def test_rows_for_which_all_conditions_hold(
    table: Path, conditions: list[str], rows: list[int]
) -> None:
    assert shown(table, *conditions) == rows


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("nope=1", "no column 'nope'"),
        ("sorce=nih", "Did you mean source"),
        ("source=vind", "no sample has source=vind. Did you mean vindr"),
        ("source<3", "holds text, such as 'nih'"),
        ("z=abc", "holds numbers"),
        ("qc_pass=maybe", "true and false"),
        ("qc_pass<true", "true and false"),
        ("z>9", r"It holds 0 to 0\.6"),
        ("z", "is no condition"),
        ("=3", "is no condition"),
        ("source!=…", "Give the condition again"),
        ("__import__('os').system('x')=1", "no column"),
    ],
)
def test_what_cannot_be_compared_is_told(table: Path, condition: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        shown(table, condition)


def test_two_conditions_that_exclude_each_other(table: Path) -> None:
    with pytest.raises(DataError, match="no sample fulfils all of source=nih, source=vindr"):
        shown(table, "source=nih", "source=vindr")


def test_what_is_left_out_need_not_be_there(table: Path) -> None:
    (table.parent / "2.png").unlink()
    assert shown(table, "source=vindr") == [1, 3, 5, 7]
    with pytest.raises(DataError, match="lead to no file"):
        open_source(table)


def test_columns_counts_and_the_fingerprint_follow(table: Path) -> None:
    every = open_source(table)
    vindr = open_source(table, where=("source=vindr",))
    assert vindr.column("code").tolist() == ["001", "003", "005", "007"]
    assert any(line == "where: 4 of 8 samples: source=vindr (4)" for line in vindr.decisions)
    nih = open_source(table, where=("source=nih",))
    assert len({every.fingerprint(), vindr.fingerprint(), nih.fingerprint()}) == 3


@pytest.mark.parametrize("blank", [(), ("0.3",)])
def test_a_blank_of_ones_own_fulfils_nothing(table: Path, blank: tuple[str, ...]) -> None:
    assert shown(table, "z>=0.2", blank=blank) == [
        row for row in (2, 3, 4, 5, 6) if row != 3 or not blank
    ]


def test_other_formats_choose_rows_too(tmp_path: Path) -> None:
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 8, 9, 3), np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"], file["label"] = images, [0, 1, 2, 0, 1, 2]
        file["z"] = np.array([0.1, 0.2, 0.3, 0.4, np.nan, 0.6], "f4")
        file["patient"] = [b"a", b"a", b"b", b"b", b"c", b"c"]
    source = open_source(tmp_path / "x.h5", where=("z>=0.3", "patient!=b"))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    for one in (source, copy):
        assert len(one) == 1
        np.testing.assert_array_equal(one[0], images[5])
        np.testing.assert_array_equal(one.region(0, (1, 2), (3, 5)), images[5, 1:3, 2:5])
    assert source.labels is not None
    assert source.labels.tolist() == [2]
    assert source.groups is not None
    assert source.groups.tolist() == [2]
    # 0.3 is no float32, and still the one that is stored.
    equal = open_source(tmp_path / "x.h5", where=("z=0.3",))
    np.testing.assert_array_equal(equal[0], images[2])
    assert equal.column("label").tolist() == [2]
    with pytest.raises(IndexError):
        equal[1]
    assert equal.fingerprint() != open_source(tmp_path / "x.h5", where=("z=0.6",)).fingerprint()
