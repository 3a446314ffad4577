from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

DRAW = np.random.default_rng(0)


def numbers(*shape: int, dtype: str = "f4") -> np.ndarray:
    return DRAW.integers(0, 200, shape).astype(dtype)


def write(path: Path, *images: np.ndarray, names: str = "", header: Any = None) -> Path:
    hdus: list[Any] = [fits.PrimaryHDU()]
    hdus += [fits.ImageHDU(image, header) for image in images]
    for hdu, name in zip(hdus[1:], names.split(), strict=False):
        hdu.name = name
    fits.HDUList(hdus).writeto(path)
    return path


def sky(scale: float = 1e-4, x: float = 5.0) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.2]
    wcs.wcs.crpix = [x, 5.0]
    wcs.wcs.cdelt = [-scale, scale]
    return wcs.to_header()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "object.fits"


CUBES: list[tuple[tuple[int, ...], dict[str, Any], int, str]] = [
    ((5, 20, 20), {}, 1, "1 2 0"),
    ((3, 18, 25), {}, 1, "1 2 0"),
    ((20, 18, 4), {}, 1, "0 1 2"),
    ((16, 8, 8), {}, 1, "1 2 0"),
    ((6, 6, 6), {}, 1, "1 2 0"),
    ((40, 8, 9), {}, 40, "planes"),
    ((40, 8, 9), {"axis": "bands"}, 1, "1 2 0"),
    ((5, 20, 20), {"axis": "samples"}, 5, "planes"),
]


@pytest.mark.parametrize(("shape", "told", "samples", "order"), CUBES, ids=str)
def test_a_cube_is_bands_or_samples(
    path: Path, shape: tuple[int, ...], told: dict[str, Any], samples: int, order: str
) -> None:
    cube = numbers(*shape)
    source = open_source(write(path, cube), **told)
    assert len(source) == samples
    if order == "planes":
        expected = [plane[..., None] for plane in cube]
        assert any("samples: the" in line for line in source.decisions)
    else:
        expected = [cube.transpose([int(axis) for axis in order.split()])]
        assert any("bands: the" in line for line in source.decisions)
    assert source.shape == expected[0].shape
    for found, image in zip(source, expected, strict=True):
        np.testing.assert_array_equal(found, image)
        assert found.flags.c_contiguous


def test_four_axes(path: Path) -> None:
    cube = numbers(30, 3, 12, 11)
    source = open_source(write(path, cube))
    assert (len(source), source.shape) == (30, (12, 11, 3))
    for found, image in zip(source.__getitems__([29, 4]), cube[[29, 4]], strict=True):
        np.testing.assert_array_equal(found, image.transpose(1, 2, 0))


@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
@pytest.mark.parametrize("shape", [(1, 1, 9, 12), (1, 3, 9, 12), (3, 1, 9, 12), (30, 1, 9, 12)])
def test_axes_of_length_one_do_not_count(path: Path, kind: Any, shape: tuple[int, ...]) -> None:
    """Radio images have axes of Stokes and frequency in front."""
    image = numbers(*shape, dtype="i4")
    fits.HDUList([fits.PrimaryHDU(), kind(image)]).writeto(path)
    source = open_source(path)
    planes = image.reshape(-1, 9, 12)
    expected = planes[7] if len(planes) > 16 else np.moveaxis(planes, 0, -1)
    found = source[7 if len(planes) > 16 else 0]
    np.testing.assert_array_equal(found, expected.reshape(9, 12, -1))


def test_a_volume_on_request(path: Path) -> None:
    cube = numbers(20, 10, 12)
    source = open_source(write(path, cube), dimensions=3)
    assert source.shape == (20, 10, 12, 1)
    assert source.volumetric
    np.testing.assert_array_equal(source[0], cube[..., None])
    part = source.region(0, (3, 1, 0), (5, 4, 12))
    np.testing.assert_array_equal(part, cube[3:5, 1:4, :, None])


def test_planes_are_chosen_by_number(path: Path) -> None:
    cube = numbers(30, 20, 20)
    source = open_source(write(path, cube), bands=("7", "0"))
    np.testing.assert_array_equal(source[0], np.stack([cube[7], cube[0]], axis=-1))
    assert "bands: planes 7, 0 of 30, counted from 0" in source.decisions
    with pytest.raises(DataError, match="'30' is none of the planes 0 to 29"):
        open_source(path, bands=("30",))


def test_several_images_are_listed(path: Path) -> None:
    images = numbers(9, 8), numbers(9, 8), numbers(4, 9, 8)
    write(path, *images, names="G R CUBE")
    expected = (
        r"holds 3 images: 1 G \(9x8 float32\), 2 R \(9x8 float32\), 3 CUBE \(4x9x8 float32\)"
        r".*--set data.images=G"
    )
    with pytest.raises(DataError, match=expected):
        open_source(path)
    for wanted in ("R", "r", "2"):
        np.testing.assert_array_equal(open_source(path, images=wanted)[0][..., 0], images[1])
    assert open_source(path, images="cube").shape == (9, 8, 4)
    assert open_source(path, images="cube", bands=("3",)).shape == (9, 8, 1)
    with pytest.raises(DataError, match=r"data.images=GG: the images are 1 G.*Did you mean"):
        open_source(path, images="GG")


def test_science_goes_before_what_comes_with_it(path: Path) -> None:
    images = numbers(9, 8), numbers(9, 8), numbers(9, 8, dtype="i2")
    source = open_source(write(path, *images, names="ERR SCI DQ"))
    np.testing.assert_array_equal(source[0][..., 0], images[1])
    assert source.decisions[0] == "images: HDU 2 SCI (9x8 float32); not read: ERR, DQ"


def test_versions_of_one_name(path: Path) -> None:
    """Two chips of one camera."""
    hdus = [fits.ImageHDU(numbers(9, 8), name="SCI", ver=version) for version in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    with pytest.raises(DataError, match=r"holds 2 images: 1 SCI .*, 2 SCI,2 "):
        open_source(path)
    np.testing.assert_array_equal(open_source(path, images="SCI,2")[0][..., 0], hdus[1].data)
    np.testing.assert_array_equal(open_source(path, images="SCI")[0][..., 0], hdus[0].data)


def test_hdus_are_stacked_as_bands(path: Path) -> None:
    images = [numbers(9, 8), numbers(9, 8, dtype="i2"), numbers(9, 8)]
    write(path, *images, names="G R I", header=sky())
    source = open_source(path, bands=("i", "g"))
    assert (source.shape, source.dtype) == ((9, 8, 2), np.dtype("float32"))
    np.testing.assert_array_equal(source[0], np.stack([images[2], images[0]], axis=-1))
    mixed = open_source(path, bands=("1", "2"))
    np.testing.assert_array_equal(mixed[0], np.stack(images[:2], axis=-1))
    assert "bands: i is HDU 3 I (9x8 float32), g is HDU 1 G (9x8 float32)" in source.decisions
    with pytest.raises(DataError, match=r"data.bands=z: the images are 1 G"):
        open_source(path, bands=("g", "z"))


def test_bands_of_other_shapes_are_refused(path: Path) -> None:
    write(path, numbers(9, 8), numbers(9, 7), names="G R")
    with pytest.raises(DataError, match=r"bands g \(9x8\) and r \(9x7\) differ in shape"):
        open_source(path, bands=("g", "r"))


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        (sky(x=5.2), None),  # less than half a pixel
        (sky(x=8.0), r"3 pixels apart"),
        (sky(scale=2e-4), r"pixels apart"),
        (None, None),  # says nothing of where it is
    ],
)
def test_bands_of_other_grids_are_refused(path: Path, other: Any, apart: str | None) -> None:
    hdus = [fits.ImageHDU(numbers(9, 8), sky(), "G"), fits.ImageHDU(numbers(9, 8), other, "R")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    if apart is None:
        assert open_source(path, bands=("g", "r")).shape == (9, 8, 2)
    else:
        with pytest.raises(DataError, match=f"bands g and r lie on different grids.*{apart}"):
            open_source(path, bands=("g", "r"))


def test_hdus_as_samples(path: Path) -> None:
    images = [numbers(9, 8), numbers(7, 8), numbers(3, 9, 8)]
    source = open_source(write(path, *images), axis="hdus")
    assert len(source) == 2
    np.testing.assert_array_equal(source[1][..., 0], images[1])
    assert "1 of 3 HDUs are left out" in source.warnings[0]


def test_what_is_done_to_the_numbers_is_told(path: Path) -> None:
    hdu = fits.PrimaryHDU(numbers(9, 8, dtype="u2"))
    hdu.writeto(path)
    assert "values: int16 with BZERO 32768 become uint16" in open_source(path).decisions


def test_an_unknown_axis_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match=r"data.axis='axial'.*'bands' or 'samples'"):
        open_source(write(path, numbers(9, 8)), axis="axial")
