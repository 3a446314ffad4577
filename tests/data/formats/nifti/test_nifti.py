from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import pickle
import sys
import time
from itertools import permutations, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from domainjepa.data.formats.nifti import loader as nifti
from domainjepa.data.opening import open_source
from domainjepa.data.source import OpenOptions, Source
from domainjepa.errors import DataError, UserError
from tests.data.fuzz import flip_bits

nibabel = pytest.importorskip("nibabel")

DRAW = np.random.default_rng(0)
KINDS = [(nibabel.Nifti1Image, ".nii"), (nibabel.Nifti1Image, ".nii.gz")]
KINDS += [(nibabel.Nifti2Image, ".nii"), (nibabel.Nifti1Pair, ".hdr"), (nibabel.Nifti2Pair, ".hdr")]


def affine(order: tuple[int, ...] = (0, 1, 2), signs: tuple[int, ...] = (1, 1, 1)) -> NDArray[Any]:
    """Voxels of 2 x 3 x 4 mm along the stored axes, turned by a few degrees."""
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[world, axis] = sign
    angle = np.radians(8)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    matrix[:3, :3] = turn @ matrix[:3, :3] @ np.diag([2, 3, 4])
    matrix[:3, 3] = -10, 20, 5
    return matrix


def write(
    path: Path,
    values: NDArray[Any],
    matrix: NDArray[Any] | None = None,
    *,
    kind: Any = nibabel.Nifti1Image,
    slope: tuple[float, float] | None = None,
    endianness: Literal["<", ">"] = "<",
    **fields: Any,
) -> Path:
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(values.dtype.newbyteorder(endianness))
    image = kind(values, affine() if matrix is None else matrix, header)
    if slope:
        image.header.set_slope_inter(*slope)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    if fields:
        change(path, **fields)
    return path


def change(path: Path, **fields: Any) -> None:
    """Sets fields of a NIfTI-1 header in the file, whatever nibabel would make of them."""
    packed = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + content[348:]
    path.write_bytes(gzip.compress(content) if packed else content)


def canonical(path: Path) -> NDArray[Any]:
    """(D, H, W, C) by nibabel: right, anterior, superior become left, posterior, superior."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    values = image.get_fdata()
    values = values.reshape((*values.shape[:3], -1), order="F")
    turned: NDArray[Any] = values[::-1, ::-1].transpose(2, 1, 0, 3)
    return turned


def opened(path: Path, **settings: Any) -> nifti.NIfTISource:
    source = open_source(path, dimensions=3, **settings)
    assert isinstance(source, nifti.NIfTISource)
    return source


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_orientations_are_nibabels(tmp_path: Path, order: tuple[int, ...]) -> None:
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    for number, signs in enumerate(product((1, -1), repeat=3)):
        path = write(tmp_path / f"{number}.nii", values, affine(order, signs))
        source, expected = opened(path), canonical(path)
        np.testing.assert_array_equal(source[0], expected)
        assert source.shape == expected.shape
        assert source.sides(0) == expected.shape[:3]
        part = source.region(0, (1, 0, 2), (3, 4, 4))
        np.testing.assert_array_equal(part, expected[1:3, 0:4, 2:4])
        zooms = nibabel.as_closest_canonical(nibabel.load(path)).header.get_zooms()
        assert source.spacings is not None
        np.testing.assert_allclose(source.spacings, [zooms[::-1]], rtol=1e-6)
    assert source.axes == ("axial", "coronal", "sagittal")


@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_types_scalings_and_byte_orders_are_nibabels(
    tmp_path: Path, dtype: str, kind: tuple[Any, str], endianness: str
) -> None:
    low, high = (-1e4, 1e4) if dtype[0] == "f" else (0, 100)
    values = DRAW.uniform(low, high, (3, 4, 5)).astype(dtype)
    image, suffix = kind
    options = {"kind": image, "endianness": endianness}
    path = write(tmp_path / f"plain{suffix}", values, affine((1, 2, 0)), **options)
    source = opened(path)
    assert source.dtype == np.dtype("f4" if dtype[0] == "f" else dtype)
    assert source[0].dtype == source.dtype
    np.testing.assert_array_equal(source[0], canonical(path).astype(source.dtype))
    if dtype[0] != "f":
        scaled = write(tmp_path / f"s{suffix}", values, slope=(0.37, -1000.5), **options)
        source = opened(scaled)
        assert source.dtype == source[0].dtype == np.float32
        np.testing.assert_allclose(source[0], canonical(scaled), rtol=1e-6)
        assert "scl_slope" in "".join(source.decisions)


def test_an_img_opens_as_its_hdr(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdr", DRAW.normal(size=(3, 4, 5)), kind=nibabel.Nifti1Pair)
    source = opened(path.with_suffix(".img"))
    np.testing.assert_array_equal(source[0], opened(path)[0])
    before = source.content_key()
    path.with_suffix(".img").write_bytes(bytes(8 * 60 + 8))
    assert source.content_key() != before
    assert len(opened(tmp_path)) == 1


def test_a_pair_in_capitals_is_a_pair(tmp_path: Path) -> None:
    written = write(tmp_path / "a.hdr", DRAW.normal(size=(3, 4, 5)), kind=nibabel.Nifti1Pair)
    expected = opened(written)[0]
    for path in (written, written.with_suffix(".img")):
        path.rename(path.with_suffix(path.suffix.upper()))
    for data in (tmp_path, tmp_path / "a.HDR", tmp_path / "a.IMG"):
        np.testing.assert_array_equal(opened(data)[0], expected)


def test_the_content_decides_whether_a_file_is_gzipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", DRAW.normal(size=(3, 4, 5)).astype("f4"))
    expected = canonical(path).astype("f4")
    path.rename(tmp_path / "a.nii")
    np.testing.assert_array_equal(opened(tmp_path / "a.nii")[0], expected)


def test_a_renamed_file_is_the_same_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", DRAW.normal(size=(3, 4, 5)).astype("f4"))
    before = opened(path).fingerprint()
    renamed = opened(path.rename(tmp_path / "b.c.nii"))
    assert renamed.name == "b.c"
    assert renamed.fingerprint() == before


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slices_and_neighbours_are_those_of_the_volume(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", DRAW.normal(size=(5, 6, 7)).astype("f4"))
    volume = opened(path)[0]
    coronal = open_source(path, axis="coronal")
    np.testing.assert_array_equal(coronal[2], volume[::-1, 2])
    axial = open_source(path, axis="axial", neighbours=1)
    assert axial.shape == (6, 5, 3)
    np.testing.assert_array_equal(axial[0], np.moveaxis(volume[[0, 0, 1], ..., 0], 0, -1))
    np.testing.assert_array_equal(axial[6], np.moveaxis(volume[[5, 6, 6], ..., 0], 0, -1))
    assert axial.spacings is not None
    np.testing.assert_allclose(axial.spacings[0], [3, 2], rtol=1e-6)
    assert axial.groups is not None
    assert set(axial.groups.tolist()) == {0}


def test_a_fourth_axis_is_channels_up_to_sixteen_and_samples_beyond(tmp_path: Path) -> None:
    short = DRAW.integers(0, 99, (3, 4, 5, 4)).astype(np.int16)
    long = DRAW.integers(0, 99, (3, 4, 5, 17)).astype(np.int16)
    for suffix in (".nii", ".nii.gz"):
        path = write(tmp_path / "channels" / f"a{suffix}", short)
        source = opened(path)
        assert (len(source), source.shape) == (1, (5, 4, 3, 4))
        np.testing.assert_array_equal(source[0], canonical(path))
        part = source.region(0, (1, 0, 1), (3, 3, 2))
        np.testing.assert_array_equal(part, canonical(path)[1:3, 0:3, 1:2])
        path = write(tmp_path / "series" / f"a{suffix}", long)
    series = opened(path.parent)
    assert (len(series), series.shape) == (34, (5, 4, 3, 1))
    for row in (0, 16, 17, 33):
        expected = canonical(path)[..., row % 17]
        np.testing.assert_array_equal(series[row][..., 0], expected)
        part = series.region(row, (2, 0, 0), (4, 4, 3))
        np.testing.assert_array_equal(part[..., 0], expected[2:4])
    assert series.groups is not None
    assert series.groups.tolist() == [0] * 17 + [1] * 17
    with pytest.raises(DataError, match="list of files"):
        nifti.NIfTILoader().open_files(path.parent, ["a.nii"], OpenOptions(dimensions=3))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_sample_is_a_copy_of_its_own(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", DRAW.normal(size=(3, 4, 5)).astype("f4"))
    source = opened(path)
    source[0][:] = 0
    np.testing.assert_array_equal(source[0], canonical(path).astype("f4"))


def test_vectors_and_single_slices(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.nii", DRAW.normal(size=(3, 4, 5, 1, 3)).astype("f4"))
    np.testing.assert_array_equal(opened(path)[0], canonical(path))
    flat = DRAW.integers(0, 99, (6, 7)).astype(np.int16)
    path = write(tmp_path / "flat.nii", flat)
    assert opened(path).shape == (1, 7, 6, 1)
    np.testing.assert_array_equal(open_source(path)[0][..., 0], flat[::-1, ::-1].T)


@pytest.mark.parametrize("bands", ["RGB", "RGBA"])
def test_colour_is_three_channels(tmp_path: Path, bands: str) -> None:
    colours = DRAW.integers(0, 256, (3, 4, 5, len(bands)), dtype=np.uint8)
    stored = colours.view([(band, "u1") for band in bands])[..., 0]
    source = opened(write(tmp_path / "a.nii", stored))
    assert source.shape == (5, 4, 3, 3)
    assert source.dtype == np.uint8
    np.testing.assert_array_equal(source[0], colours[::-1, ::-1].transpose(2, 1, 0, 3)[..., :3])


def test_what_headers_do_not_tell_is_said(tmp_path: Path) -> None:
    untold = write(tmp_path / "a.nii", np.zeros((3, 4, 5), "f4"), sform_code=0, qform_code=0)
    source = opened(untold)
    assert source.axes is None
    assert "right and left" in "".join(source.warnings)
    with pytest.raises(DataError, match="does not tell how its axes lie"):
        open_source(untold, axis="axial")
    zero = [1, 0, 1, 1, 1, 1, 1, 1]
    values = np.zeros((3, 4, 5), "f4")
    sizeless = write(tmp_path / "b.nii", values, sform_code=0, qform_code=0, pixdim=zero)
    source = opened(sizeless)
    assert source.spacings is None
    assert "size of its voxels" in "".join(source.warnings)


def test_the_sform_tells_the_size_of_voxels_that_pixdim_forgot(tmp_path: Path) -> None:
    values = np.zeros((3, 4, 5), "f4")
    path = write(tmp_path / "a.nii", values, np.diag([2.0, 2.0, 5.0, 1.0]), pixdim=[1.0] * 8)
    source = opened(path)
    assert source.spacings is not None
    np.testing.assert_allclose(source.spacings[0], [5, 2, 2], rtol=1e-6)


@pytest.mark.parametrize(("unit", "scale"), [(1, 1000), (2, 1), (3, 0.001), (0, 1)])
def test_spacings_are_millimetres(tmp_path: Path, unit: int, scale: float) -> None:
    path = write(tmp_path / "a.nii", np.zeros((3, 4, 5), "f4"), xyzt_units=unit | 8)
    source = opened(path)
    assert source.spacings is not None
    np.testing.assert_allclose(source.spacings, [[4 * scale, 3 * scale, 2 * scale]], rtol=1e-6)


def test_a_folder_of_volumes_of_several_sizes_and_scalings(tmp_path: Path) -> None:
    for number, kind in enumerate("aabb"):
        values = DRAW.integers(0, 99, (3, 4, 5 + number)).astype(np.int16)
        slope = (0.5, 1.0) if number == 2 else None
        write(tmp_path / kind / f"sub-{number}_T1w.nii.gz", values, slope=slope)
    source = opened(tmp_path)
    assert (len(source), source.modality) == (4, "MR")
    assert source.dtype == np.float32
    assert [source.sides(row)[0] for row in range(4)] == [5, 6, 7, 8]
    for row, file in enumerate(source.files):
        np.testing.assert_allclose(source[row], canonical(tmp_path / file), rtol=1e-6)
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1, 1]
    slices = open_source(tmp_path, axis="axial")
    assert slices.groups is not None
    assert slices.groups.tolist() == np.repeat(range(4), [5, 6, 7, 8]).tolist()
    assert len(open_source(tmp_path, dimensions=3, images="sub-1*")) == 1


def test_files_of_several_kinds_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.zeros((3, 4, 5), "f4"))
    write(tmp_path / "b.nii", np.zeros((3, 4, 5, 2), "f4"))
    with pytest.raises(DataError, match=r"differ in their channels.*data\.images"):
        open_source(tmp_path)


def read_sum(source: Source, results: Any) -> None:
    results.put(float(source[1].sum()))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_sources_work_in_other_processes(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        write(tmp_path / f"{name}{suffix}", DRAW.normal(size=(3, 4, 5)).astype("f4"))
    source = opened(tmp_path)
    expected = float(source[1].sum())
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert float(copy[1].sum()) == expected
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=read_sum, args=(source, results))
    process.start()
    assert results.get() == expected
    process.join(60)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "would take .* bytes, more than|cut off"),
        ({"dim": [7, 300, 300, 10, 300, 300, 300, 300]}, "would take .* bytes, more than|cut off"),
        ({"dim": [3, 300, 300, 300, 1, 1, 1, 1]}, "cut off"),
        ({"dim": [3, -4, 9, 10, 1, 1, 1, 1]}, "it is empty"),
        ({"dim": [3, 8, 0, 10, 1, 1, 1, 1]}, "it is empty"),
        ({"dim": [99, 8, 9, 10, 1, 1, 1, 1]}, "number of axes"),
        ({"dim": [-3, 8, 9, 10, 1, 1, 1, 1]}, "number of axes"),
        ({"dim": [0, 8, 9, 10, 1, 1, 1, 1]}, "number of axes"),
        ({"datatype": 32}, "complex"),
        ({"datatype": 77}, "type 77"),
        ({"vox_offset": 3e9}, "begin at byte 3,000,000,000"),
        ({"vox_offset": -8}, "begin at byte -8"),
        ({"vox_offset": np.nan}, "cannot be read"),
        ({"scl_slope": 2, "scl_inter": np.inf}, "intercept"),
    ],
)
def test_bad_headers_are_refused_at_once(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    start = time.process_time()
    for suffix, dimensions in product((".nii", ".nii.gz"), (2, 3)):
        path = write(tmp_path / f"bad{suffix}", np.ones((8, 9, 10), "f4"), **fields)
        with pytest.raises(DataError, match=says) as caught:
            open_source(path, dimensions=dimensions)
        assert str(caught.value).startswith("bad.nii")
        assert str(tmp_path) not in str(caught.value)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(("suffix", "cut"), [(".nii", 100), (".nii.gz", 100), (".nii.gz", 4)])
def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path, suffix: str, cut: int) -> None:
    path = write(tmp_path / f"bad{suffix}", DRAW.normal(size=(8, 9, 10)).astype("f4"))
    os.truncate(path, path.stat().st_size - cut)
    for dimensions in (2, 3):
        with pytest.raises(DataError, match=r"bad\.nii.*cannot be read"):
            open_source(path, dimensions=dimensions)[0]


def test_a_gzipped_file_that_ends_early_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.nii.gz", DRAW.normal(size=(8, 9, 10)).astype("f4"))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))
    with pytest.raises(DataError, match="ends after 2,780 of 2,880 bytes"):
        opened(path)[0]


def test_a_flipped_bit_of_a_gzipped_file_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.nii.gz", DRAW.normal(size=(8, 9, 10)).astype("f4"))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum
    path.write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        opened(path)[0]


def test_one_bad_file_of_a_folder_fails_when_it_is_read(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.nii", DRAW.normal(size=(3, 4, 5)).astype("f4"))
    os.truncate(tmp_path / "b.nii", 400)
    source = opened(tmp_path)
    assert (len(source), source[2].shape) == (3, (5, 4, 3, 1))
    assert "1 of 3 files that were looked at cannot be read" in "".join(source.warnings)
    with pytest.raises(DataError, match=r"sample 1, b\.nii cannot be read: it is cut off"):
        source[1]


@pytest.mark.parametrize("role", ["labels", "groups", "split"])
def test_columns_are_none_of_nifti(tmp_path: Path, role: str) -> None:
    path = write(tmp_path / "a.nii", np.zeros((3, 4, 5), "f4"))
    named: dict[str, Any] = {role: "x"}
    with pytest.raises(DataError, match=f"data.{role}"):
        open_source(path, options=OpenOptions(**named))


def test_without_nibabel_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.nii", np.zeros((3, 4, 5), "f4"))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UserError, match=r"domainjepa\[nifti\]"):
        open_source(path)


def test_what_names_a_patient_appears_nowhere(tmp_path: Path) -> None:
    for number in range(3):
        write(
            tmp_path / f"sub-CANARY{number}" / "anat" / f"sub-CANARY{number}_T1w.nii.gz",
            DRAW.normal(size=(8, 9, 10)).astype("f4"),
            descrip=b"CANARY",
            db_name=b"CANARY",
            aux_file=b"CANARY",
            intent_name=b"CANARY",
        )
    source = open_source(tmp_path, neighbours=1)
    told = [source.public_name, *source.decisions, *source.warnings, source.content_key()]
    assert source.ids is None
    assert source.classes is None
    assert "CANARY" not in json.dumps(told)
    cache = Path(os.environ["DOMAINJEPA_CACHE"])
    assert not any(b"CANARY" in file.read_bytes() for file in cache.rglob("*.json"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_flipped_bits_give_an_array_or_an_error(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", DRAW.integers(0, 99, (4, 5, 6)).astype(np.int16))
    flip_bits(path, 80, warnings="error")
