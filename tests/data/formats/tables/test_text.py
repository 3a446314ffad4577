from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from domainjepa.data.formats.tables import text
from domainjepa.data.formats.tables.reading import read_table
from domainjepa.errors import DataError

ROWS = [["path", "z", "note"], ["a.png", "0.5", "x"], ["b.png", "1.5", "y z"]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".txt", ".tsv"])
def test_the_separator_is_found(tmp_path: Path, separator: str, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_text("\n".join(separator.join(row) for row in ROWS))
    table = read_table(path)
    assert table.names == ("path", "z", "note")
    assert table.column("z").tolist() == [0.5, 1.5]
    assert table.column("note").tolist() == ["x", "y z"]


@pytest.mark.parametrize(
    "content",
    [
        "path   z  note\na.png  0.5   x\nb.png 1.5 y\n",
        "  path z note\n  a.png 0.5 x  \n  b.png\t1.5 y\n",
        'path z note\r\n"a.png" 0.5 x\r\nb.png 1.5 "y"\r\n',
    ],
)
def test_blanks_separate_too(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.txt").write_bytes(content.encode())
    table = read_table(tmp_path / "t.txt")
    assert table.column("path").tolist() == ["a.png", "b.png"]
    assert table.column("z").tolist() == [0.5, 1.5]
    assert table.column("note").tolist() == ["x", "y"]


def test_commas_inside_of_other_separators(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file;z;big\na.png;0,100;1.234,5\nb.png;1,25;2\n")
    table = read_table(tmp_path / "t.csv")
    assert table.column("z").tolist() == [0.1, 1.25]
    assert table.column("big").tolist() == [1234.5, 2.0]
    (tmp_path / "t.csv").write_text('file,z\na.png,"0,1"\nb.png,"1,25"\n')
    assert read_table(tmp_path / "t.csv").column("z").tolist() == [0.1, 1.25]
    (tmp_path / "t.csv").write_text('file,z\na.png,"1,234"\nb.png,"5"\n')
    with pytest.raises(DataError, match=r"column 'z' of t\.csv holds numbers such as '1,234'"):
        read_table(tmp_path / "t.csv").column("z")


@pytest.mark.parametrize(
    "content",
    [
        "# made by topcat\nfile,label\na.png,x\nb.png,y\n",
        "# one\n#\n\n# two\nfile,label\na.png,x\nb.png,y\n",
        "# made by topcat\n# file,label\na.png,x\nb.png,y\n",
        "file,label\na.png,x\n# in between\nb.png,y\n# , at the end\n",
    ],
)
def test_comments_are_no_rows(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    table = read_table(tmp_path / "t.csv")
    assert table.names == ("file", "label")
    assert table.column("file").tolist() == ["a.png", "b.png"]
    assert any("lines that begin with #" in line for line in table.decisions)


def test_a_name_may_begin_like_a_comment(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,label\n#1.png,x\nb.png,y\n")
    assert read_table(tmp_path / "t.csv").column("file").tolist() == ["#1.png", "b.png"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("packed", [False, True])
def test_marks_and_gzip(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = "file,label\nMüller.png,é\n".encode(encoding)
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    table = read_table(path)
    assert table.column("file").tolist() == ["Müller.png"]
    assert table.column("label").tolist() == ["é"]


def test_a_gzip_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MOST_BYTES", 10_000)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"file\n" + b"a.png\n" * 100_000))
    with pytest.raises(DataError, match="more than 10,000 bytes"):
        read_table(tmp_path / "t.csv.gz")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"file\na.png\n")[:-6])
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "t.csv.gz")


def test_rows_that_are_too_long_are_counted_from_the_first(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("# c\nfile,label\na.png,x\nb.png,y,z\n")
    with pytest.raises(DataError, match=r"row 1 of t\.csv has 3 fields, the header has 2"):
        read_table(tmp_path / "t.csv")


def test_texts_are_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,n\n1E2, 007\n10E1,7.0\n")
    table = read_table(tmp_path / "t.csv")
    assert table.texts("id").to_pylist() == ["1E2", "10E1"]
    assert table.texts("n").to_pylist() == ["007", "7.0"]
    assert table.column("id").tolist() == ["1E2", "10E1"]


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    for content in ("file,label", "file,label\n", "# x\nfile,label\n"):
        (tmp_path / "t.csv").write_text(content)
        table = read_table(tmp_path / "t.csv")
        assert (table.names, table.rows) == (("file", "label"), 0)
    np.testing.assert_array_equal(table.column("label"), [])
