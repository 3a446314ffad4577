from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.fits.test_fits_bands import numbers, sky
from tests.data.formats.fits.test_fits_folder import save


@pytest.mark.parametrize(
    "pattern", ["{}_{}.fits", "{}-{}-stack.fits", "{1}/{0}.fits", "x/HSC.{1}.{0}.fits"]
)
def test_one_file_a_band(tmp_path: Path, pattern: str) -> None:
    images = {}
    for name in ("obj1", "obj2", "g1"):
        for band in "gri":
            file = pattern.format(name, band.upper() if name == "obj2" else band)
            images[name, band] = save(tmp_path / file, numbers(9, 8))
    save(tmp_path / "psf.fits", numbers(3, 3))
    source = open_source(tmp_path, bands=("i", "g"))
    assert (len(source), source.shape) == (3, (9, 8, 2))
    assert source.ids is not None
    names = [str(one).replace("-stack", "").replace("HSC.", "") for one in source.ids]
    assert sorted(names) == ["g1", "obj1", "obj2"]
    for found, name in zip(source, names, strict=True):
        np.testing.assert_array_equal(found[..., 0], images[name, "i"])
        np.testing.assert_array_equal(found[..., 1], images[name, "g"])
    assert "bands: i, g, one file each" in source.decisions


def test_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    images = {band: save(tmp_path / f"a_{band}.fits", numbers(9, 8)) for band in ("r", "R")}
    source = open_source(tmp_path, bands=("R", "r"))
    np.testing.assert_array_equal(source[0], np.stack([images["R"], images["r"]], axis=-1))


def test_missing_bands(tmp_path: Path) -> None:
    for index in range(4):
        for band in "gr":
            save(tmp_path / f"obj{index}_{band}.fits", numbers(9, 8))
    (tmp_path / "obj2_r.fits").unlink()
    with pytest.raises(DataError, match=r"'obj2' has no file of the band 'r'.*1 of 4 objects"):
        open_source(tmp_path, bands=("g", "r"))
    for index in range(4, 104):
        for band in "gr":
            (tmp_path / f"obj{index}_{band}.fits").write_bytes(
                (tmp_path / "obj0_g.fits").read_bytes()
            )
    source = open_source(tmp_path, bands=("g", "r"))
    assert len(source) == 103
    assert source.warnings == ["1 of 104 objects lack a band and are left out"]
    (tmp_path / "obj0-g.fits").write_bytes((tmp_path / "obj0_g.fits").read_bytes())
    (tmp_path / "obj0_G.fits").write_bytes((tmp_path / "obj0_g.fits").read_bytes())
    with pytest.raises(DataError, match="are both of the band 'g'"):
        open_source(tmp_path, bands=("g", "r"))


def test_bands_of_one_object_that_do_not_fit(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / f"{index}_g.fits", numbers(9, 8), **dict(sky()))
        there = sky(x=9.0) if index == 1 else sky()
        save(tmp_path / f"{index}_r.fits", numbers(9, 8), **dict(there))
    save(tmp_path / "3_g.fits", numbers(9, 8))
    save(tmp_path / "3_r.fits", numbers(8, 8))
    source = open_source(tmp_path, bands=("g", "r"))
    assert (
        "2 of 4 samples cannot be read, the first: 1_g.fits: the bands g and r"
        in source.warnings[0]
    )
    assert source[2].shape == (9, 8, 2)
    with pytest.raises(DataError, match=r"sample 1: .*different grids"):
        source[1]
    with pytest.raises(DataError, match=r"sample 3: .*differ in shape"):
        source[3]
