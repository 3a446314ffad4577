from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from domainjepa.data.formats.fits.images import contents
from domainjepa.data.formats.fits.pixels import pixels

DRAW = np.random.default_rng(0)
COUNTS = DRAW.integers(-500, 500, (40, 30))
FLUX = DRAW.normal(100, 10, (40, 30))
FLUX[3, 4] = np.nan
MOST = 2**24


def read(path: Path, number: int = 0, **where: slice) -> np.ndarray:
    [hdu] = [hdu for hdu in contents(path, MOST).hdus if hdu.number == number]
    values = pixels(path, hdu, "HW", where)
    assert values.dtype == hdu.dtype
    assert values.dtype.isnative
    assert values.flags.c_contiguous
    assert values.flags.writeable
    return values[..., 0]


def write(path: Path, stored: np.ndarray, **cards: Any) -> Path:
    hdu = fits.PrimaryHDU(stored)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "f4", "f8"]
)
@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_values_are_astropys(tmp_path: Path, dtype: str, suffix: str) -> None:
    values = (COUNTS % 128 if "int8" in dtype else COUNTS).astype(dtype)
    path = write(tmp_path / f"image{suffix}", values)
    np.testing.assert_array_equal(read(path), values)
    assert read(path).dtype == np.dtype(dtype)
    expected = fits.getdata(path)
    np.testing.assert_array_equal(read(path), expected)
    assert read(path).dtype == expected.dtype.newbyteorder("=")


@pytest.mark.filterwarnings("ignore:Invalid 'BLANK' keyword")
@pytest.mark.parametrize("stored", ["uint8", "int16", "int32", "int64", "f4", "f8"])
@pytest.mark.parametrize(
    "cards",
    [
        {"BSCALE": 0.1, "BZERO": 7.5},
        {"BSCALE": 3.0},
        {"BZERO": -3.0},
        {"BLANK": 17},
        {"BSCALE": 0.5, "BLANK": 17},
    ],
    ids=lambda cards: "+".join(cards),
)
def test_scales_and_blanks_are_astropys(
    tmp_path: Path, stored: str, cards: dict[str, float]
) -> None:
    values = (np.abs(COUNTS) % 256).astype(stored)
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(values).writeto(path)
    # Written behind astropy's back, which would scale the pixels.
    content = path.read_bytes()
    lines = b"".join(f"{key:8}= {value!r:>20}".ljust(80).encode() for key, value in cards.items())
    end = content.index(b"END" + b" " * 77)
    path.write_bytes(content[:end] + lines + content[end : 2880 - len(lines)] + content[2880:])
    expected = fits.getdata(path)
    found = read(path)
    assert found.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, expected)
    if "BLANK" in cards and found.dtype.kind == "f" and stored[0] != "f":
        np.testing.assert_array_equal(np.isnan(found), values == 17)


def test_a_blank_among_unsigned_integers_is_nan(tmp_path: Path) -> None:
    """BLANK is a stored value (FITS standard 4.0, section 4.4.2.5); astropy overlooks this one."""
    stored = COUNTS.astype("int16")
    stored[5, 6] = -32768
    path = write(tmp_path / "image.fits", stored)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header.update({"BZERO": 32768, "BSCALE": 1, "BLANK": -32768})
    expected = stored.astype("float32") + 32768
    expected[5, 6] = np.nan
    np.testing.assert_array_equal(read(path), expected)


@pytest.mark.parametrize("method", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "f4", "f8"])
def test_tiles_are_astropys(tmp_path: Path, method: str, dtype: str) -> None:
    if method == "PLIO_1" and dtype not in ("uint8", "int16"):
        pytest.skip("PLIO holds small positive integers")
    values = (FLUX if dtype[0] == "f" else np.abs(COUNTS) % 256).astype(dtype)
    path = tmp_path / "image.fits.fz"
    packed = fits.CompImageHDU(values, compression_type=method, tile_shape=(8, 16))
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    expected = fits.getdata(path, 1)
    found = read(path, 1)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, expected)
    if dtype[0] == "f":
        assert np.isnan(found[3, 4])
    else:
        np.testing.assert_array_equal(found, values)
    part = read(path, 1, H=slice(5, 30), W=slice(29, 30))
    np.testing.assert_array_equal(part, expected[5:30, 29:30])


def test_scales_and_blanks_of_tiles_are_astropys(tmp_path: Path) -> None:
    path = tmp_path / "scaled.fits.fz"
    packed = fits.CompImageHDU(COUNTS.astype("int16"))
    packed.header["BSCALE"], packed.header["BZERO"] = 0.25, 3.0
    packed.writeto(path)
    expected = fits.getdata(path)
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(read(path, 1), expected)
    np.testing.assert_array_equal(expected, COUNTS * 0.25 + 3)
    path = tmp_path / "image.fits.fz"
    packed = fits.CompImageHDU(COUNTS.astype("int16"))
    packed.header["BLANK"] = int(COUNTS[0, 0])
    packed.writeto(path)
    found = read(path, 1)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), COUNTS[0, 0] == COUNTS)
    np.testing.assert_array_equal(found, fits.getdata(path, 1))


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_a_part_is_that_of_astropys_section(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    kind = fits.CompImageHDU if name.endswith("fz") else fits.ImageHDU
    fits.HDUList([fits.PrimaryHDU(), kind(COUNTS.astype("uint16"))]).writeto(path)
    with fits.open(path) as hdus:
        for rows, columns in [((0, 40), (0, 30)), ((7, 8), (0, 30)), ((13, 29), (11, 12))]:
            expected = hdus[1].section[slice(*rows), slice(*columns)]
            found = read(path, 1, H=slice(*rows), W=slice(*columns))
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_axes_and_planes(tmp_path: Path, name: str) -> None:
    cube = DRAW.integers(0, 1000, (4, 3, 12, 10)).astype("int32")
    path = tmp_path / name
    kind = fits.CompImageHDU if name.endswith("fz") else fits.ImageHDU
    fits.HDUList([fits.PrimaryHDU(), kind(cube)]).writeto(path)
    [hdu] = contents(path, MOST).hdus
    found = pixels(path, hdu, "NCHW", {"N": 2, "H": slice(1, 5)}, planes=(2, 0))
    np.testing.assert_array_equal(found, np.moveaxis(cube[2, [2, 0], 1:5], 0, -1))
    hwc = hdu._replace(shape=(4, 3, 12, 10))
    found = pixels(path, hwc, "NHWC", {"N": 1, "W": slice(2, 9)}, planes=(9, 0))
    np.testing.assert_array_equal(found, cube[1, :, 2:9][..., [9, 0]])
