from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from PIL import Image

from domainjepa.data.formats.tables.reading import read_table
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

FORMATS = {"t.ecsv": "ascii.ecsv", "t.vot": "votable", "t.xml": "votable", "t.fits": "fits"}


def write(folder: Path, name: str) -> Path:
    for number in range(3):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(folder / f"{number}.png")
    table = Table(
        {
            "file": ["0.png", "1.png", "2.png"],
            "objid": np.array([2**60, 2**60 + 1, 3], np.int64),
            "z": MaskedColumn([0.1, 0.2, 0.3], mask=[False, True, False]),
            "grade": MaskedColumn([1, 2, 3], mask=[False, False, True]),
            "code": ["007", "7", "1E2"],
            "flux": np.zeros((3, 5)),
        }
    )
    if name == "t.vot":
        table["file"] = table["file"].astype(object)
    table.write(folder / name, format=FORMATS[name])
    return folder / name


@pytest.mark.parametrize("name", FORMATS)
def test_tables_of_astronomy(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    table = read_table(path)
    assert table.rows == 3
    assert "flux" not in table.names
    assert table.column("objid").tolist() == [2**60, 2**60 + 1, 3]
    np.testing.assert_array_equal(table.column("z"), [0.1, np.nan, 0.3])
    np.testing.assert_array_equal(table.column("grade"), [1, 2, np.nan])
    assert table.column("code").tolist() == ["007", "7", "1E2"]
    source = open_source(path, where=("z<1",))
    assert (source.loader, source.origin) == ("table", "images")
    assert [int(image[0, 0, 0]) for image in source] == [0, 2]
    made = open_source(path, images="{file}")
    assert [int(image[0, 0, 0]) for image in made] == [0, 1, 2]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "<TABLEDATA>",
            '<BINARY><STREAM href="file:///etc/passwd"/></BINARY><TABLEDATA>',
            "another",
        ),
        (
            "<TABLEDATA>",
            "<BINARY><STREAM\n href='http://x/y'/></BINARY><TABLEDATA>",
            "another place",
        ),
        ("<VOTABLE", "<!DOCTYPE x [<!ENTITY a 'b'>]>\n<VOTABLE", "DOCTYPE"),
        ("</TABLEDATA>", "</TABLE>", "cannot be read"),
        ('<TABLE nrows="3"', '<TABLE nrows="3000000000000"', "claims"),
        ("<TABLE>", '<TABLE nrows="3000000000000">', "claims"),
    ],
)
def test_hostile_votables_are_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = write(tmp_path, "t.vot")
    content = path.read_text()
    if old not in content:
        pytest.skip("this astropy writes it otherwise")
    path.write_text(content.replace(old, new))
    with pytest.raises(DataError, match=says):
        read_table(path)


def test_columns_of_fits_that_claim_too_much(tmp_path: Path) -> None:
    path = write(tmp_path, "t.fits")
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(DataError, match="truncated"):
        open_source(path)
