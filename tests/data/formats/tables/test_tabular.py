from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from domainjepa.data.formats.tables.reading import read_table
from domainjepa.data.formats.tables.text import MOST_FIELD
from domainjepa.errors import DataError
from tests.data.fuzz import flip_bits

COLUMNS = {
    "path": ["a.png", "b, c.png", "ü.png"],
    "count": [3, -1, 2],
    "share": [0.5, None, 1e-3],
    "code": ["007", "12", ""],
    "test": [True, False, True],
}

ASTRONOMICAL = {"ecsv": "ascii.ecsv", "vot": "votable", "fits": "fits"}


def write(folder: Path, kind: str) -> Path:
    path = folder / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(COLUMNS), path)
        return path
    if kind in ASTRONOMICAL:
        plain = {name: values for name, values in COLUMNS.items() if name != "share"}
        plain["path"] = ["a.png", "b, c.png", "u.png"]  # FITS has ASCII alone
        Table(plain).write(path, format=ASTRONOMICAL[kind])
        return path
    delimiter = {"csv": ",", "tsv": "\t", "semicolons.csv": ";"}[kind]
    with path.open("w", newline="", encoding="utf-8-sig" if kind == "csv" else "utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(COLUMNS)
        for row in zip(*COLUMNS.values(), strict=True):
            writer.writerow(["" if value is None else value for value in row])
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolons.csv", "parquet"])
def test_columns_have_the_type_of_their_values(tmp_path: Path, kind: str) -> None:
    table = read_table(write(tmp_path, kind))
    assert (table.names, table.rows) == (tuple(COLUMNS), 3)
    assert table.column("path").tolist() == COLUMNS["path"]
    assert table.column("code").tolist() == COLUMNS["code"]
    assert table.column("count").dtype == np.int64
    assert table.column("count").tolist() == COLUMNS["count"]
    assert table.column("test").dtype == np.bool_
    assert table.column("test").tolist() == COLUMNS["test"]
    np.testing.assert_array_equal(table.column("share"), [0.5, np.nan, 1e-3])
    with pytest.raises(DataError, match=r"no column 'cout'.*Did you mean count"):
        table.column("cout")


def test_identifiers_of_19_digits_keep_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,more\n4295806720,9999999999999999999\n5853498713190525696,1\n"
    )
    table = read_table(tmp_path / "t.csv")
    assert table.column("id").tolist() == [4295806720, 5853498713190525696]
    # Beyond 64 bits, and a float would make one of several.
    assert table.column("more").tolist() == ["9999999999999999999", "1"]


def test_what_is_no_value_is_nan_among_numbers(tmp_path: Path) -> None:
    fields = ["1", "", "NA", "nan", "null", "None", "2", " "]
    (tmp_path / "t.csv").write_text("\n".join(["path,age", *(f"a,{one}" for one in fields)]))
    ages = read_table(tmp_path / "t.csv").column("age")
    np.testing.assert_array_equal(ages, [1, *[np.nan] * 5, 2, np.nan])
    (tmp_path / "t.csv").write_text("path,uid\na,1234567890123456\nb,\nc,1234567890123457\n")
    uids = read_table(tmp_path / "t.csv").column("uid")
    assert uids.tolist() == ["1234567890123456", "", "1234567890123457"]


def test_identifiers_with_underscores_are_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("patient,path\n1_12,a\n11_2,b\n")
    assert read_table(tmp_path / "t.csv").column("patient").tolist() == ["1_12", "11_2"]


def test_a_quoted_field_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,note\n"a,b.png","two\nlines, ""quoted"""\n\nc.png,\n')
    table = read_table(tmp_path / "t.csv")
    assert table.column("path").tolist() == ["a,b.png", "c.png"]
    assert table.column("note").tolist() == ['two\nlines, "quoted"', ""]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"path,label\na.png,1\nb.png\n", r"row 1 of t\.csv has 1 fields, the header has 2"),
        (b"path,path\na,b\n", "two columns of the name 'path'"),
        (b"path\n\xff\xfe.png\n", r"t\.csv is not in UTF-8"),
        (b'path,a\n"a.png,1\n', r"t\.csv cannot be read: a quote is opened in row 0 and never"),
        (b"path,a\n" + b"x" * (MOST_FIELD + 1) + b",1\n", "field larger than the limit"),
        (b"path,a\n" + b"x" * 2**25 + b",1\n", "field larger than the limit"),
    ],
)
def test_damaged_text_is_an_error(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_table(tmp_path / "t.csv")


def test_huge_text_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(DataError, match="store it as Parquet"):
        read_table(tmp_path / "t.csv")


def test_nested_columns_are_left_out(tmp_path: Path) -> None:
    table = pa.table({"path": ["a"], "image": [{"bytes": b"x", "path": "a"}], "boxes": [[1, 2]]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").names == ("path",)


@pytest.mark.parametrize("dictionary", [True, False])
def test_categories_and_dates_are_strings(tmp_path: Path, dictionary: bool) -> None:
    texts = pa.array(["spiral", None, "spiral"])
    days = pa.array([0, 1, None], pa.date32())
    table = pa.table({"kind": texts.dictionary_encode() if dictionary else texts, "day": days})
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read.column("kind").tolist() == ["spiral", "", "spiral"]
    assert read.column("day").tolist() == ["1970-01-01", "1970-01-02", ""]


def test_bombs_of_repeated_texts_are_refused(tmp_path: Path) -> None:
    indices = pa.array(np.zeros(2_000_000, np.int32))
    texts = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 1_000_000]))
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"path": texts}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(
        DataError, match=r"column 'path' of t\.parquet would take 2,000,000,000,000"
    ):
        read_table(path).column("path")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from domainjepa.data.formats.tables.reading import read_table
from domainjepa.errors import UserError

good = Path(sys.argv[1])
outcomes = {"columns": 0, "message": 0}
for seed in range(int(sys.argv[2])):
    draw = np.random.default_rng(seed)
    content = bytearray(good.read_bytes())
    for place in draw.integers(len(content), size=draw.integers(1, 4)):
        content[place] ^= 1 << draw.integers(8)
    bad = good.with_name("bad" + good.suffix)
    bad.write_bytes(content)
    try:
        table = read_table(bad)
        for name in table.names:
            assert len(table.column(name)) == table.rows
        outcomes["columns"] += 1
    except UserError:
        outcomes["message"] += 1
assert min(outcomes.values()) > 0, outcomes
"""


@pytest.mark.parametrize("kind", ["csv", "parquet", *ASTRONOMICAL])
def test_flipped_bits_give_columns_or_an_error(tmp_path: Path, kind: str) -> None:
    flip_bits(write(tmp_path, kind), 150, program=FUZZ)
