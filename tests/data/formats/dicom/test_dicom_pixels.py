from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import apply_color_lut, apply_rescale, pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
)

from domainjepa.data.formats.dicom import codecs as dicom_codecs
from domainjepa.data.opening import open_source
from domainjepa.encoder.samples import as_stored
from domainjepa.errors import DataError, MissingExtra
from tests.data.formats.dicom.dicom_files import dataset, save

SHIPPED = Path(os.path.dirname(pydicom.data.__file__)) / "test_files"  # noqa: PTH120
"""pydicom's own files; `get_testdata_file` would ask the network for those that are not there."""

NO_IMAGES = {
    "DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-empty.dcm", "DICOMDIR-implicit", "DICOMDIR-nooffset",
    "DICOMDIR-nopatient", "DICOMDIR-reordered", "ExplVR_BigEndNoMeta.dcm",
    "ExplVR_LitEndNoMeta.dcm", "UN_sequence.dcm",
    "empty_charset_LEI.dcm", "no_meta_group_length.dcm", "priv_SQ.dcm", "reportsi.dcm",
    "reportsi_with_empty_number_tags.dcm", "rtplan.dcm", "rtplan_truncated.dcm", "rtstruct.dcm",
    "test-SR.dcm", "waveform_ecg.dcm",
}  # fmt: skip
BROKEN = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "JPEG 2000 frame is damaged",
    "MR_truncated.dcm": "truncated: 8,130 bytes of pixel data, not 8,192",
    "badVR.dcm": "NumberOfFrames",
    "image_dfl.dcm": "deflated.*dcmconv",
    "meta_missing_tsyntax.dcm": "Rows is missing",
    "nested_priv_SQ.dcm": "Rows is missing",
    "no_meta.dcm": "named like DICOM",
}
FILES = sorted(SHIPPED.glob("*.dcm")) + sorted(SHIPPED.glob("dicomdirtests/[79]*/*/*"))
FILES += sorted(SHIPPED.glob("dicomdirtests/DICOMDIR*"))
TWELVE_BITS = ("JPEG-lossy.dcm", "JPGExtended.dcm")
FILES = [path for path in FILES if path.name not in TWELVE_BITS]


def by_pydicom(path: Path) -> list[NDArray[Any]]:
    """Values of every frame, in float64 or as colours, by pydicom's functions alone."""
    head = pydicom.dcmread(path)
    syntax = head.file_meta.TransferSyntaxUID
    # Decoders of lossy JPEG differ by a level; that of Pillow is the one that is always there.
    plugin = "pillow" if syntax == pydicom.uid.JPEGBaseline8Bit else ""
    array = pixel_array(head, decoding_plugin=plugin)
    frames = array if int(head.get("NumberOfFrames") or 1) > 1 else array[None]
    values = []
    for frame in frames:
        if head.PhotometricInterpretation == "PALETTE COLOR":
            values.append(apply_color_lut(frame, head))
        elif head.SamplesPerPixel == 3:
            values.append(frame >> 16 if frame.itemsize == 4 else frame)
        else:
            value = apply_rescale(frame, head).astype(np.float64)
            value *= float(head.get("DoseGridScaling") or 1)
            if head.PhotometricInterpretation == "MONOCHROME1":
                ends = apply_rescale(np.array([0, 2**head.BitsStored - 1]), head)
                value = ends.sum() - value
            if "PixelPaddingValue" in head:  # of the shipped files none has a range of them
                value[frame == head.PixelPaddingValue] = np.nan
            values.append(value[..., None])
    return values


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_ships_with_pydicom_is_read_as_pydicom_does_or_refused(path: Path) -> None:
    if path.name in BROKEN:
        with pytest.raises(DataError, match=BROKEN[path.name]):
            open_source(path)[0]
    elif path.name in NO_IMAGES:
        with pytest.raises(DataError, match="no image"):
            open_source(path)
    else:
        source = open_source(path)
        expected = by_pydicom(path)
        assert len(source) == len(expected)
        for image, frame in zip(source, expected, strict=True):
            assert image.dtype == source.dtype
            np.testing.assert_array_equal(image, frame.astype(source.dtype))
            # Nothing but float32's own rounding is lost.
            np.testing.assert_allclose(image, frame, rtol=2**-23)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("padding", "missing"),
    [
        ({"PixelPaddingValue": -2000}, [-2000]),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1998}, [-2000, -1999, -1998]),
        ({"PixelPaddingValue": -1998, "PixelPaddingRangeLimit": -2000}, [-2000, -1999, -1998]),
        ({"PixelPaddingValue": 5000}, []),
        ({}, []),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_is_missing_and_not_air(
    photometric: str, padding: dict[str, int], missing: list[int], syntax: str, tmp_path: Path
) -> None:
    pixels = np.arange(-2003, -2003 + 64, dtype=np.int16).reshape(8, 8)
    made = dataset(
        pixels,
        PhotometricInterpretation=photometric,
        RescaleSlope=2,
        RescaleIntercept=-24,
        BitsStored=14,
        HighBit=13,
    )
    for keyword, value in padding.items():
        made.add_new(keyword, "SS", value)
    source = open_source(save(made, tmp_path / "a.dcm", syntax))
    image = source[0][..., 0]
    assert source.dtype == (np.float32 if padding else np.int16)
    expected = pixels.astype(float) if photometric == "MONOCHROME2" else -1.0 - pixels
    expected = 2 * expected - 24
    expected[np.isin(pixels, missing)] = np.nan
    np.testing.assert_array_equal(image, expected)
    assert any("padding is missing" in told for told in source.decisions) == bool(padding)


def test_padding_of_unsigned_bits_is_found_however_it_is_written(tmp_path: Path) -> None:
    pixels = np.arange(4090, 4096, dtype=np.uint16).reshape(2, 3)
    made = dataset(pixels, BitsStored=12, HighBit=11)
    made.add_new("PixelPaddingValue", "SS", -1)  # all twelve bits set
    image = open_source(save(made, tmp_path / "a.dcm"))[0][..., 0]
    np.testing.assert_array_equal(image, [[4090, 4091, 4092], [4093, 4094, np.nan]])


def test_padding_of_floating_pixels(tmp_path: Path) -> None:
    pixels = np.array([[-1.5, 0.25], [3.0, -1.5]], np.float32)
    made = dataset(np.zeros((2, 2), np.uint32), BitsStored=None, HighBit=None, PixelData=None)
    made.PixelRepresentation = None
    del made.PixelRepresentation
    made.FloatPixelData = pixels.tobytes()
    made.FloatPixelPaddingValue = -1.5
    image = open_source(save(made, tmp_path / "a.dcm"))[0][..., 0]
    np.testing.assert_array_equal(image, [[np.nan, 0.25], [3.0, np.nan]])


def test_a_sample_without_padding_goes_to_an_encoder_of_padded_ones() -> None:
    whole = np.arange(4, dtype=np.int16).reshape(2, 2, 1)
    holed = whole.astype(np.float32)
    holed[0, 0] = np.nan
    seen = as_stored(holed, np.dtype(np.int16))
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, holed)
    assert as_stored(whole, np.dtype(np.float32)).dtype == np.float32
    with pytest.raises(DataError, match="pretrained on int16"):
        as_stored(holed / 2, np.dtype(np.int16))


def test_jpeg_of_twelve_bits(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint16) * 50
    coded = imagecodecs.jpeg_encode(pixels, level=100, bitspersample=12)
    made = dataset(pixels, BitsStored=12, HighBit=11)
    image = open_source(save(encapsulated(made, coded), tmp_path / "a.dcm", JPEGExtended12Bit))[0]
    assert image.dtype == np.uint16
    assert np.abs(image[..., 0].astype(int) - pixels).max() <= 4
    # pydicom has no free decoder for them; all three are lossy copies of one scan.
    other = open_source(SHIPPED / "JPEG2000.dcm")[0]
    for name in TWELVE_BITS:
        image = open_source(SHIPPED / name)[0]
        assert np.corrcoef(image.ravel(), other.ravel())[0, 1] > 0.95


def encapsulated(made: Dataset, coded: bytes) -> Dataset:
    made.PixelData = encapsulate([coded])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_bytes_in_any_order(tmp_path: Path, syntax: str, dtype: str) -> None:
    limits = np.iinfo(dtype)
    pixels = np.array([[limits.min, 1, 2], [3, 250, limits.max]], dtype)
    stored = pixels.astype(">i2" if dtype == "int16" else ">u2") if dtype != "uint8" else pixels
    made = dataset(pixels)
    made.PixelData = (stored if syntax == ExplicitVRBigEndian else pixels).tobytes()
    if syntax == ExplicitVRBigEndian and dtype == "uint8":
        made["PixelData"].VR = "OB"
    source = open_source(save(made, tmp_path / "a.dcm", syntax))
    assert source.dtype == np.dtype(dtype)
    assert source.dtype.isnative
    np.testing.assert_array_equal(source[0][..., 0], pixels)


def test_without_preamble_where_the_suffix_says_so(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    path = save(dataset(pixels), tmp_path / "a.dcm", ImplicitVRLittleEndian)
    content = path.read_bytes()
    body = content[content.index(b"\x08\0\x16\0") :]
    path.write_bytes(body)
    np.testing.assert_array_equal(open_source(path)[0][..., 0], pixels)
    path.rename(tmp_path / "a")
    with pytest.raises(DataError, match="no known format"):
        open_source(tmp_path / "a")


def test_hounsfield_units_stay_integers(tmp_path: Path) -> None:
    pixels = np.array([[0, 1024, 4095]], np.uint16)
    made = dataset(pixels, Modality="CT", BitsStored=12, HighBit=11)
    made.RescaleSlope, made.RescaleIntercept = "1", "-1024"
    source = open_source(save(made, tmp_path / "a.dcm"))
    assert source.dtype == np.dtype("int16")
    assert source[0].ravel().tolist() == [-1024, 0, 3071]
    assert any("Hounsfield" in line and "VOI" in line for line in source.decisions)


def test_a_rescale_with_fractions_is_float32(tmp_path: Path) -> None:
    made = dataset(np.array([[0, 3]], np.uint16), RescaleSlope="0.1", RescaleIntercept="7")
    image = open_source(save(made, tmp_path / "a.dcm"))[0]
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image.ravel(), np.float32([7, 3 * 0.1 + 7]))


def test_a_modality_table(tmp_path: Path) -> None:
    made = dataset(np.array([[0, 1, 2, 9]], np.uint8))
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [3, 1, 16], "US"
    table.LUTData = [500, 400, 65000]
    made.ModalityLUTSequence = Sequence([table])
    made["ModalityLUTSequence"].value[0]["LUTDescriptor"].VR = "US"
    made["ModalityLUTSequence"].value[0]["LUTData"].VR = "US"
    source = open_source(save(made, tmp_path / "a.dcm"))
    # Below the first and beyond the last entry the table goes on level.
    assert source[0].ravel().tolist() == [500, 500, 400, 65000]
    assert source.dtype == np.uint16


@pytest.mark.parametrize(
    ("dtype", "bits", "stored", "expected"),
    [
        ("uint8", 8, [0, 10, 255], [255, 245, 0]),
        ("uint16", 12, [0, 10, 4095], [4095, 4085, 0]),
        ("int16", 16, [-32768, 5, 32767], [32767, -6, -32768]),
    ],
)
def test_monochrome1_is_turned_within_what_can_be_stored(
    tmp_path: Path, dtype: str, bits: int, stored: list[int], expected: list[int]
) -> None:
    made = dataset(np.array([stored], dtype), PhotometricInterpretation="MONOCHROME1")
    made.BitsStored, made.HighBit = bits, bits - 1
    source = open_source(save(made, tmp_path / "a.dcm"))
    assert source.dtype == np.dtype(dtype)
    assert source[0].ravel().tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "stored", "high", "words", "expected"),
    [
        ("uint16", 12, 11, [0xF123, 0x0FFF], [0x123, 0xFFF]),  # an overlay above
        ("uint16", 12, 15, [0x1234, 0xFFF0], [0x123, 0xFFF]),  # as in old files
        ("int16", 12, 11, [0x0FFF, 0x17FF], [-1, 0x7FF]),  # a sign of 12 bits
    ],
)
def test_bits_that_are_not_stored_do_not_count(
    tmp_path: Path, dtype: str, stored: int, high: int, words: list[int], expected: list[int]
) -> None:
    pixels = np.array([words], np.uint16).view(dtype)
    made = dataset(pixels, BitsStored=stored, HighBit=high)
    assert open_source(save(made, tmp_path / "a.dcm"))[0].ravel().tolist() == expected


def test_a_palette(tmp_path: Path) -> None:
    made = dataset(np.array([[0, 1, 2, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for name, table in {"Red": [9, 8, 7, 0], "Green": [1, 2, 3, 0], "Blue": [0, 50, 99, 0]}.items():
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 8])
        made[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(made, f"{name}PaletteColorLookupTableData", bytes(table))
    source = open_source(save(made, tmp_path / "a.dcm"))
    assert source.shape == (1, 4, 3)
    assert source[0].tolist() == [[[9, 1, 0], [8, 2, 50], [7, 3, 99], [8, 2, 50]]]


def segmented(words: list[int]) -> Dataset:
    made = dataset(np.array([[0, 1, 5, 9]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [10, 0, 16])
        made[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        table = np.array(words, "<u2").tobytes()
        setattr(made, f"Segmented{name}PaletteColorLookupTableData", table)
    return made


def test_a_palette_in_segments(tmp_path: Path) -> None:
    # Two entries as they are, then eight on a line up to 900.
    source = open_source(save(segmented([0, 2, 50, 100, 1, 8, 900]), tmp_path / "a.dcm"))
    assert source[0][0, :, 0].tolist() == [50, 100, 500, 900]


@pytest.mark.parametrize("words", [[0, 1, 5] + [1, 65535, 7] * 1000, [0, 1, 5, 2, 1, 0, 0]])
def test_a_palette_that_would_grow(tmp_path: Path, words: list[int]) -> None:
    source = open_source(save(segmented(words), tmp_path / "a.dcm"))
    with pytest.raises(DataError, match="palette"):
        source[0]


def test_colours_by_plane(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    made = dataset(pixels, PlanarConfiguration=1)
    made.PixelData = np.moveaxis(pixels, 2, 0).tobytes()
    np.testing.assert_array_equal(open_source(save(made, tmp_path / "a.dcm"))[0], pixels)


def test_float_pixel_data(tmp_path: Path) -> None:
    pixels = np.array([[0.25, -1e6]], np.float32)
    made = dataset(np.zeros((1, 2), np.int32), PixelData=None, BitsStored=None, HighBit=None)
    del made.PixelRepresentation
    made.FloatPixelData = pixels.tobytes()
    np.testing.assert_array_equal(
        open_source(save(made, tmp_path / "a.dcm"))[0].ravel(), pixels.ravel()
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_lossless_jpeg(tmp_path: Path, dtype: str) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    draw = np.random.default_rng(0)
    pixels = draw.integers(*(np.iinfo(dtype).min, np.iinfo(dtype).max), (16, 24)).astype(dtype)
    plain = pixels.view(f"u{pixels.itemsize}")
    coded = imagecodecs.ljpeg_encode(plain, bitspersample=8 * pixels.itemsize)
    made = dataset(pixels)
    encapsulated(made, coded)
    source = open_source(save(made, tmp_path / "a.dcm", JPEGLosslessSV1))
    np.testing.assert_array_equal(source[0][..., 0], pixels)


def test_frames_by_an_extended_offset_table(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    film = np.random.default_rng(0).integers(0, 255, (3, 16, 24), dtype=np.uint8)
    made = dataset(film, NumberOfFrames=3)
    coded = [imagecodecs.ljpeg_encode(frame) for frame in film]
    pixels, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(coded)
    made.PixelData = pixels
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    source = open_source(save(made, tmp_path / "a.dcm", JPEGLosslessSV1))
    np.testing.assert_array_equal(np.stack(list(source))[..., 0], film)
    np.testing.assert_array_equal(source.__getitems__([2, 0])[0][..., 0], film[2])


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("JPEG2000.dcm", "openjpeg", "pylibjpeg"),
        ("MR_small_jpeg_ls_lossless.dcm", "jpeg_ls", "pyjpegls"),
        ("SC_rgb_jpeg_gdcm.dcm", "imagecodecs", "imagecodecs"),
    ],
)
def test_a_missing_decoder_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, package: str
) -> None:
    source = open_source(SHIPPED / name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"{package}: pip install 'domainjepa\[dicom\]'"):
        source[0]


def test_an_encoding_that_is_none(tmp_path: Path) -> None:
    made = dataset(np.zeros((2, 2), np.uint8))
    encapsulated(made, b"\0\0\0\1")
    path = save(made, tmp_path / "a.dcm", "1.2.840.10008.1.2.4.102")
    with pytest.raises(DataError, match=r"MPEG-4.*is not read.*ffmpeg"):
        open_source(path)[0]
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.4", b"1.2.777.10008.1.2.4"))
    with pytest.raises(DataError, match="a private one, is not read") as caught:
        open_source(path)[0]
    assert "777" not in str(caught.value)


def test_every_decoder_is_one_of_those_that_survive_damage() -> None:
    assert {decoder for _, decoder, _ in dicom_codecs.CODECS.values()} == {
        "pydicom", "pillow", "imagecodecs", "pyjpegls", "pylibjpeg",
    }  # fmt: skip


def test_pydicom_itself_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from domainjepa.data.formats.dicom import file as dicom_file

    path = save(dataset(np.zeros((2, 2), np.uint8)), tmp_path / "a")
    dicom_file.pydicom.cache_clear()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtra, match=r"pydicom: pip install 'domainjepa\[dicom\]'"):
        open_source(path)


def test_shipped_files_are_found() -> None:
    assert len(FILES) > 90
    assert NO_IMAGES | set(BROKEN) <= {path.name for path in FILES}
