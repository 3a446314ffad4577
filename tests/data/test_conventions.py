"""netCDF and MATLAB: what attributes declare, and the order of axes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import netcdf_file, savemat

from domainjepa.data.opening import open_source
from domainjepa.domains.masks import missing_pixels
from domainjepa.errors import DataError
from tests.data.fuzz import flip_bits

PACKED = np.random.default_rng(0).integers(-3000, 3000, (5, 12, 16)).astype(np.int16)
PACKED[2, 3, 4], PACKED[1, 0, 0], PACKED[0, 1, 1] = -32767, -999, 2_999
IMAGES = np.random.default_rng(1).integers(0, 256, (7, 20, 24, 3), dtype=np.uint8)


def classic(path: Path, version: int = 1, **attributes: object) -> Path:
    with netcdf_file(path, "w", version=version) as file:
        for name, size in zip(("time", "y", "x"), (None, 12, 16), strict=True):
            file.createDimension(name, size)
        made = file.createVariable("t2m", "i2", ("time", "y", "x"))
        for name, value in attributes.items():
            setattr(made, name, value)
        made[:] = PACKED
        other = file.createVariable("label", "i4", ("time",))
        other[:] = np.arange(5) % 2
    return path


def modern(path: Path, **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        file["t2m"] = PACKED
        file["t2m"].attrs.update(attributes)
        file["label"] = np.arange(5) % 2
    return path


ATTRIBUTES = {
    "scale_factor": np.float32(0.01),
    "add_offset": np.float32(273.15),
    "_FillValue": np.int16(-32767),
    "missing_value": np.int16(-999),
    "valid_range": np.array([-3000, 2998], np.int16),
}


@pytest.mark.parametrize("write", [classic, modern])
def test_packed_values_and_what_is_missing(tmp_path: Path, write: object) -> None:
    source = open_source(write(tmp_path / "a.nc", **ATTRIBUTES))  # type: ignore[operator]
    expected = (PACKED.astype(np.float64) * np.float32(0.01) + np.float32(273.15)).astype("f4")
    expected[(PACKED == -32767) | (PACKED == -999) | (PACKED > 2998) | (PACKED < -3000)] = np.nan
    assert (len(source), source.shape, source.dtype) == (5, (12, 16, 1), np.dtype("float32"))
    for row, image in enumerate(source):
        np.testing.assert_array_equal(image[..., 0], expected[row])
    missing = missing_pixels(source[2])
    assert missing is not None
    assert missing[3, 4, 0] == 1
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 0, 1, 0]
    assert any("is missing" in line for line in source.decisions)
    np.testing.assert_array_equal(source.region(2, (2, 3), (6, 9))[..., 0], expected[2, 2:6, 3:9])


@pytest.mark.parametrize("write", [classic, modern])
def test_without_attributes_the_numbers_stay(tmp_path: Path, write: object) -> None:
    source = open_source(write(tmp_path / "a.nc"))  # type: ignore[operator]
    assert source.dtype == np.dtype("int16")
    assert source[1].dtype.isnative
    np.testing.assert_array_equal(source[1][..., 0], PACKED[1])


def test_a_fill_value_alone_makes_floats_that_hold_every_number(tmp_path: Path) -> None:
    source = open_source(modern(tmp_path / "a.nc", _FillValue=np.int16(-32767)))
    assert source.dtype == np.dtype("float32")
    assert np.isnan(source[2][3, 4, 0])
    np.testing.assert_array_equal(source[1][..., 0], PACKED[1].astype("f4"))


def test_unsigned_bytes_of_netcdf(tmp_path: Path) -> None:
    values = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["v"] = values.view(np.int8)
        file["v"].attrs.update({"_Unsigned": "true", "_FillValue": np.int8(-1)})
    image = open_source(tmp_path / "a.nc")[2][..., 0]
    np.testing.assert_array_equal(image[:, :], values[2].astype("f4"))


def test_a_scale_that_is_no_number_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scale_factor of 't2m' in a\.nc is 'two'"):
        open_source(modern(tmp_path / "a.nc", scale_factor="two"))


def matlab73(path: Path, **arrays: np.ndarray) -> Path:
    """As MATLAB writes it: a user block, and columns first. `arrays` are in MATLAB's axes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = np.ascontiguousarray(array.T)
            kind = {"f8": "double", "u1": "uint8"}[array.dtype.str[1:]]
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124))
    return path


def matlab5(path: Path, **arrays: np.ndarray) -> Path:
    savemat(path, arrays, do_compression=True)
    return path


@pytest.mark.parametrize("write", [matlab73, matlab5])
def test_the_order_of_matlabs_axes(tmp_path: Path, write: object) -> None:
    labels = np.arange(7.0)[:, None] % 3
    colour = write(tmp_path / "c.mat", X=np.moveaxis(IMAGES, 0, -1), y=labels)  # type: ignore[operator]
    source = open_source(colour)
    assert (len(source), source.shape, source.dtype) == (7, (20, 24, 3), np.dtype("uint8"))
    for row, image in enumerate(source):
        np.testing.assert_array_equal(image, IMAGES[row])
        assert image.flags.c_contiguous
    np.testing.assert_array_equal(source.region(4, (3, 5), (9, 20)), IMAGES[4, 3:9, 5:20])
    assert source.labels is not None
    assert source.labels.tolist() == [row % 3 for row in range(7)]
    grey = open_source(write(tmp_path / "g.mat", X=np.moveaxis(IMAGES[..., 0], 0, -1)))  # type: ignore[operator]
    np.testing.assert_array_equal(grey[3][..., 0], IMAGES[3, ..., 0])
    assert "MATLAB's order" in " ".join(grey.decisions)
    assert pickle.loads(pickle.dumps(grey))[6].shape == (20, 24, 1)  # noqa: S301  (our own)


def test_a_folder_of_matlab_files(tmp_path: Path) -> None:
    for row in range(3):
        matlab73(tmp_path / f"{row}.mat", img=IMAGES[row])
    source = open_source(tmp_path)
    assert source.shape == (20, 24, 3)
    np.testing.assert_array_equal(source[2], IMAGES[2])


def test_texts_in_cells_are_labels(tmp_path: Path) -> None:
    words = ["cat", "dog", "cat", "owl", "dog", "cat", "owl"]
    path = matlab73(tmp_path / "a.mat", X=np.moveaxis(IMAGES, 0, -1))
    with h5py.File(path, "r+") as file:
        cells = []
        for number, word in enumerate(words):
            units = np.frombuffer(word.encode("utf-16-le"), np.uint16)[:, None]
            file[f"#refs#/{number}"] = units
            cells.append(file[f"#refs#/{number}"].ref)
        made = file.create_dataset("label", (1, 7), h5py.ref_dtype)
        made[0] = cells
        made.attrs["MATLAB_class"] = np.bytes_("cell")
    source = open_source(path)
    assert source.class_names(range(7)) == words
    savemat(tmp_path / "b.mat", {"X": np.moveaxis(IMAGES, 0, -1), "label": np.array(words, object)})
    assert open_source(tmp_path / "b.mat").class_names(range(7)) == words


def test_what_claims_more_than_it_holds(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"X": np.zeros((64, 64, 40))})
    content = (tmp_path / "a.mat").read_bytes()
    sides = np.array([64, 64, 40], "<i4").tobytes()
    assert content.count(sides) == 1
    bad = content.replace(sides, np.array([64, 64, 2**28], "<i4").tobytes())
    (tmp_path / "a.mat").write_bytes(bad)
    with pytest.raises(DataError, match="more than it can hold"):
        open_source(tmp_path / "a.mat")
    (tmp_path / "b.nc").write_bytes(b"CDF\x05" + bytes(200))
    with pytest.raises(DataError, match="nccopy -k nc4"):
        open_source(tmp_path / "b.nc")


@pytest.mark.parametrize("form", ["nc", "mat"])
def test_flipped_bits_give_an_array_or_an_error(tmp_path: Path, form: str) -> None:
    if form == "nc":
        path = classic(tmp_path / "a.nc", **ATTRIBUTES)
    else:
        path = tmp_path / "a.mat"
        savemat(path, {"X": np.moveaxis(IMAGES[:4, :8, :8], 0, -1)})
    flip_bits(path, 60)


GREY = np.random.default_rng(3).integers(0, 256, (30, 20, 24), dtype=np.uint8)


@pytest.mark.parametrize("write", [matlab73, matlab5])
def test_samples_of_matlab_come_last_or_it_says_so(tmp_path: Path, write: Any) -> None:
    last, values = np.moveaxis(GREY, 0, -1), np.arange(30.0)[:, None] % 3
    source = open_source(write(tmp_path / "a.mat", X=last, y=values))
    np.testing.assert_array_equal(source[29][..., 0], GREY[29])
    with pytest.raises(DataError, match=r"'y' has 30 values, .*permute\(X, \[2 3 1\]\)"):
        open_source(write(tmp_path / "b.mat", X=GREY, y=values))
    with pytest.raises(DataError, match=r"30x20x24 in MATLAB, and nothing tells"):
        open_source(write(tmp_path / "c.mat", X=GREY))
    with pytest.raises(DataError, match=r"20x24x30 in MATLAB, and nothing tells"):
        open_source(write(tmp_path / "d.mat", X=last))
    np.testing.assert_array_equal(open_source(tmp_path / "d.mat", axis="last")[7][..., 0], GREY[7])
    square = GREY[:, :, :20]
    with pytest.raises(DataError, match="are square where its samples come first"):
        open_source(write(tmp_path / "e.mat", X=square))
    source = open_source(write(tmp_path / "f.mat", X=np.moveaxis(square, 0, -1)))
    np.testing.assert_array_equal(source[7][..., 0], square[7])


def test_volumes_of_matlab_that_are_last_are_cut_into_slices(tmp_path: Path) -> None:
    volumes = np.random.default_rng(4).random((12, 18, 20, 24))
    path = matlab73(tmp_path / "a.mat", V=np.moveaxis(volumes, (0, 1), (3, 2)))
    with pytest.raises(DataError, match=r"--set data\.axis=last"):
        open_source(path, dimensions=3)
    np.testing.assert_array_equal(
        open_source(path, dimensions=3, axis="last")[5][..., 0], volumes[5]
    )
    assert len(open_source(path, axis="last")) == 12 * 18
