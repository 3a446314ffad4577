from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.fits.test_fits_bands import numbers, write
from tests.data.fuzz import flip_bits

REAL = Path(os.environ.get("DOMAINJEPA_DATA", "data")) / "fits_multiband"


def test_the_content_decides_what_is_fits(tmp_path: Path) -> None:
    image = numbers(9, 8)
    fits.PrimaryHDU(image).writeto(tmp_path / "image.fits.gz")
    (tmp_path / "image.fits.gz").rename(tmp_path / "nameless")
    source = open_source(tmp_path / "nameless")
    assert (source.loader, source.name) == ("fits", "nameless")
    np.testing.assert_array_equal(source[0][..., 0], image)
    (tmp_path / "text.fits").write_text("nothing of the kind")
    with pytest.raises(DataError, match="is named like FITS but does not begin like it: it is tex"):
        open_source(tmp_path / "text.fits")
    (tmp_path / "empty.fits").write_bytes(b"")
    with pytest.raises(DataError, match=r"is empty \(0 bytes\)"):
        open_source(tmp_path / "empty.fits")
    (tmp_path / "packed.fits.gz").write_bytes(b"\x1f\x8b\xff\xff")
    with pytest.raises(DataError, match=r"cannot be read.*Is it complete"):
        open_source(tmp_path / "packed.fits.gz")


@pytest.mark.parametrize("name", ["cube.fits", "cube.fits.gz", "cube.fits.fz"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(tmp_path: Path, name: str, method: str) -> None:
    cube = numbers(20, 9, 8, dtype="i2")
    kind = fits.CompImageHDU if name.endswith("fz") else fits.ImageHDU
    fits.HDUList([fits.PrimaryHDU(), kind(cube)]).writeto(tmp_path / name)
    source = open_source(tmp_path / name)
    np.testing.assert_array_equal(source[3][..., 0], cube[3])
    assert len(pickle.dumps(source)) < 5_000
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.map(source.__getitem__, [3, 19, 0])
    for image, index in zip(found, [3, 19, 0], strict=True):
        np.testing.assert_array_equal(image[..., 0], cube[index])


def test_a_part_is_read_alone(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.fits", numbers(3, 90, 80)))
    part = source.region(0, (10, 20), (13, 80))
    np.testing.assert_array_equal(part, source[0][10:13, 20:80])
    assert source.sides(0) == (90, 80)
    with pytest.raises(IndexError):
        source[1]


def test_a_sample_larger_than_allowed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", numbers(300, 200))
    with pytest.raises(DataError, match=r"240,000 bytes.*data.tile=.*data.max_sample_bytes=240000"):
        open_source(path, max_sample_bytes=100_000)
    tiles = open_source(path, max_sample_bytes=100_000, tile=100)
    assert len(tiles) == 6
    np.testing.assert_array_equal(tiles[5], open_source(path)[0][200:, 100:])


def test_the_content_key_follows_the_content(tmp_path: Path) -> None:
    cube = numbers(5, 20, 20)
    path = write(tmp_path / "a.fits", cube)
    key = open_source(path).content_key()
    assert open_source(path, bands=("1",)).content_key() != key
    assert open_source(path, axis="samples").content_key() != key
    shutil.copy(path, tmp_path / "b.fits")
    assert open_source(tmp_path / "b.fits").content_key() == key
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[0, 0, 0] += 1
    assert open_source(path).content_key() != key
    folder = open_source(tmp_path).content_key()
    write(tmp_path / "c.fits", cube)
    assert open_source(tmp_path).content_key() != folder


def test_nothing_is_said_beside_the_source(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """astropy would warn of a header like this one."""
    hdu = fits.ImageHDU(numbers(9, 8))
    hdu.header["CRPIX1"], hdu.header["RADECSYS"], hdu.header["CTYPE1"] = 5.0, "FK5", "RA---TAN"
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"BITPIX  =    ", b"BITPIX=      ").ljust(len(content) + 99))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(DataError):
            open_source(path)[0]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "times"), [("plain", 100), ("gzip", 40), ("tiles", 100), ("folder", 20), ("table", 60)]
)
def test_flipped_bits_give_a_message_or_an_array(tmp_path: Path, kind: str, times: int) -> None:
    path = tmp_path / {"gzip": "a.fits.gz", "tiles": "a.fits.fz"}.get(kind, "a.fits")
    image = np.random.default_rng(0).normal(0, 1, (2, 24, 20)).astype("f4")
    hdus: list[Any] = [fits.ImageHDU(image)]
    if kind == "table":
        stamps = fits.Column("stamps", "480E", dim="(20,24)", array=image)
        hdus = [fits.BinTableHDU.from_columns([stamps])]
    if kind == "tiles":
        hdus = [fits.CompImageHDU(image[0], tile_shape=(8, 20)), fits.ImageHDU(image[1])]
        hdus[0].name = "SCI"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    flip_bits(path, times, kind, warnings="ignore")


@pytest.mark.skipif(not REAL.exists(), reason="real data are not here")
def test_real_cubes_of_five_bands() -> None:
    source = open_source(REAL)
    assert (len(source), source.shape, source.dtype) == (2, (50, 50, 5), np.dtype("float64"))
    assert "2 of 4 files are left out" in source.warnings[0]
    expected = fits.getdata(REAL / "Cut_HSC1.fits")
    np.testing.assert_array_equal(source[1], np.moveaxis(expected, 0, -1))
    other = open_source(REAL, images="Cut_HST*")
    np.testing.assert_array_equal(other[0][..., 0], fits.getdata(REAL / "Cut_HST.fits"))
