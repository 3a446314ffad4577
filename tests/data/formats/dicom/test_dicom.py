from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from domainjepa.data.files import index
from domainjepa.data.formats.dicom.loader import DicomLoader
from domainjepa.data.opening import open_source
from domainjepa.data.source import OpenOptions, Source
from domainjepa.errors import DataError
from tests.data.formats.dicom.dicom_files import dataset, save, save_series, volume
from tests.data.fuzz import flip_bits

PIXELS = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)


def test_a_folder_is_known_by_what_its_files_hold(tmp_path: Path) -> None:
    save(dataset(PIXELS), tmp_path / "PAT" / "IM000001")
    save(dataset(PIXELS), tmp_path / "PAT" / "1.2.840.113619.2")
    (tmp_path / "README").write_text("notes")
    (tmp_path / "tool.exe").write_text("x")
    save(dataset(None), tmp_path / "REPORT")
    source = open_source(tmp_path)
    assert (source.loader, len(source), source.shape) == ("dicom", 2, (64, 48, 1))
    assert "left out: 1 files that are no DICOM" in source.decisions
    assert any("1 DICOM files without an image" in line for line in source.decisions)


def test_a_folder_without_an_image(tmp_path: Path) -> None:
    save(dataset(None, Modality="SR"), tmp_path / "a.dcm")
    save(dataset(None, Modality="RTSTRUCT"), tmp_path / "b.dcm")
    with pytest.raises(DataError, match="each of 2 files holds no image"):
        open_source(tmp_path)


def test_links_and_directories_of_files_are_not_followed(tmp_path: Path) -> None:
    outside = save(dataset(PIXELS + 1), tmp_path / "outside.dcm")
    folder = tmp_path / "data"
    save(dataset(PIXELS), folder / "a.dcm")
    (folder / "b.dcm").symlink_to(outside)
    source = open_source(folder)
    assert len(source) == 1
    assert any("links" in line for line in source.warnings)


def test_sub_folders_of_several_patients_are_classes(tmp_path: Path) -> None:
    for number in range(8):
        made = dataset(PIXELS, PatientID=f"p{number // 2}", SeriesInstanceUID=f"1.{number}")
        save(made, tmp_path / "train" / ("benign" if number < 4 else "malignant") / f"{number}.dcm")
    source = open_source(tmp_path)
    assert source.classes == ("benign", "malignant")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert source.split is not None
    assert set(source.split) == {"train"}


def test_sub_folders_of_one_patient_each_are_no_classes(tmp_path: Path) -> None:
    for number in range(6):
        made = dataset(PIXELS, PatientID=f"p{number // 3}", SeriesInstanceUID=f"1.{number}")
        save(made, tmp_path / ("DOE_JANE" if number < 3 else "ROE_JOHN") / f"{number}.dcm")
    source = open_source(tmp_path)
    assert source.labels is None
    assert source.classes is None
    assert "DOE" not in str((source.decisions, source.warnings))
    told = open_source(tmp_path, labels="folders")
    assert told.classes == ("DOE_JANE", "ROE_JOHN")


def test_other_options_have_no_meaning_here(tmp_path: Path) -> None:
    path = save(dataset(PIXELS), tmp_path / "a.dcm")
    with pytest.raises(DataError, match="no array of that name"):
        open_source(path, groups="PatientID")


def test_patients_fall_back_to_studies(tmp_path: Path) -> None:
    for number in range(4):
        made = dataset(PIXELS, PatientID="", StudyInstanceUID=f"1.{number % 2}")
        save(made, tmp_path / f"{number}.dcm")
    groups = open_source(tmp_path).groups
    assert groups is not None
    assert groups.tolist() == [0, 1, 0, 1]


def test_colour_beside_grey_is_left_out_with_a_warning(tmp_path: Path) -> None:
    for number in range(3):
        save(dataset(PIXELS), tmp_path / f"{number}.dcm")
    save(dataset(np.zeros((64, 48, 3), np.uint8)), tmp_path / "screenshot.dcm")
    source = open_source(tmp_path)
    assert len(source) == 3
    assert any("1 files that are not grey" in line for line in source.warnings)
    assert "screenshot" not in str(source.warnings)


def test_masks_beside_images_are_left_out(tmp_path: Path) -> None:
    save(dataset(PIXELS, Modality="CT"), tmp_path / "a.dcm")
    save(dataset(PIXELS, Modality="SEG"), tmp_path / "b.dcm")
    source = open_source(tmp_path)
    assert (len(source), source.modality) == (1, "CT")
    assert any("SEG" in line for line in source.warnings)


def test_types_are_brought_together_without_loss(tmp_path: Path) -> None:
    save(dataset(np.array([[-5, 7]], np.int16)), tmp_path / "a.dcm")
    save(dataset(np.array([[65535, 7]], np.uint16), Modality="CT"), tmp_path / "b.dcm")
    source = open_source(tmp_path)
    assert source.dtype == np.int32
    assert [image.ravel().tolist() for image in source] == [[-5, 7], [65535, 7]]
    assert source.modality is None
    assert any("mixed" in line for line in source.warnings)


def test_files_in_a_given_order(tmp_path: Path) -> None:
    for number in range(3):
        save(dataset(PIXELS + number), tmp_path / f"{number}.dcm")
    source = DicomLoader().open_files(tmp_path, ["2.dcm", "0.dcm"], OpenOptions())
    np.testing.assert_array_equal(source[0][..., 0], PIXELS + 2)
    np.testing.assert_array_equal(source[1][..., 0], PIXELS)
    save(dataset(None), tmp_path / "report.dcm")
    with pytest.raises(DataError, match=r"report\.dcm holds no image"):
        DicomLoader().open_files(tmp_path, ["report.dcm", "0.dcm"], OpenOptions())


def test_a_source_survives_pickling(tmp_path: Path) -> None:
    save_series(tmp_path, volume())
    for dimensions in (2, 3):
        source = open_source(tmp_path, dimensions=dimensions)
        copy: Source = pickle.loads(pickle.dumps(source))  # noqa: S301
        np.testing.assert_array_equal(copy[0], source[0])
        assert copy.fingerprint() == source.fingerprint()


def test_the_content_key_follows_the_data(tmp_path: Path) -> None:
    path = save(dataset(PIXELS), tmp_path / "a.dcm")
    before = open_source(path).content_key()
    assert open_source(path).content_key() == before
    save(dataset(PIXELS + 1), path)
    os.utime(path, ns=(1, 1))
    assert open_source(path).content_key() != before


def test_the_second_opening_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MANY", 4)
    save_series(tmp_path, volume())
    first = open_source(tmp_path)
    # Same names, sizes and times, and nothing inside: only the index can know what they were.
    for path in tmp_path.iterdir():
        status = path.stat()
        path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * (status.st_size - 132))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = open_source(tmp_path)
    np.testing.assert_array_equal(second.spacings, first.spacings)
    assert second.decisions == first.decisions
    assert second.ids is not None
    assert first.ids is not None
    assert second.ids.tolist() == first.ids.tolist()


# Bad files: a typed message that names the file, in bounded memory.


def element(tag: tuple[int, int], kind: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHL", *tag, kind, 0, length)


def deflated(path: Path) -> None:
    """200 kB that come to 200 MB."""
    save(dataset(PIXELS), path, DeflatedExplicitVRLittleEndian)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = path.read_bytes()
    start = content.index(DeflatedExplicitVRLittleEndian.encode()) + 22
    packed = b"".join(packer.compress(b"\0" * 2**20) for _ in range(200)) + packer.flush()
    path.write_bytes(content[:start] + packed)


def long_element(path: Path) -> None:
    """A value of 4 GB in a private tag, and one in a sequence that is read."""
    save(dataset(PIXELS), path)
    content = path.read_bytes()
    place = content.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    bomb = element((0x0028, 0x0001), b"OB", 2**32 - 2)
    path.write_bytes(content[:place] + bomb + content[place:])


def long_groups(path: Path) -> None:
    save(dataset(PIXELS), path)
    content = path.read_bytes()
    place = content.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    bomb = element((0x5200, 0x9230), b"SQ", 2**32 - 2)
    path.write_bytes(content[:place] + bomb + content[place:])


def many_frames(path: Path) -> None:
    save(dataset(PIXELS[None], NumberOfFrames=2**31 - 1), path)


def large_frame(path: Path) -> None:
    save(dataset(PIXELS, Rows=65535, Columns=65535), path)


def cut_pixels(path: Path) -> None:
    save(dataset(PIXELS), path)
    path.write_bytes(path.read_bytes()[:-100])


def cut_header(path: Path) -> None:
    save(dataset(PIXELS), path)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(struct.pack("<HH", 0x7FE0, 0x0010)) - 3])


def coded(path: Path, frame: bytes, syntax: str, **elements: object) -> None:
    made = dataset(PIXELS.astype(np.uint8), **elements)
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    made["PixelData"].VR = "OB"
    save(made, path, syntax)


def rle_bomb(path: Path) -> None:
    """2 MB of runs, 128 MB when unpacked, for 3 kB of pixels."""
    coded(path, struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 2**20, RLELossless)


def jpeg_bomb(path: Path) -> None:
    start = b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HHB", 65500, 65500, 1) + b"\1\x11\0"
    coded(path, start + b"\0" * 50, JPEGBaseline8Bit)


def jpeg_2000_bomb(path: Path) -> None:
    sizes = struct.pack(">9L", 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0)[2:]
    coded(path, b"\xff\x4f\xff\x51\0\x29" + sizes + b"\0\1\7\1\1" + b"\0" * 50, JPEG2000Lossless)


def nested(path: Path) -> None:
    """Sequences in sequences, deeper than Python's stack."""
    save(dataset(PIXELS), path)
    content = path.read_bytes()
    place = content.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    level = element((0x5200, 0x9230), b"SQ", 2**32 - 1) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 2**32 - 1
    )
    path.write_bytes(content[:place] + level * 5000 + content[place:])


def zero_slope(path: Path) -> None:
    save(dataset(PIXELS, RescaleSlope="0", RescaleIntercept="0"), path)


def other_bits(path: Path) -> None:
    save(dataset(PIXELS, BitsStored=12, HighBit=3), path)


def words(path: Path) -> None:
    path.write_bytes(b"\0" * 128 + b"DICM" + b"hello, world " * 50)


BAD = {
    deflated: "deflated", long_element: "", long_groups: "", many_frames: "2,147,483,647 frames",
    large_frame: "max_sample_bytes", cut_pixels: "truncated", cut_header: "", rle_bomb: "RLE",
    jpeg_bomb: "65500", jpeg_2000_bomb: "60000", nested: "", zero_slope: "slope",
    other_bits: "HighBit", words: "",
}  # fmt: skip


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_files_are_refused_before_they_take_memory(tmp_path: Path, make: object) -> None:
    path = tmp_path / "bad.dcm"
    make(path)  # type: ignore[operator]
    DicomLoader().sniff(path, path.read_bytes()[:4096])
    tracemalloc.start()
    with pytest.raises(DataError, match=BAD[make] or "bad.dcm") as caught:  # type: ignore[index]
        open_source(path)[0]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "bad.dcm" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert most < 64 * 2**20


def test_an_unreadable_sample_is_named_with_its_number(tmp_path: Path) -> None:
    for number in range(3):
        save(dataset(PIXELS), tmp_path / f"{number}.dcm")
    cut_pixels(tmp_path / "1.dcm")
    source = open_source(tmp_path)
    source[0]
    with pytest.raises(DataError, match=r"sample 1, 1\.dcm, cannot be read: it is truncated"):
        source.__getitems__([0, 1])


def test_a_damaged_file_in_a_folder_is_named_without_its_folder(tmp_path: Path) -> None:
    save(dataset(PIXELS), tmp_path / "DOE_JANE" / "a.dcm")
    cut_header(tmp_path / "DOE_JANE" / "b.dcm")
    with pytest.raises(DataError, match=r"^b\.dcm cannot be read: .*1 of 2; mend or move"):
        open_source(tmp_path)


def test_a_volume_is_capped(tmp_path: Path) -> None:
    save_series(tmp_path, volume())
    with pytest.raises(DataError, match=r"5 x 6 x 4 takes 240 bytes.*max_sample_bytes=240"):
        open_source(tmp_path, dimensions=3, max_sample_bytes=200)


@pytest.mark.parametrize("kind", ["plain", "rle", "jpeg-ls", "jpeg-2000", "jpeg", "lossless"])
def test_flipped_bits_end_in_an_array_or_a_message(tmp_path: Path, kind: str) -> None:
    from tests.data.formats.dicom.test_dicom_pixels import SHIPPED

    shipped = {
        "rle": "SC_rgb_rle.dcm", "jpeg-ls": "JPEGLSNearLossless_16.dcm",
        "jpeg-2000": "MR_small_jp2klossless.dcm", "jpeg": "SC_rgb_jpeg_dcmtk.dcm",
        "lossless": "SC_rgb_jpeg_gdcm.dcm",
    }  # fmt: skip
    path = tmp_path / "a.dcm"
    if kind == "plain":
        save(dataset(PIXELS[:8, :8], BitsStored=12, HighBit=11), path)
    else:
        path.write_bytes((SHIPPED / shipped[kind]).read_bytes())
    flip_bits(path, 60)
