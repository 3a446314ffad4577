from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from PIL import Image

from domainjepa.data.metadata.names import matched
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

NAMES = [
    "train/person1_bacteria_1.png",
    "train/person1_virus_2.png",
    "test/person2_virus_1.png",
    "train/person1E2_bacteria_1.png",
    "val/person10E1_virus_1.png",
    "val/unknown.png",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / name)
    return tmp_path


def test_labels_groups_split_and_ids_out_of_names(folder: Path) -> None:
    source = open_source(
        folder,
        labels="name:_(bacteria|virus)_",
        groups=r"name:(person\w+?)_",
        split="name:^(train|val|test)/",
        ids=r"name:([^/]+)\.png$",
    )
    order = [int(image[0, 0, 0]) for image in source]
    told = [NAMES[number] for number in order]
    assert source.classes == ("bacteria", "virus")
    assert source.labels is not None
    assert source.labels.tolist() == [
        0 if "bacteria" in name else 1 if "virus" in name else -1 for name in told
    ]
    assert source.groups is not None
    of = dict(zip(told, source.groups.tolist(), strict=True))
    assert of[NAMES[0]] == of[NAMES[1]]
    assert len(set(of.values())) == 5  # 1E2 and 10E1 are two patients, the unknown one is its own
    assert source.split is not None
    assert source.split.tolist() == [name.partition("/")[0] for name in told]
    assert source.ids is not None
    assert source.ids.tolist() == [name.rpartition("/")[2][:-4] for name in told]
    said = "\n".join(source.decisions)
    assert (
        "labels: name:_(bacteria|virus)_, 2 classes (bacteria 2, virus 3); 1 without a lab" in said
    )
    assert "5 groups of 1 to 2 samples" in said
    assert "by folder" not in said
    assert any("blank for 1 of 6" in line for line in source.warnings)


def test_numbers_in_names_are_targets(tmp_path: Path) -> None:
    for z in ("0.05", "1.50", "0.70"):
        np.save(tmp_path / f"z{z}.npy", np.zeros((8, 8)))
    values = open_source(tmp_path).column(r"name:z(\d+\.\d+)\.npy")
    assert values.tolist() == [0.05, 0.7, 1.5]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"(person\d+", "missing"),
        ("person", r"no group 1: put what is looked for in \( \)"),
        (r"(?=a)", "invalid perl operator"),
        (r"(a)\1", "invalid escape"),
        ("a)(b", "unexpected"),
        ("(zebra)", r"matches none of 6 names, such as 'test/person2"),
        ("(" + "a" * 2_000 + ")", "at most 1,000 characters"),
        ("((a{1000}){1000})", "bad repetition|too large|invalid"),
    ],
)
def test_wrong_expressions_are_told(folder: Path, pattern: str, says: str) -> None:
    with pytest.raises(DataError, match=rf"data\.labels=name:.*({says})"):
        open_source(folder, labels=f"name:{pattern}")


def test_no_expression_takes_forever() -> None:
    began = time.perf_counter()
    assert matched(["a" * 2_000 + "b"] * 10, r"^((a+)+)+$") == [""] * 10
    assert time.perf_counter() - began < 5


def test_arrays_without_files_have_no_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 8, 8)))
    with pytest.raises(DataError, match="not files of their own and have no names"):
        open_source(tmp_path / "x.npz", labels="name:(.)")


def test_names_of_medical_files_are_hashed_and_never_shown(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    for name in ("smith_a", "smith_b", "jones_a"):
        image = nibabel.Nifti1Image(np.ones((6, 6, 6), np.int16), np.eye(4))
        nibabel.save(image, tmp_path / f"{name}.nii")
    rules = {"groups": "name:^([a-z]+)_", "ids": "name:^([a-z]+)_", "labels": "name:_([ab])"}
    source = open_source(tmp_path, dimensions=3, **rules)
    assert source.groups is not None
    assert source.groups.tolist() == [0, 1, 1]
    assert source.ids is not None
    assert len(set(source.ids.tolist())) == 2
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1]
    said = f"{source.ids.tolist()} {source.decisions} {source.warnings}"
    assert "smith" not in said
    assert "jones" not in said
    with pytest.raises(DataError) as error:
        open_source(tmp_path, dimensions=3, labels="name:(zebra)")
    assert "smith" not in str(error.value)


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    """Pictures whose names tell a position: the first two 30 arcsec apart, the last over 0 h."""
    positions = [
        (10.0, -9.0),
        (10.0, -9.0 + 30 / 3600),
        (200.5, 45.25),
        (359.9999, 0.0),
        (0.0001, 0),
    ]
    for number, (ra, dec) in enumerate(positions):
        array = np.full((8, 8), number, np.uint8)
        Image.fromarray(array).save(tmp_path / f"{number}_{ra:08.4f}{dec:+08.4f}.png")
    return tmp_path


def test_positions_in_names_are_groups(sky: Path) -> None:
    source = open_source(sky, groups=r"sky:60arcsec,name:_(\d+\.\d+)([+-]\d+\.\d+)")
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 2, 2]
    apart = open_source(sky, groups=r"sky:0.1arcsec,name:_(\d+\.\d+)([+-]\d+\.\d+)")
    assert apart.groups is not None
    assert apart.groups.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("style", ["degrees", ":", "hms", " "])
def test_columns_of_positions_are_groups(sky: Path, style: str) -> None:
    names = sorted(path.name for path in sky.iterdir())
    at = SkyCoord(
        [10.0, 10.0, 200.5, 359.9999, 0.0001], [-9.0, -9 + 30 / 3600, 45.25, 0, 0], unit="deg"
    )
    ra, dec = at.ra, at.dec
    if style == "degrees":
        told = zip(ra.deg, dec.deg, strict=True)
    else:
        ra = ra.to_string("hourangle", sep=style, precision=4, pad=True)
        dec = dec.to_string(
            "deg", sep=style.replace("h", "d"), precision=3, pad=True, alwayssign=True
        )
        told = zip(ra, dec, strict=True)
    rows = [f"{name};{a};{b}" for name, (a, b) in zip(names, told, strict=True)]
    (sky / "t.csv").write_text("\n".join(["file;RA;Dec", *rows]))
    source = open_source(sky / "t.csv", groups="sky:1arcmin")
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 2, 2]
    assert any(
        "4 by position" in line or "3 by position (RA, Dec)" in line for line in source.decisions
    )


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("sky:60", "write sky:RADIUS with a unit"),
        ("sky:0arcsec", "write sky:RADIUS"),
        ("sky:60arcsec", "no columns ra and dec"),
        ("sky:60arcsec,a", "name two columns"),
        (r"sky:60arcsec,name:(\d+)", "no group 2"),
        (r"sky:60arcsec,name:_\d\d(\d)\.\d\d(\d+)", "beyond -90 to 90"),
        (r"sky:60arcsec,name:_(\d)(\S+)\.png", "is no angle"),
    ],
)
def test_what_is_no_position_is_told(sky: Path, told: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_source(sky, groups=told)
    with pytest.raises(DataError, match="positions make groups"):
        open_source(sky, labels=r"sky:1deg,name:_(\d+\.\d+)([+-]\d+\.\d+)")
