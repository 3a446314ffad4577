"""One bad file is one bad file, in every format; and what lies beside the data is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import zarr
from astropy.io import fits

from domainjepa.data.checks.quarantine import checked, lenient, readable, strict
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.dicom import dicom_files

DRAW = np.random.default_rng(0)


def write_fits(path: Path, image: np.ndarray) -> None:
    fits.writeto(path, image.astype(np.float32))


def write_nifti(path: Path, image: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(np.stack([image] * 3, axis=-1), np.eye(4)), path)


def write_dicom(path: Path, image: np.ndarray) -> None:
    dicom_files.save(dicom_files.dataset(image), path)


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    ".png": lambda path, image: PIL.Image.fromarray(image).save(path),
    ".npy": np.save,
    ".fits": write_fits,
    ".nii": write_nifti,
}


@pytest.fixture(params=[0, 3])
def bad(request: pytest.FixtureRequest) -> int:
    """Which file has a header that cannot be read."""
    number: int = request.param
    return number


@pytest.mark.parametrize("ending", WRITERS)
def test_a_header_that_cannot_be_read_is_one_bad_sample(
    tmp_path: Path, ending: str, bad: int
) -> None:
    for number in range(5):
        image = DRAW.integers(1, 200, (16, 12), np.uint8)
        WRITERS[ending](tmp_path / f"{number}{ending}", image)
    path = tmp_path / f"{bad}{ending}"
    path.write_bytes(path.read_bytes()[:20])
    dimensions = 3 if ending == ".nii" else 2
    source = open_source(tmp_path, dimensions=dimensions)
    assert len(source) == 5
    assert source.shape[:2] in ((16, 12), (3, 12))
    told = [line for line in source.warnings if "cannot be read" in line]
    assert len(told) == 1
    assert "1 of 5" in told[0]
    assert "--set data.skip_unreadable=0.2" in told[0]
    for row in range(5):
        if row == bad:
            with pytest.raises(DataError, match=rf"{bad}\{ending}"):
                source[row]
        else:
            assert source[row].shape == source.shape
    if dimensions == 2:
        with pytest.raises(DataError, match=rf"{bad}\{ending}.*data\.skip_unreadable=0\.2"):
            strict(source)[bad]
        assert lenient(source, np.arange(5), seed=0)[bad].shape == source.shape


def test_where_no_file_can_be_read_there_is_no_source(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"sample 0, 0\.png, cannot be read"):
        open_source(tmp_path)


def test_dicom_that_cannot_be_read_is_left_out_where_some_may_be(tmp_path: Path) -> None:
    """How many samples such a file would have held is not known."""
    image = DRAW.integers(0, 200, (9, 8)).astype(np.uint16)
    for number in range(5):
        told = {"PhotometricInterpretation": "MONOCHROME3"} if number == 2 else {}
        dicom_files.save(dicom_files.dataset(image + number, **told), tmp_path / f"{number}.dcm")
    with pytest.raises(DataError, match=r"2\.dcm .* 1 of 5.*--set data\.skip_unreadable=0\.2"):
        open_source(tmp_path)
    source = open_source(tmp_path, skip_unreadable=0.2)
    assert len(source) == 4
    assert any("1 of 5 files cannot be read and are left out" in line for line in source.warnings)
    assert not any("dcm" in line for line in source.warnings)
    (tmp_path / "t.csv").write_text("file\n" + "".join(f"{number}.dcm\n" for number in range(5)))
    rows = open_source(tmp_path / "t.csv", skip_unreadable=0.2)
    assert len(rows) == 5
    np.testing.assert_array_equal(rows[4][..., 0], image + 4)
    with pytest.raises(DataError, match="photometric"):
        rows[2]
    with pytest.raises(DataError, match="1 of 5"):
        open_source(tmp_path, skip_unreadable=0.1)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("NumberOfFrames", "0"), ("InstanceNumber", "first"), ("PixelSpacing", ["x", "y"])],
)
def test_dicom_words_that_no_pixel_hangs_on(
    tmp_path: Path, keyword: str, value: str | list[str]
) -> None:
    image = DRAW.integers(0, 200, (9, 8)).astype(np.uint16)
    for number in range(3):
        made = dicom_files.dataset(image + number)
        if number == 1:
            dicom_files.quietly(made, keyword, value)
        dicom_files.save(made, tmp_path / f"{number}.dcm")
    source = open_source(tmp_path)
    assert sorted(int(one[0, 0, 0]) for one in source) == [
        int(image[0, 0]) + one for one in range(3)
    ]


OBJECT = b"OBJECT  = 'Mu@oz   '           "
MALFORMED = [
    OBJECT.replace(b"@", b"\xf1"),  # an accent
    OBJECT.replace(b"   '", b"    "),  # no closing quote
    b"OBSERVER= 12:34:56 xx          ",  # no value of FITS
    b"EXTNAME = 'Mu\xf1oz   '           ",
    b"CRVAL1  = 12:34:56.0           ",
]


@pytest.mark.parametrize("card", MALFORMED)
@pytest.mark.parametrize("tiled", [False, True])
def test_fits_words_that_no_pixel_hangs_on(tmp_path: Path, card: bytes, tiled: bool) -> None:
    image = DRAW.integers(0, 200, (32, 30)).astype(np.int16)
    header = fits.Header()
    header["OBJECT"] = "Mu@oz"
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    hdu = fits.CompImageHDU(image, header) if tiled else fits.PrimaryHDU(image, header)
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu] if tiled else [hdu]).writeto(path)
    content = path.read_bytes()
    assert content.count(OBJECT) == 1
    path.write_bytes(content.replace(OBJECT, card))
    for place in (path, tmp_path):
        np.testing.assert_array_equal(open_source(place)[0][..., 0], image)


def test_words_that_pixels_hang_on_are_still_needed(tmp_path: Path) -> None:
    header = fits.Header()
    header["OBSCALE"] = 2.0
    fits.PrimaryHDU(np.zeros((9, 8), np.int16), header).writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    at = content.index(b"OBSCALE =")
    broken = content[:at] + b"BSCALE  = 1:2:3".ljust(31) + content[at + 31 :]
    (tmp_path / "a.fits").write_bytes(broken)
    with pytest.raises(DataError, match="cannot be read"):
        open_source(tmp_path / "a.fits")


def test_files_of_other_formats_are_told(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "sub/c.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(np.zeros((9, 8), np.uint8)).save(path)
    (tmp_path / "readme.md").write_text("no data")
    (tmp_path / "labels.csv").write_text("no data")
    assert not any("left out" in line for line in open_source(tmp_path).warnings)
    (tmp_path / "sub" / "d.czi").write_bytes(b"ZISRAWFILE")
    (tmp_path / "e.mrc").write_bytes(b"x")
    (tmp_path / "f.nii.gz").write_bytes(b"x")
    expected = "left out: 3 files of other formats (1 .czi, 1 .mrc, 1 .nii.gz)"
    for loader in (None, "images"):
        warnings = open_source(tmp_path, loader=loader).warnings
        assert any(
            line.startswith(expected) and "--loader nifti reads them" in line for line in warnings
        ), warnings


def plate(root: Path, wells: list[str]) -> None:
    """An OME-Zarr 0.4 plate of one field a well; the value of its pixels is the well's number."""
    group = zarr.open_group(root, mode="w", zarr_format=2)
    group.attrs["plate"] = {"wells": [{"path": well} for well in wells]}
    for number, path in enumerate(wells):
        well = group.create_group(path)
        well.attrs["well"] = {"images": [{"path": "0"}]}
        field = well.create_group("0")
        axes = [{"name": one, "type": "space"} for one in "yx"]
        field.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
        field.create_array("0", data=np.full((16, 16), number + 1, np.uint8))


def test_a_plate_without_a_well_has_the_others(tmp_path: Path) -> None:
    wells = ["A/1", "A/2", "B/1"]
    plate(tmp_path / "p.zarr", wells)
    shutil.rmtree(tmp_path / "p.zarr" / "A" / "2")
    source = open_source(tmp_path / "p.zarr")
    assert [int(image.max()) for image in source] == [1, 3]
    assert any("1 wells or fields" in line for line in source.warnings)
    for well in ("A/1", "B/1"):
        shutil.rmtree(tmp_path / "p.zarr" / well)
    with pytest.raises(DataError, match="none of the wells"):
        open_source(tmp_path / "p.zarr")


def test_a_bad_store_of_a_folder(tmp_path: Path) -> None:
    for number in range(4):
        zarr.save_array(tmp_path / f"{number}.zarr", np.full((16, 16), number + 1, np.uint8))
    meta = next((tmp_path / "2.zarr").glob("zarr.json"))
    meta.write_text(json.dumps({"zarr_format": 3, "node_type": "array", "shape": "?"}))
    with pytest.raises(DataError, match=r"1 of 4 stores.*--set data\.skip_unreadable=0\.25"):
        open_source(tmp_path)
    source = open_source(tmp_path, skip_unreadable=0.25)
    assert [int(image.max()) for image in source] == [1, 2, 4]


def test_stores_of_channels(tmp_path: Path) -> None:
    for number in range(2):
        for at, band in enumerate(("DAPI", "GFP")):
            values = np.full((16, 16), 10 * number + at + 1, np.uint8)
            zarr.save_array(tmp_path / f"f{number}_{band}.zarr", values)
    source = open_source(tmp_path, bands=("GFP", "DAPI"))
    assert source.shape == (16, 16, 2)
    assert [image[0, 0].tolist() for image in source] == [[2, 1], [12, 11]]
    assert any("data.bands=[DAPI,GFP]" in line for line in open_source(tmp_path).warnings)


def test_volumes_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    for number in range(6):
        write_nifti(tmp_path / f"{number}.nii", np.full((6, 5), number + 1, np.int16))
    (tmp_path / "1.nii").write_bytes((tmp_path / "1.nii").read_bytes()[:300])  # its header
    path = tmp_path / "4.nii"
    damaged = path.read_bytes()
    source = open_source(tmp_path, dimensions=3)
    path.write_bytes(damaged[:-20])  # and its values
    with pytest.raises(DataError, match=r"--set data\.skip_unreadable=0\.167"):
        strict(source).region(4, (0, 0, 0), (3, 6, 5))
    kept = readable(source, 0.34)
    assert [int(image.max()) for image in kept] == [1, 3, 4, 6]
    assert kept.spacings is not None
    np.testing.assert_array_equal(kept.spacings, np.ones((4, 3)))
    assert kept.warnings[-1] == "cannot be read and are left out: rows 1, 4"
    assert checked(source, 0.34).unreadable(range(6)) == [1, 4]
    with pytest.raises(DataError, match="2 of 6 samples cannot be read"):
        readable(source, 0.2)
