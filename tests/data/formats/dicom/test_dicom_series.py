from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from domainjepa.data.formats.dicom.loader import DicomLoader
from domainjepa.data.formats.dicom.sources import DicomVolumes
from domainjepa.data.opening import open_source
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError
from tests.data.formats.dicom.dicom_files import OBLIQUE, dataset, save, save_series, uid, volume

REAL = Path(os.environ.get("DOMAINJEPA_DATA", "data")) / "dicom_t1w"
"""Every fourth slice of an oblique T1-weighted series of studyforrest, where it was put there."""
AXIAL = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])


def test_a_series_is_a_volume_in_the_order_of_positions(tmp_path: Path) -> None:
    voxels = volume()
    save_series(tmp_path, voxels)
    source = open_source(tmp_path, dimensions=3)
    assert isinstance(source, DicomVolumes)
    assert (len(source), source.shape, source.dtype) == (1, (5, 6, 4, 1), np.dtype("int16"))
    np.testing.assert_array_equal(source[0][..., 0], voxels)
    np.testing.assert_array_equal(source.region(0, (1, 2, 0), (3, 5, 2)), source[0][1:3, 2:5, :2])
    assert source.region(0, (3, 0, 0), (99, 99, 99)).shape == (2, 6, 4, 1)
    assert source.spacings is not None
    # Between slices, between rows, between columns: PixelSpacing has rows first.
    np.testing.assert_allclose(source.spacings, [[2.5, 0.5, 0.75]], atol=1e-5)
    assert source.modality == "MR"


def test_the_affine_leads_every_voxel_to_its_place(tmp_path: Path) -> None:
    first = (-10.0, 20.0, 30.0)
    save_series(tmp_path, volume(), first=first, step=2.5)
    source = open_source(tmp_path, dimensions=3)
    assert isinstance(source, DicomVolumes)
    along_row, down_column = OBLIQUE
    d, h, w = 3, 5, 2
    expected = (
        np.array(first)
        + d * 2.5 * np.cross(along_row, down_column)
        + h * 0.5 * down_column
        + w * 0.75 * along_row
    )
    np.testing.assert_allclose((source.affines[0] @ [d, h, w, 1])[:3], expected, atol=1e-4)
    # Rows run to the left, columns to the foot; the normal of that leads to the back.
    assert source.directions == ("P", "I", "L")
    assert source.axes == ("coronal", "axial", "sagittal")


def test_slices_tell_where_they_lie_in_their_series(tmp_path: Path) -> None:
    for number, (depth, step) in enumerate(((4, 2.5), (3, 5.0))):
        (tmp_path / str(number)).mkdir()
        save_series(tmp_path / str(number), volume(depth), step=step)
    source = open_source(tmp_path)
    assert source.stack is not None
    lengths = np.bincount(source.stack[:, 0].astype(int))
    assert sorted(lengths.tolist()) == [3, 4]
    for series, length in enumerate(lengths.tolist()):
        mine = source.stack[source.stack[:, 0] == series]
        np.testing.assert_array_equal(mine[:, 1], np.arange(length))
        np.testing.assert_allclose(np.diff(mine[:, 2]), 2.5 if length == 4 else 5.0, atol=1e-5)


def test_slices_of_a_series_stand_together_in_order(tmp_path: Path) -> None:
    one, two = volume(4), volume(3) + 1000
    save_series(tmp_path / "x", one, PatientID="p1")
    save_series(tmp_path / "y", two, PatientID="p2")
    source = open_source(tmp_path)
    assert [int(image[0, 0, 0]) for image in source] == [0, 100, 200, 300, 1000, 1100, 1200]
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(source.spacings, [[0.5, 0.75]] * 7)
    assert source.ids is not None
    assert len(set(source.ids)) == 7


def test_neighbouring_slices_as_channels(tmp_path: Path) -> None:
    save_series(tmp_path, volume(4))
    source = open_source(tmp_path, neighbours=1)
    assert source.shape == (6, 4, 3)
    assert source[1][0, 0].tolist() == [0, 100, 200]


def test_a_folder_of_several_series_and_sizes(tmp_path: Path) -> None:
    save_series(tmp_path / "a", volume(4))
    save_series(tmp_path / "b", volume(3, 8, 8))
    save_series(tmp_path / "scout", volume(1), plane=AXIAL)
    slices = open_source(tmp_path)
    assert [image.shape for image in slices] == [(6, 4, 1)] * 4 + [(8, 8, 1)] * 3 + [(6, 4, 1)]
    assert any("sizes differ: 2" in line for line in slices.decisions)
    assert slices.sides(5) == (8, 8)
    volumes = open_source(tmp_path, dimensions=3)
    assert [image.shape for image in volumes] == [(4, 6, 4, 1), (3, 8, 8, 1)]
    assert any("no volumes: 1 of 1 slice: it is a single" in line for line in volumes.warnings)


def test_orientations_in_one_series_are_apart(tmp_path: Path) -> None:
    series = uid()
    save_series(tmp_path / "a", volume(3), SeriesInstanceUID=series)
    save_series(tmp_path / "b", volume(2) + 1000, SeriesInstanceUID=series, plane=AXIAL)
    volumes = open_source(tmp_path, dimensions=3)
    assert [len(image) for image in volumes] == [3, 2]
    assert volumes.axes is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("offset", [0.0004, -0.004])
def test_rounded_positions_are_even(tmp_path: Path, offset: float) -> None:
    paths = save_series(tmp_path, volume(), plane=AXIAL)
    made = pydicom.dcmread(paths[2])
    made.ImagePositionPatient[2] += offset
    made.save_as(paths[2])
    assert open_source(tmp_path, dimensions=3).shape == (5, 6, 4, 1)


def test_spacings_that_are_rounded_differently_are_one_series(tmp_path: Path) -> None:
    for number, path in enumerate(save_series(tmp_path, volume())):
        made = pydicom.dcmread(path)
        made.PixelSpacing = ["0.683594"] * 2 if number % 2 else ["0.68359375"] * 2
        made.save_as(path)
    source = open_source(tmp_path, dimensions=3)
    assert (len(source), source.shape) == (1, (5, 6, 4, 1))
    for path in tmp_path.iterdir():
        made = pydicom.dcmread(path)
        made.PixelSpacing = ["0.5" if path.name < "IM0003" else "0.6"] * 2
        made.save_as(path)
    assert [len(image) for image in open_source(tmp_path, dimensions=3)] == [2, 3]


def test_every_reason_why_series_are_left_out_is_told(tmp_path: Path) -> None:
    save_series(tmp_path / "whole", volume(), SeriesInstanceUID="1.2.1")
    save_series(tmp_path / "gap", volume(), SeriesInstanceUID="1.2.2")[3].unlink()
    for scout in range(3):
        save_series(tmp_path / f"scout{scout}", volume(1), SeriesInstanceUID=f"1.2.3{scout}")
    source = open_source(tmp_path, dimensions=3)
    assert len(source) == 1
    (told,) = [line for line in source.warnings if line.startswith("left out")]
    assert "1 of up to 4 slices: its slices are unevenly spaced: 2.5 mm as a rule, 5 mm" in told
    assert told.endswith("3 of 1 slice: it is a single slice")


def test_a_missing_slice_is_told(tmp_path: Path) -> None:
    save_series(tmp_path, volume())[3].unlink()
    with pytest.raises(DataError, match=r"unevenly.*2\.5 mm.*5 mm between slices 2 and 3"):
        open_source(tmp_path, dimensions=3)
    assert len(open_source(tmp_path)) == 4


def test_a_slice_that_is_there_twice_is_told(tmp_path: Path) -> None:
    paths = save_series(tmp_path, volume())
    made = pydicom.dcmread(paths[1])
    made.SOPInstanceUID = uid()
    made.save_as(tmp_path / "copy")
    with pytest.raises(DataError, match="1 of its 6 slices lie where another one lies"):
        open_source(tmp_path, dimensions=3)


def test_without_positions_there_is_no_volume_but_an_order(tmp_path: Path) -> None:
    for number, pixels in enumerate(volume(3)):
        made = dataset(pixels, InstanceNumber=3 - number, SeriesInstanceUID="1.2.9")
        save(made, tmp_path / f"{number}.dcm")
    with pytest.raises(DataError, match="where they lie"):
        open_source(tmp_path, dimensions=3)
    source = open_source(tmp_path)
    assert [int(image[0, 0, 0]) for image in source] == [200, 100, 0]
    assert any("instance number" in line for line in source.decisions)
    assert source.spacings is None


def test_a_tilted_gantry_warns(tmp_path: Path) -> None:
    paths = save_series(tmp_path, volume(), plane=AXIAL)
    for number, path in enumerate(paths):
        made = pydicom.dcmread(path)
        made.ImagePositionPatient[1] += 0.6 * number
        made.save_as(path)
    source = open_source(tmp_path, dimensions=3)
    assert any("0.6 mm" in line and "tilted" in line for line in source.warnings)
    step = pydicom.dcmread(paths[1]).ImagePositionPatient[2]
    step -= pydicom.dcmread(paths[0]).ImagePositionPatient[2]
    degrees = math.degrees(math.atan2(0.6, abs(step)))
    told = open_source(tmp_path).decisions
    assert any(f"tilted in 1 of 1 series, by {degrees:.1f} degrees" in line for line in told)


def test_slices_say_how_far_apart_they_are_and_how_evenly(tmp_path: Path) -> None:
    paths = save_series(tmp_path, volume(6), plane=AXIAL)
    for number, path in enumerate(paths):
        made = pydicom.dcmread(path)
        made.ImagePositionPatient[2] = 4.0 * number
        made.save_as(path)
    told = open_source(tmp_path).decisions
    assert any("; 4 mm between slices, measured" in line and "unev" not in line for line in told)
    assert not any("tilt" in line for line in told)
    paths[2].unlink()
    told = open_source(tmp_path).decisions
    assert any("; unevenly spaced in 1 of 1 series" in line for line in told)


def item(**elements: object) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def enhanced(voxels: np.ndarray) -> Dataset:
    """One file of many frames, stored in reverse, each with its own rescale."""
    made = dataset(voxels[::-1].copy(), NumberOfFrames=len(voxels), Modality="CT")
    shared = item(
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.75], SliceThickness=9)]),
    )
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    made.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, 3.0 * place])]),
            PixelValueTransformationSequence=Sequence(
                [item(RescaleSlope=str(place + 1), RescaleIntercept="-5", RescaleType="HU")]
            ),
        )
        for place in reversed(range(len(voxels)))
    )
    return made


def test_an_enhanced_file(tmp_path: Path) -> None:
    voxels = volume(4)
    path = save(enhanced(voxels), tmp_path / "a.dcm")
    expected = voxels * np.arange(1, 5)[:, None, None] - 5
    source = open_source(path, dimensions=3)
    np.testing.assert_array_equal(source[0][..., 0], expected)
    np.testing.assert_allclose(source.spacings, [[3.0, 0.5, 0.75]])
    slices = open_source(path)
    np.testing.assert_array_equal(np.stack(list(slices))[..., 0], expected)
    assert slices.ids is not None
    assert len(set(slices.ids)) == 4


def test_a_table_of_volumes(tmp_path: Path) -> None:
    for name, depth in {"a.dcm": 4, "b.dcm": 3}.items():
        save(enhanced(volume(depth)), tmp_path / name)
    options = OpenOptions(dimensions=3)
    source = DicomLoader().open_files(tmp_path, ["b.dcm", "a.dcm"], options)
    assert [len(image) for image in source] == [3, 4]
    save(dataset(volume(1)[0]), tmp_path / "c.dcm")
    with pytest.raises(DataError, match=r"c\.dcm is no volume"):
        DicomLoader().open_files(tmp_path, ["a.dcm", "c.dcm"], options)


def test_frames_of_a_film_are_samples(tmp_path: Path) -> None:
    film = np.arange(2 * 5 * 4 * 3, dtype=np.uint8).reshape(2, 5, 4, 3)
    path = save(dataset(film, NumberOfFrames=2, Modality="US"), tmp_path / "a.dcm")
    np.testing.assert_array_equal(np.stack(list(open_source(path))), film)
    with pytest.raises(DataError, match="where they lie"):
        open_source(path, dimensions=3)


def test_a_dose_is_in_gray_and_where_its_offsets_say(tmp_path: Path) -> None:
    grid = np.arange(24, dtype=np.uint32).reshape(2, 3, 4)
    made = dataset(
        grid, NumberOfFrames=2, Modality="RTDOSE", DoseGridScaling="0.5", PixelSpacing=[2, 3],
        GridFrameOffsetVector=[0, 4], ImagePositionPatient=[0, 0, 7],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )  # fmt: skip
    source = open_source(save(made, tmp_path / "a.dcm"), dimensions=3)
    assert source.dtype == np.float32
    np.testing.assert_array_equal(source[0][..., 0], grid / 2)
    np.testing.assert_allclose(source.spacings, [[4, 2, 3]])


@pytest.mark.skipif(not REAL.exists(), reason="a real series, not shipped")
def test_a_real_oblique_series() -> None:
    source = open_source(REAL, dimensions=3)
    assert isinstance(source, DicomVolumes)
    assert (len(source), source.shape) == (1, (96, 384, 274, 1))
    heads = [pydicom.dcmread(path) for path in REAL.glob("*.dcm")]
    turned = np.array(heads[0].ImageOrientationPatient, float)
    normal = np.cross(turned[:3], turned[3:])
    heads.sort(key=lambda head: float(np.dot(head.ImagePositionPatient, normal)))
    for slice_ in (0, 1, 50, 95):
        head = heads[slice_]
        np.testing.assert_array_equal(source[0][slice_, ..., 0], head.pixel_array)
        place = source.affines[0] @ [slice_, 0, 0, 1]
        np.testing.assert_allclose(place[:3], np.array(head.ImagePositionPatient, float), atol=0.01)
        rows, columns = map(float, head.PixelSpacing)
        corner = np.array(head.ImagePositionPatient, float)
        corner = corner + 383 * rows * turned[3:] + 273 * columns * turned[:3]
        place = source.affines[0] @ [slice_, 383, 273, 1]
        np.testing.assert_allclose(place[:3], corner, atol=0.01)
    np.testing.assert_allclose(source.spacings, [[8 / 3, 2 / 3, 0.7]], atol=1e-3)


def test_times_at_one_place_have_no_step(tmp_path: Path) -> None:
    for time in "abc":
        save_series(tmp_path / time, volume(2), SeriesInstanceUID="1.2.3")
    save_series(tmp_path / "d", volume(), SeriesInstanceUID="1.2.4")
    (told,) = [line for line in open_source(tmp_path).decisions if line.startswith("order")]
    assert "2.5 mm between slices" in told
    assert "several slices at each place in 1 of 2 series; unevenly spaced in 1 of 2 series" in told
