from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from domainjepa.data.formats.fits.cutouts import cutouts
from domainjepa.data.source import OpenOptions, Source
from domainjepa.errors import DataError
from tests.data.formats.fits.test_fits_bands import numbers, sky, write
from tests.data.formats.fits.test_fits_sky import header_with_sip

DRAW = np.random.default_rng(0)
INSIDE = np.array([[20.0, 30.0], [41.5, 17.49], [33.2, 60.9]])
AT_THE_EDGE = np.array([[1.0, 30.0], [79.4, 89.4], [-3.0, -3.5], [40.2, 89.9]])


def cut(root: Path, positions: Any, size: Any = 9, sky: bool = False, **told: Any) -> Source:
    files, hdus = told.pop("files", None), told.pop("hdus", None)
    files = files or ["mosaic.fits"] * len(positions)
    options = OpenOptions(**told)
    return cutouts(root, files, hdus, np.asarray(positions, float), size, options, sky=sky)


def astropys(image: np.ndarray, position: Any, size: int, wcs: Any = None) -> np.ndarray:
    image = image if image.dtype.kind == "f" else image.astype("f4")
    where = {"mode": "partial", "fill_value": np.nan, "wcs": wcs}
    cutout: np.ndarray = Cutout2D(image, position, (size, size), **where).data
    return cutout


@pytest.mark.parametrize("dtype", ["f4", "u2", "u1", "f8"])
@pytest.mark.parametrize("packed", ["", ".gz", ".fz"])
@pytest.mark.parametrize("size", [8, 9])
def test_pixels_are_those_of_cutout2d(tmp_path: Path, dtype: str, packed: str, size: int) -> None:
    image = numbers(90, 80, dtype=dtype)
    kind = fits.CompImageHDU if packed == ".fz" else fits.ImageHDU
    name = f"mosaic.fits{packed}"
    fits.HDUList([fits.PrimaryHDU(), kind(image)]).writeto(tmp_path / name)
    image = fits.getdata(tmp_path / name, 1)
    for positions, filled in ((INSIDE, False), (np.vstack([INSIDE, AT_THE_EDGE]), True)):
        source = cut(tmp_path, positions, size, files=[name] * len(positions))
        assert (len(source), source.shape) == (len(positions), (size, size, 1))
        for found, position in zip(source, positions, strict=True):
            assert found.dtype == source.dtype
            np.testing.assert_array_equal(found[..., 0], astropys(image, position, size))
        if filled:
            assert "4 cut-outs reach beyond the edge of their image; NaN is there" in (
                source.decisions
            )
        assert source.dtype == (np.result_type(dtype, "f4") if filled else np.dtype(dtype))


def test_positions_on_the_sky(tmp_path: Path) -> None:
    image = numbers(90, 80)
    header = header_with_sip()
    header["CRPIX1"], header["CRPIX2"] = 30.0, 40.0
    fits.PrimaryHDU(image, header).writeto(tmp_path / "mosaic.fits")
    points = np.array([[150.0, 2.2], [150.001, 2.2013], [149.9985, 2.1990]])
    source = cut(tmp_path, points, 11, sky=True)
    for found, point in zip(source, points, strict=True):
        expected = astropys(image, SkyCoord(*point, unit="deg"), 11, WCS(header))
        np.testing.assert_array_equal(found[..., 0], expected)
    np.testing.assert_array_equal(source.column("dec"), points[:, 1])


def test_bands_files_hdus_and_sizes(tmp_path: Path) -> None:
    images = [numbers(90, 80) for _ in range(4)]
    write(tmp_path / "a.fits", *images[:2], names="G R", header=sky())
    write(tmp_path / "b.fits", *images[2:], names="G R", header=sky())
    files = ["b.fits", "a.fits", "b.fits"]
    source = cut(tmp_path, INSIDE, np.array([8, 10, 12]), files=files, bands=("r", "g"))
    assert source.shape == (8, 8, 2)
    for found, at, position, size in zip(source, (2, 0, 2), INSIDE, (8, 10, 12), strict=True):
        for band, image in enumerate((images[at + 1], images[at])):
            np.testing.assert_array_equal(found[..., band], astropys(image, position, size))
    one = cut(tmp_path, INSIDE, 8, files=files, hdus=["R", 1, "g"])
    for found, at, position in zip(one, (3, 0, 2), INSIDE, strict=True):
        np.testing.assert_array_equal(found[..., 0], astropys(images[at], position, 8))
    cube = np.stack(images)
    fits.PrimaryHDU(cube).writeto(tmp_path / "cube.fits")
    planes = cut(tmp_path, AT_THE_EDGE, 8, files=["cube.fits"] * 4, bands=("3", "0"))
    for found, position in zip(planes, AT_THE_EDGE, strict=True):
        np.testing.assert_array_equal(found[..., 0], astropys(images[3], position, 8))
        np.testing.assert_array_equal(found[..., 1], astropys(images[0], position, 8))


def test_a_part_of_a_cut_out(tmp_path: Path) -> None:
    fits.PrimaryHDU(numbers(90, 80)).writeto(tmp_path / "mosaic.fits")
    source = pickle.loads(pickle.dumps(cut(tmp_path, AT_THE_EDGE, 12)))  # noqa: S301
    for index in range(4):
        for start, stop in (((0, 0), (12, 12)), ((3, 5), (9, 6)), ((0, 9), (4, 12))):
            whole = source[index][start[0] : stop[0], start[1] : stop[1]]
            np.testing.assert_array_equal(source.region(index, start, stop), whole)
    assert source.sides(0) == (12, 12)


def test_only_the_rows_of_a_cut_out_are_read(tmp_path: Path) -> None:
    """A mosaic of 4 TB, nearly all of it a hole in the file."""
    path = tmp_path / "mosaic.fits"
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2})
    header["NAXIS1"], header["NAXIS2"] = 2**20, 2**20
    start = header.tostring().encode()
    with path.open("wb") as file:
        try:
            file.truncate(len(start) + 2**42)
        except OSError:
            pytest.skip("this disk has no files with holes")
        file.write(start)
        file.seek(len(start) + 4 * (777_777 * 2**20 + 99))
        file.write(np.array([1.5, 2.5], ">f4").tobytes())
    source = cut(tmp_path, [[100.0, 777_777.0]], 5)
    np.testing.assert_array_equal(source[0][2, :, 0], [0, 1.5, 2.5, 0, 0])
    with pytest.raises(DataError, match=r"data.max_sample_bytes"):
        cut(tmp_path, [[2.0**19, 2.0**19]], 2**16)


def test_what_lies_outside_is_refused(tmp_path: Path) -> None:
    fits.PrimaryHDU(numbers(90, 80)).writeto(tmp_path / "mosaic.fits")
    fits.PrimaryHDU(numbers(3, 90, 80)).writeto(tmp_path / "cube.fits")
    positions = [[20.0, 20.0], [200.0, 20.0], [np.nan, 3.0]]
    expected = r"2 of 3 positions .* row 1: x, y = 200, 20, image mosaic.fits of 90x80 pixels"
    with pytest.raises(DataError, match=expected):
        cut(tmp_path, positions)
    with pytest.raises(DataError, match=r"cube.fits is 3x90x80: 3 bands; the first mosaic has 1"):
        cut(tmp_path, INSIDE[:2], files=["mosaic.fits", "cube.fits"])
    with pytest.raises(DataError, match="does not place its pixels on the sky"):
        cut(tmp_path, INSIDE, sky=True)
    with pytest.raises(DataError, match=r"mosaic.fits: data.images=SCI"):
        cut(tmp_path, INSIDE, hdus=["SCI"] * 3)
    (tmp_path / "bad.fits").write_bytes(b"SIMPLE  =")
    with pytest.raises(DataError, match=r"bad.fits cannot be read"):
        cut(tmp_path, INSIDE, files=["bad.fits"] * 3)


def test_the_content_key_tells_positions_apart(tmp_path: Path) -> None:
    fits.PrimaryHDU(numbers(90, 80)).writeto(tmp_path / "mosaic.fits")
    assert cut(tmp_path, INSIDE).content_key() == cut(tmp_path, INSIDE).content_key()
    assert cut(tmp_path, INSIDE).content_key() != cut(tmp_path, INSIDE + 1).content_key()
