from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.fits.test_fits_bands import numbers, write


def save(path: Path, image: np.ndarray, **cards: Any) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu = fits.PrimaryHDU(image)
    hdu.header.update(cards)
    hdu.writeto(path)
    return image


def test_one_sample_a_file(tmp_path: Path) -> None:
    images = {
        "spiral/a.fits": numbers(3, 9, 8),
        "spiral/b.fits.gz": numbers(3, 9, 8),
        "round/c.FIT": numbers(3, 12, 10),
    }
    for name, image in images.items():
        save(tmp_path / name, image)
    packed = fits.CompImageHDU(numbers(3, 9, 8, dtype="i2"))
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(tmp_path / "round" / "d.fits.fz")
    images["round/d.fits.fz"] = packed.data
    source = open_source(tmp_path)
    assert (source.name, source.loader, len(source)) == (tmp_path.name, "fits", 4)
    assert (source.shape, source.dtype) == ((12, 10, 3), np.dtype("float32"))
    for found, name in zip(source, sorted(images), strict=True):
        np.testing.assert_array_equal(found, images[name].transpose(1, 2, 0))
        assert found.dtype == np.float32
    assert source.classes == ("round", "spiral")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.ids is not None
    assert source.ids.tolist() == ["c", "d", "a", "b"]
    assert source.sides(2) == (9, 8)
    assert "sizes differ: 2 of them; the shape is the first's" in source.decisions
    assert "values: float32, int16 are mixed, and all become float32" in source.decisions


def test_files_of_other_bands_are_left_out(tmp_path: Path) -> None:
    for index in range(2):
        save(tmp_path / f"hsc{index}.fits", numbers(5, 9, 9))
        save(tmp_path / f"hst{index}.fits", numbers(20, 20))
    source = open_source(tmp_path)
    assert (len(source), source.shape) == (2, (9, 9, 5))
    assert "2 of 4 files are left out" in source.warnings[0]
    assert "data.images='PATTERN'" in source.warnings[0]
    other = open_source(tmp_path, images="hst*")
    assert (len(other), other.shape, other.warnings) == (2, (20, 20, 1), [])


def test_hdus_of_every_file(tmp_path: Path) -> None:
    images = [numbers(9, 8) for _ in range(6)]
    for index in range(3):
        write(tmp_path / f"{index}.fits", *images[2 * index : 2 * index + 2], names="G R")
    (tmp_path / "catalogue").mkdir()
    fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])]).writeto(
        tmp_path / "catalogue" / "rows.fits"
    )
    with pytest.raises(DataError, match=r"0.fits: it holds 2 images: 1 G"):
        open_source(tmp_path)
    for wanted in ("R", "2", "*.fits[R]", "[R]"):
        source = open_source(tmp_path, images=wanted)
        np.testing.assert_array_equal(source[2][..., 0], images[5])
        assert "1 of 4 files are left out" in source.warnings[0]
    assert len(open_source(tmp_path, images="[12].fits[R]")) == 2
    stacked = open_source(tmp_path, bands=("r", "g"))
    np.testing.assert_array_equal(stacked[1], np.stack([images[3], images[2]], axis=-1))
    with pytest.raises(DataError, match=r"no part of a file name is .z. or .g."):
        open_source(tmp_path, bands=("z", "g"))


def test_planes_of_every_file(tmp_path: Path) -> None:
    cubes = [save(tmp_path / f"{index}.fits", numbers(30, 20, 20)) for index in range(2)]
    with pytest.raises(DataError, match=r"0.fits is a cube of 30 planes.*data.axis=bands"):
        open_source(tmp_path)
    assert open_source(tmp_path, axis="bands").shape == (20, 20, 30)
    assert open_source(tmp_path, dimensions=3).shape == (30, 20, 20, 1)
    source = open_source(tmp_path, bands=("4", "2"))
    np.testing.assert_array_equal(source[1], cubes[1][[4, 2]].transpose(1, 2, 0))


def test_a_file_that_cannot_be_read_says_so_when_it_is_asked_for(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.fits", numbers(90, 80))
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content[:9000])
    source = open_source(tmp_path)
    assert len(source) == 3
    assert source.shape == (90, 80, 1)
    assert "1 of 3 samples cannot be read, the first: a.fits" in source.warnings[0]
    with pytest.raises(DataError, match=r"sample 0: a.fits cannot be read: .*truncated"):
        source[0]
    (tmp_path / "b.fits").write_bytes(content[:2880])
    with pytest.raises(DataError, match=r"sample 1, HDU 0 of b.fits.* shorter than"):
        source[1]
    for name in "bc":
        (tmp_path / f"{name}.fits").write_bytes(content[:2880])
    with pytest.raises(DataError, match=r"a.fits cannot be read"):
        open_source(tmp_path)


def test_a_list_of_files_keeps_its_order(tmp_path: Path) -> None:
    from domainjepa.data.formats.fits.loader import FITSLoader
    from domainjepa.data.source import OpenOptions

    images = [save(tmp_path / f"{index}.fits", numbers(9, 8)) for index in range(3)]
    save(tmp_path / "cube.fits", numbers(5, 9, 8))
    source = FITSLoader().open_files(tmp_path, ["2.fits", "0.fits", "2.fits"], OpenOptions())
    for found, index in zip(source, [2, 0, 2], strict=True):
        np.testing.assert_array_equal(found[..., 0], images[index])
    with pytest.raises(DataError, match="file 1 has 5 bands; the first has 1 band"):
        FITSLoader().open_files(tmp_path, ["2.fits", "cube.fits"], OpenOptions())


def test_header_keywords_are_columns_and_labels(tmp_path: Path) -> None:
    angles: list[Any] = [150.25, "10:01:00", None, "nonsense"]
    for index, angle in enumerate(angles):
        cards = {"RA": angle} if angle is not None else {}
        save(
            tmp_path / f"{index}.fits", numbers(9, 8), OBJECT=f"M{index}", MORPH=index % 2, **cards
        )
    source = open_source(tmp_path)
    assert source.keys == ("object", "ra")
    np.testing.assert_allclose(source.column("ra"), [150.25, 150.25, np.nan, np.nan])
    assert source.column("object").tolist() == ["M0", "M1", "M2", "M3"]
    assert source.labels is None
    labelled = open_source(tmp_path, labels="MORPH", groups="OBJECT")
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [0, 1, 0, 1]
    assert labelled.groups is not None
    assert labelled.groups.tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match="no column 'dec'"):
        source.column("dec")
    with pytest.raises(DataError, match="labels"):
        open_source(tmp_path, labels="KIND")
