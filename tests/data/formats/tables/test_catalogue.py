from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.tables.test_table import table

DRAW = np.random.default_rng(0)
SKY = DRAW.normal(size=(2, 60, 80)).astype("f4")


@pytest.fixture
def mosaics(tmp_path: Path) -> WCS:
    """Two mosaics of one grid, the second in a named HDU."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150.0, 2.0], [40.5, 30.5], [-1e-4, 1e-4]
    header = wcs.to_header()
    fits.PrimaryHDU(SKY[0], header).writeto(tmp_path / "a.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(SKY[1], header, "SCI")]).writeto(
        tmp_path / "b.fits"
    )
    return wcs


def test_rows_are_cut_outs_at_pixels(tmp_path: Path, mosaics: WCS) -> None:
    path = table(
        tmp_path / "t.csv",
        file=["a.fits", "b.fits", "a.fits"],
        hdu=["", "SCI", "0"],
        x=[30, 20, 2],
        y=[20, 40, 2],
        size=[9, 9, 9],
        label=["disk", "ring", "disk"],
    )
    source = open_source(path)
    assert (len(source), source.shape, source.classes) == (3, (9, 9, 1), ("disk", "ring"))
    assert any(line == "cut-outs: 9 pixels a side, at columns x and y" for line in source.decisions)
    for image, sky, at in zip(source, (0, 1, 0), ((30, 20), (20, 40), (2, 2)), strict=True):
        cut = Cutout2D(SKY[sky], at, 9, mode="partial", fill_value=np.nan)
        np.testing.assert_array_equal(image[..., 0], cut.data)


def test_rows_are_cut_outs_at_positions_on_the_sky(tmp_path: Path, mosaics: WCS) -> None:
    at = np.array([(30, 20), (20, 40)])
    ra, dec = mosaics.all_pix2world(at, 0).T
    path = table(tmp_path / "t.parquet", file=["a.fits"] * 2, ra=ra, dec=dec, size=[9, 9])
    source = open_source(path)
    for image, centre in zip(source, at, strict=True):
        cut = Cutout2D(SKY[0], centre, 9, mode="partial", fill_value=np.nan)
        np.testing.assert_array_equal(image[..., 0], cut.data)
    np.testing.assert_array_equal(source.column("ra"), ra)


def test_right_ascension_in_the_place_of_declination_is_told(tmp_path: Path, mosaics: WCS) -> None:
    path = table(tmp_path / "t.csv", file=["a.fits"], ra=[2.2], dec=[150.1], size=[9])
    with pytest.raises(DataError, match=r"declination 150\.1 is none.*wrong way round"):
        open_source(path)


def test_without_a_size_the_files_are_the_samples(tmp_path: Path, mosaics: WCS) -> None:
    path = table(tmp_path / "t.csv", file=["a.fits", "b.fits"], ra=[1, 2], dec=[3, 4])
    assert open_source(path).shape == (60, 80, 1)


@pytest.mark.parametrize("names", [("x", "y"), ("ra", "dec")])
def test_several_positions_in_a_mosaic_need_a_size(
    tmp_path: Path, mosaics: WCS, names: tuple[str, str]
) -> None:
    columns = dict(zip(names, ([1, 2], [3, 3]), strict=True))
    with pytest.raises(DataError, match=rf"\({' and '.join(names)}\) of one file.*column 'size'"):
        open_source(table(tmp_path / "t.csv", file=["a.fits"] * 2, **columns))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"size": [8, 9]}, r"sizes from 8 to 9 pixels"),
        ({"size": [8, 0]}, r"the size 0 in row 1"),
        ({"size": [8.5, 8]}, r"the size 8\.5 in row 0"),
        ({"size": [8, 8], "x": ["1", "left"]}, r"column 'x' of t\.csv is not a number in every"),
        ({"size": [8, 8], "x": [1, ""]}, r"column 'x' of t\.csv is not a number in every"),
    ],
)
def test_columns_that_do_not_fit_are_errors(
    tmp_path: Path, mosaics: WCS, columns: dict[str, Any], says: str
) -> None:
    given = {"file": ["a.fits"] * 2, "x": [1, 2], "y": [3, 4]} | columns
    with pytest.raises(DataError, match=says):
        open_source(table(tmp_path / "t.csv", **given))
