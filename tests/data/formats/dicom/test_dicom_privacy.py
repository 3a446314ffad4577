"""A patient's name, planted wherever a DICOM file has room for it, is in nothing that is said.

That it is in nothing that is written is told by tests/test_canary.py.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domainjepa.data.opening import open_source
from tests import programs
from tests.data.formats.dicom.dicom_files import dataset, save

CANARY = "KANARIENVOGEL"
PLACES = (
    "PatientName", "PatientID", "OtherPatientIDs", "StudyDescription", "SeriesDescription",
    "InstitutionName", "ReferringPhysicianName", "AccessionNumber", "StudyID", "PatientComments",
    "ImageComments", "StationName", "OperatorsName", "ProtocolName", "Manufacturer",
    "ImageType", "BodyPartExamined", "Modality",
)  # fmt: skip


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    return plant(tmp_path / "data" / f"{CANARY}_ROOT")


def plant(root: Path) -> Path:
    """Scans of six patients, with the name of each in every place that takes one."""
    draw = np.random.default_rng(0)
    for number in range(24):
        label = number % 2
        pixels = draw.integers(0, 200, (32, 32)).astype(np.uint16)
        pixels[8:24, 8 : 16 + 8 * label] += 800
        elements = dict.fromkeys(PLACES, CANARY)
        # Three patients of each kind, each with four images; the folders of a kind are no names.
        elements["PatientID"] = f"{CANARY}{label}{number % 3}"
        made = dataset(pixels, SeriesInstanceUID=f"1.{number % 6}", **elements)
        block = made.private_block(0x0011, CANARY, create=True)
        block.add_new(0x01, "LO", CANARY)
        block.add_new(0x02, "UT", CANARY * 100)
        save(made, root / f"kind{label}" / f"{CANARY}{number:02}.dcm")
    save(dataset(None, PatientName=CANARY), root / "kind0" / f"{CANARY}_REPORT.dcm")
    return root


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything in all files below, archives and pictures unpacked."""
    for path in folder.rglob("*"):
        yield path.name, str(path.relative_to(folder)).encode()
        if not path.is_file():
            continue
        content = path.read_bytes()
        yield path.name, content
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield f"{path.name}/{name}", name.encode() + archive.read(name)
        if path.suffix == ".png":
            yield path.name, repr(Image.open(io.BytesIO(content)).info).encode()


def test_a_source_says_nothing_of_a_patient(planted: Path) -> None:
    for options in ({}, {"dimensions": 3}):
        if options:
            save_positions(planted)
        source = open_source(planted, **options)
        shown = (
            source.name, source.public_name, source.keys, source.decisions, source.warnings,
            source.classes, source.modality, source.ids, source.groups, source.split,
        )  # fmt: skip
        assert CANARY not in repr(shown)


def save_positions(folder: Path) -> None:
    import pydicom

    for path in folder.rglob("*[0-9].dcm"):
        made = pydicom.dcmread(path)
        made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        made.ImagePositionPatient = [0, 0, int(path.stem[-2:]) // 6]
        made.save_as(path)


OPEN_ALL = """
import sys
from domainjepa.data.opening import open_source
from domainjepa.errors import UserError
for name in sys.argv[1:]:
    try:
        open_source(name)[0]
    except UserError as error:
        print("refused:", error)
"""


def test_messages_of_libraries_do_not_repeat_a_header(tmp_path: Path) -> None:
    short = CANARY[:8]
    for number in range(4):
        elements = {"RescaleSlope": "1", "InstanceNumber": "1", "StudyInstanceUID": "1"}
        elements[[*elements, "SeriesInstanceUID"][number]] = "77777777"
        made = dataset(np.zeros((4, 4), np.uint16), RescaleIntercept="0", **elements)
        path = save(made, tmp_path / f"{number}.dcm")
        path.write_bytes(path.read_bytes().replace(b"77777777", short.encode()))
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    # In a process of its own: warnings are printed there, as a user would see them.
    done = programs.run("-c", OPEN_ALL, *names)
    assert done.returncode == 0, done.stderr
    # No slope, no values; an odd number of an instance and odd UIDs do not matter.
    assert done.stdout.count("refused: ") == 1, done.stdout
    assert short not in done.stdout + done.stderr
    assert str(tmp_path) not in done.stdout + done.stderr


def test_a_table_of_scans_neither_parts_patients_nor_brings_their_names(tmp_path: Path) -> None:
    rows = ["path,group,name"]
    for number in range(6):
        patient = f"p{number // 2}"
        save(dataset(np.zeros((4, 4), np.uint16), PatientID=patient), tmp_path / f"{number}.dcm")
        rows.append(f"{number}.dcm,{'ab'[number % 2]},{CANARY}{number}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    source = open_source(tmp_path / "t.csv")
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert "--set data.groups=NAME" in source.warnings[0]
    assert not any("'group'" in line for line in source.decisions)
    assert source.ids is not None
    assert len(set(source.ids.tolist())) == 6
    assert not any(CANARY in one for one in source.ids)
    named = open_source(tmp_path / "t.csv", groups="group")
    assert named.groups is not None
    assert named.groups.tolist() == [0, 1, 0, 1, 0, 1]
