from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

STAMPS = np.random.default_rng(0).integers(0, 60_000, (8, 3, 9, 10)).astype("uint16")
KINDS = np.array(["spiral", "round"] * 4)


def write(path: Path, *more: Any, stamps: np.ndarray = STAMPS) -> Path:
    columns = [
        fits.Column("flag", "L", array=np.arange(8) % 2 == 0),
        fits.Column("stamp", "270I", bzero=32768, dim="(10,9,3)", array=stamps),
        fits.Column("label", "8A", array=KINDS),
        fits.Column("redshift", "E", array=np.arange(8) / 8),
        fits.Column("mag", "I", null=-99, array=np.array([20, -99] * 4)),
        fits.Column("history", "PE()", array=np.array([np.ones(k) for k in range(8)], object)),
        *more,
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    return path


def test_rows_are_samples(tmp_path: Path) -> None:
    source = pickle.loads(pickle.dumps(open_source(write(tmp_path / "set.fits"))))  # noqa: S301
    assert (len(source), source.shape, source.dtype) == (8, (9, 10, 3), np.dtype("uint16"))
    for index in (5, 0, 7):
        np.testing.assert_array_equal(source[index], STAMPS[index].transpose(1, 2, 0))
        assert source[index].dtype.isnative
    assert source.classes == ("round", "spiral")
    assert source.labels.tolist() == [1, 0] * 4
    assert source.keys == ("flag", "stamp", "label", "redshift", "mag")
    table = fits.getdata(tmp_path / "set.fits", 1)
    np.testing.assert_array_equal(source.column("redshift"), table["redshift"])
    np.testing.assert_array_equal(source.column("flag"), table["flag"])
    np.testing.assert_array_equal(source.column("mag"), [20, np.nan] * 4)
    np.testing.assert_array_equal(source.column("stamp"), table["stamp"])


def test_the_column_is_chosen(tmp_path: Path) -> None:
    other = fits.Column("psf", "64D", dim="(8,8)", array=np.ones((8, 8, 8)))
    path = write(tmp_path / "set.fits", other)
    with pytest.raises(DataError, match=r"2 arrays that could be the images.*--set data.images="):
        open_source(path)
    assert open_source(path, images="psf", labels="flag").shape == (8, 8, 1)
    with pytest.raises(DataError, match="is 8 float32, not images"):
        open_source(path, images="redshift")


def test_a_table_beside_a_cube_of_samples(tmp_path: Path) -> None:
    write(tmp_path / "set.fits")
    with fits.open(tmp_path / "set.fits") as hdus:
        cube = fits.ImageHDU(STAMPS, name="stamps")
        fits.HDUList([fits.PrimaryHDU(), cube, hdus[1]]).writeto(tmp_path / "cube.fits")
    source = open_source(tmp_path / "cube.fits")
    assert (len(source), source.shape) == (8, (9, 10, 3))
    np.testing.assert_array_equal(source[3], STAMPS[3].transpose(1, 2, 0))
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0] * 4
    np.testing.assert_array_equal(source.column("redshift"), np.arange(8) / 8)
    assert open_source(tmp_path / "cube.fits", labels="FLAG").classes is None


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "set.fits")
    with pytest.raises(DataError, match="540 bytes"):
        open_source(path, max_sample_bytes=100)
    content = path.read_bytes()
    (tmp_path / "short.fits").write_bytes(content[:7000])
    with pytest.raises(DataError, match="truncated"):
        open_source(tmp_path / "short.fits")
    wide = content.replace(b"TFORM2  = '270I", b"TFORM2  = '271I")
    (tmp_path / "wide.fits").write_bytes(wide)
    with pytest.raises(DataError, match=r"wide.fits: .*do not fill its rows"):
        open_source(tmp_path / "wide.fits")
    bare = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])
    bare.writeto(tmp_path / "bare.fits")
    with pytest.raises(DataError, match=r"bare.fits: the table has no array of images"):
        open_source(tmp_path / "bare.fits")
