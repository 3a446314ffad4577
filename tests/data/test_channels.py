from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import tifffile

from domainjepa.data.channels.grouping import objects
from domainjepa.data.channels.hint import hint
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

DRAW = np.random.default_rng(0)


def write_png(path: Path, image: np.ndarray) -> None:
    PIL.Image.fromarray(image).save(path)


def write_nifti(path: Path, values: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(values.T, np.eye(4)), path)


WRITERS: dict[str, tuple[Callable[..., None], str, tuple[int, ...]]] = {
    ".png": (write_png, "uint8", (12, 10)),
    ".tif": (tifffile.imwrite, "uint16", (12, 10)),
    ".npy": (np.save, "float32", (12, 10)),
    ".nii.gz": (write_nifti, "int16", (6, 12, 10)),
}


def save(path: Path, values: np.ndarray | None = None) -> np.ndarray:
    ending = next(one for one in WRITERS if path.name.endswith(one))
    write, dtype, shape = WRITERS[ending]
    values = DRAW.integers(0, 200, shape).astype(dtype) if values is None else values
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, values)
    return values


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
    "pattern", ["{0}/{0}_{1}", "{0}-{1}-x", "{1}/{0}", "{1}/{0}_{1}", "{0}_{1}"]
)
def test_channels_of_every_format(tmp_path: Path, ending: str, pattern: str) -> None:
    bands = ("T1", "T1ce", "FLAIR")
    stored = {
        (case, band): save(tmp_path / f"{pattern.format(case, band.lower())}{ending}")
        for case in ("p1", "p2", "p3")
        for band in ("T1", "T1ce", "T2", "FLAIR")
    }
    dimensions = 3 if ending == ".nii.gz" else 2
    source = open_source(tmp_path, bands=bands, dimensions=dimensions)
    assert (len(source), source.channels, source.bands) == (3, 3, bands)
    assert source.labels is None
    for case, found in zip(("p1", "p2", "p3"), source, strict=True):
        expected = np.stack([stored[case, band] for band in bands], axis=-1)
        if dimensions == 3:  # right, anterior, superior -> superior, posterior, left
            expected = np.flip(expected, (1, 2))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == WRITERS[ending][1]
    start, stop = (0,) * dimensions, (4,) * dimensions
    part = source[2][tuple(map(slice, start, stop))]
    np.testing.assert_array_equal(source.region(2, start, stop), part)
    assert (
        source.fingerprint()
        == open_source(tmp_path, bands=bands, dimensions=dimensions).fingerprint()
    )


PLATES = {
    "MetaXpress": (
        "IXM_A01_s1_w1CE70AD49-290D-4312-82E6-CDC717F32637.tif",
        "IXM_A01_s1_w25245F86D-F1DC-43BD-8F70-6EF0D1E40C2B.tif",
        ("w1", "w2"),
        "IXM_A01_s1",
    ),
    "Harmony": (
        "r01c02f03p01-ch1sk1fk1fl1.tiff",
        "r01c02f03p01-ch2sk1fk1fl1.tiff",
        ("ch1", "ch2"),
        None,
    ),
    "CellVoyager": (
        "W0001F0001T0001Z001C01.tif",
        "W0001F0001T0001Z001C02.tif",
        ("C01", "C02"),
        None,
    ),
}


@pytest.mark.parametrize("plate", PLATES.values(), ids=list(PLATES))
def test_names_as_microscopes_write_them(
    plate: tuple[str, str, tuple[str, str], str | None],
) -> None:
    first, second, bands, name = plate
    other = [
        one.replace("01_s1", "02_s1").replace("0001F", "0002F").replace("r01", "r02")
        for one in (first, second)
    ]
    found = objects([first, second, *other], bands, (".tif", ".tiff"))
    assert found.places == [(0, 1), (2, 3)]
    if name:
        assert found.ids[0] == name


def test_a_channel_that_is_missing_is_told(tmp_path: Path) -> None:
    for case in range(3):
        for band in ("T1", "T2"):
            save(tmp_path / f"c{case}_{band}.png")
    (tmp_path / "c1_T2.png").unlink()
    with pytest.raises(
        DataError, match=r"'c1' has no file of the band 'T2'.*1 of 3.*skip_unreadable=0.334"
    ):
        open_source(tmp_path, bands=("T1", "T2"))
    source = open_source(tmp_path, bands=("T1", "T2"), skip_unreadable=0.34)
    assert len(source) == 2
    assert "1 of 3 objects lack a band and are left out" in source.warnings
    with pytest.raises(DataError, match="no file name has the band 'FLAIR'"):
        open_source(tmp_path, bands=("T1", "FLAIR"))
    with pytest.raises(DataError, match=r"no channel of .* is called 'PD'"):
        open_source(tmp_path, bands=("PD",))


def test_channels_of_other_sizes_and_places_do_not_fit(tmp_path: Path) -> None:
    for case in range(3):
        save(tmp_path / f"{case}_g.npy")
        save(tmp_path / f"{case}_r.npy", np.zeros((12, 10 + case // 2), np.float32))
    source = open_source(tmp_path, bands=("g", "r"))
    assert any("1 of 3 samples have bands that do not fit" in line for line in source.warnings)
    with pytest.raises(DataError, match=r"sample 2 .*g \(12x10\) and r \(12x11\) differ in shape"):
        source[2]
    assert source[1].shape == (12, 10, 2)


def test_scans_that_lie_elsewhere_do_not_fit(tmp_path: Path) -> None:
    values = DRAW.integers(0, 200, (6, 7, 8)).astype(np.int16)
    moved, rounded, finer = np.eye(4), np.eye(4), np.diag([1, 1, 1.5, 1])
    moved[0, 3], rounded[0, 3] = 3.0, 1e-3
    for case, affine in enumerate((np.eye(4), rounded, moved, finer)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{case}_t1.nii")
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{case}_t2.nii")
    source = open_source(tmp_path, bands=("t1", "t2"), dimensions=3)
    assert source[0].shape == source[1].shape
    with pytest.raises(DataError, match="3 voxels apart in the patient"):
        source[2]
    with pytest.raises(DataError, match="differ in their spacing"):
        source[3]


def test_a_scan_stored_another_way_round_fits(tmp_path: Path) -> None:
    values = DRAW.integers(0, 200, (6, 7, 8)).astype(np.int16)
    turned = np.array([[0, 0, -1.0, 5], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a_t1.nii")
    nib.save(nib.Nifti1Image(values.transpose(1, 2, 0)[..., ::-1], turned), tmp_path / "a_t2.nii")
    source = open_source(tmp_path, bands=("t1", "t2"), dimensions=3)
    np.testing.assert_array_equal(source[0][..., 0], source[0][..., 1])


def test_brats(tmp_path: Path) -> None:
    bands = ("t1", "t1ce", "t2", "flair")
    for case in range(3):
        for band in bands:
            save(tmp_path / f"BraTS_{case}/BraTS_{case}_{band}.nii.gz")
        seg = save(tmp_path / f"BraTS_{case}/BraTS_{case}_seg.nii.gz")
    source = open_source(tmp_path, bands=bands, dimensions=3)
    assert (len(source), source.shape, source.ids) == (3, (6, 12, 10, 4), None)
    assert source.masks is not None
    np.testing.assert_array_equal(source.masks[2], np.flip(seg, (1, 2)))
    slices = open_source(tmp_path, bands=bands, neighbours=1)
    assert (slices.channels, slices.bands) == (12, None)
    apart = open_source(tmp_path, dimensions=3)
    assert len(apart) == 12
    assert any("data.bands=[flair,t1,t1ce,t2]" in line for line in apart.warnings)


def test_a_picture_and_a_map(tmp_path: Path) -> None:
    """A file of a band may hold several channels."""
    for case in range(2):
        colours = DRAW.integers(0, 200, (9, 8, 3), np.uint8)
        write_png(tmp_path / f"{case}_rgb.png", colours)
        depth = save(tmp_path / f"{case}_depth.png", DRAW.integers(0, 9, (9, 8), np.uint8))
    source = open_source(tmp_path, bands=("rgb", "depth"))
    assert source.bands == ("rgb 0", "rgb 1", "rgb 2", "depth")
    np.testing.assert_array_equal(source[1], np.dstack([colours, depth]))


def test_channels_by_their_numbers(tmp_path: Path) -> None:
    images = DRAW.integers(0, 200, (5, 12, 10, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    source = open_source(tmp_path / "x.npy", bands=("2", "0"))
    assert source.shape == (12, 10, 2)
    np.testing.assert_array_equal(source[4], images[4][..., [2, 0]])
    with pytest.raises(DataError, match="'3'"):
        open_source(tmp_path / "x.npy", bands=("3",))


@pytest.mark.parametrize("save_archive", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("axis", [0, 2])
def test_an_archive_names_its_bands(
    tmp_path: Path, save_archive: Callable[..., None], axis: int
) -> None:
    image = DRAW.normal(size=(20, 18, 5)).astype(np.float32)
    stored = np.asfortranarray(np.moveaxis(image, 2, axis))
    told = {"filters": np.array(list("grizy")), "psfs": np.zeros((5, 9, 9))}
    save_archive(tmp_path / "x.npz", images=stored, **told)
    source = open_source(tmp_path / "x.npz")
    assert (len(source), source.shape, source.bands) == (1, (20, 18, 5), tuple("grizy"))
    np.testing.assert_array_equal(source[0], image)
    chosen = open_source(tmp_path / "x.npz", bands=("y", "g"))
    np.testing.assert_array_equal(chosen[0], image[..., [4, 0]])
    np.testing.assert_array_equal(chosen.region(0, (2, 3), (9, 9)), image[2:9, 3:9, [4, 0]])


def test_names_of_bands_beside_many_images(tmp_path: Path) -> None:
    images = DRAW.normal(size=(7, 5, 20, 18)).astype(np.float32)
    np.savez(tmp_path / "x.npz", images=images, bands=np.array(list("grizy")))
    source = open_source(tmp_path / "x.npz", bands=("i",))
    assert (len(source), source.shape, source.bands) == (7, (20, 18, 1), ("i",))
    np.testing.assert_array_equal(source[3][..., 0], images[3, 2])
    np.savez(tmp_path / "y.npz", images=images[:, 0], channels=np.array(list("grizy")))
    assert len(open_source(tmp_path / "y.npz")) == 7


LIKE_CHANNELS = [
    (
        [f"A{well}_s{site}_w{w}.tif" for well in range(3) for site in (1, 2) for w in range(1, 6)],
        "w1",
    ),
    ([f"c{case}/c{case}_{one}.nii.gz" for case in range(3) for one in ("t1", "flair")], "flair,t1"),
    ([f"{band}/{number}.fits" for band in "gri" for number in range(9)], "g,i,r"),
    ([f"scan{case}_{one}.png" for case in range(9) for one in ("bone", "tissue")], "…"),
]
NOT_LIKE = [
    [f"cat/{number}.png" for number in range(9)] + [f"dog/{number}.png" for number in range(9)],
    [f"{number:04}.png" for number in range(12)],
    [f"p{patient}_{number}.png" for patient in range(5) for number in range(4)],
    [f"frame_{letter}.png" for letter in "abcde"],
]


@pytest.mark.parametrize(("names", "told"), LIKE_CHANNELS)
def test_names_like_channels(names: list[str], told: str) -> None:
    found = hint(sorted(names), (".tif", ".png", ".fits", ".nii.gz"))
    assert found is not None
    assert f"data.bands=[{told}" in found


@pytest.mark.parametrize("names", NOT_LIKE)
def test_names_unlike_channels(names: list[str]) -> None:
    assert hint(sorted(names), (".png",)) is None
