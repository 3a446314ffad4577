from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domainjepa.data.chosen import of_rows
from domainjepa.data.opening import open_source
from domainjepa.data.parts.slices import slices
from domainjepa.data.source import OpenOptions, Source
from domainjepa.errors import DataError
from tests.data.toys import Arrays, Lazy, toy

DRAW = np.random.default_rng(0)


def volumes(kind: type[Arrays] = Lazy, **fields: object) -> Arrays:
    """Two volumes of 5 and 7 slices with two channels; nothing of them is empty."""
    arrays = [DRAW.normal(size=(depth, 8, 9, 2)).astype(np.float32) for depth in (5, 7)]
    return toy(kind, arrays, **fields)


@pytest.mark.parametrize("kind", [Arrays, Lazy])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_those_of_the_volumes(kind: type[Arrays], axis: int) -> None:
    whole = volumes(kind)
    source = slices(whole, OpenOptions(axis=str(axis)))
    expected = [image for one in whole.arrays for image in np.moveaxis(one, axis, 0)]
    assert len(source) == len(expected)
    assert source.shape == expected[0].shape
    for image, wanted in zip(source.__getitems__(range(len(source))), expected, strict=True):
        np.testing.assert_array_equal(image, wanted)
        assert image.flags.c_contiguous


@pytest.mark.parametrize("kind", [Arrays, Lazy])
@pytest.mark.parametrize("axis", [0, 2])
def test_neighbours_are_channels_from_low_to_high_and_ends_repeat(
    kind: type[Arrays], axis: int
) -> None:
    whole = volumes(kind)
    source = slices(whole, OpenOptions(axis=str(axis), neighbours=2))
    assert source.shape[-1] == 10
    row = 0
    for one in whole.arrays:
        stack = np.moveaxis(one, axis, 0)
        padded = np.pad(stack, ((2, 2), (0, 0), (0, 0), (0, 0)), mode="edge")
        for number in range(len(stack)):
            wanted = np.concatenate(list(padded[number : number + 5]), axis=-1)
            np.testing.assert_array_equal(source[row], wanted)
            row += 1
    assert row == len(source)


def test_more_neighbours_than_slices_repeat_the_ends() -> None:
    stack = DRAW.normal(size=(2, 4, 4, 1))
    image = slices(toy(Arrays, [stack]), OpenOptions(neighbours=3))[0]
    np.testing.assert_array_equal(image, np.moveaxis(stack[[0, 0, 0, 0, 1, 1, 1], ..., 0], 0, -1))


def test_empty_slices_are_left_out_and_still_are_neighbours() -> None:
    stack = np.zeros((6, 20, 20, 1), np.float32)
    stack[2:4, 5:15, 5:15] = 100 + DRAW.normal(size=(2, 10, 10, 1))
    stack[1, 0, :3] = 100  # 3 pixels of 400
    source = slices(toy(Arrays, [stack]), OpenOptions(neighbours=1))
    assert len(source) == 2
    assert "4 empty ones are left out" in "".join(source.decisions)
    np.testing.assert_array_equal(source[0], np.moveaxis(stack[1:4, ..., 0], 0, -1))


def test_slices_inherit_what_is_known_of_their_volume() -> None:
    source = slices(
        volumes(
            labels=np.array([1, 0]),
            classes=("a", "b"),
            split=np.array(["train", "test"]),
            ids=np.array(["x", "y"]),
            spacings=np.array([[3.0, 1, 1.1], [4, 1, 1.2]]),
            modality="MR",
        ),
        OpenOptions(axis="1"),
    )
    assert source.labels is not None
    assert source.groups is not None
    assert source.split is not None
    assert source.ids is not None
    assert source.spacings is not None
    assert source.labels.tolist() == [1] * 8 + [0] * 8
    assert source.groups.tolist() == [0] * 8 + [1] * 8
    assert source.split.tolist() == ["train"] * 8 + ["test"] * 8
    assert source.ids[:2].tolist() == ["x:0", "x:1"]
    assert source.spacings[[0, 8]].tolist() == [[3, 1.1], [4, 1.2]]
    assert source.modality == "MR"
    grouped = slices(volumes(groups=np.array([4, 4])), OpenOptions())
    assert grouped.groups is not None
    assert set(grouped.groups.tolist()) == {4}


@pytest.mark.parametrize(
    ("spacing", "axis"), [((3, 1, 1), 0), ((1, 1, 5), 2), ((1, 1.2, 1), 0), ((0.5, 0.9, 0.9), 0)]
)
def test_the_axis_is_the_one_with_far_coarser_steps(spacing: tuple[float, ...], axis: int) -> None:
    source = slices(volumes(spacings=np.array([spacing] * 2)), OpenOptions())
    assert f"along axis {axis}" in "".join(source.decisions)
    assert not source.warnings


def test_single_slices_are_images_whatever_their_axis() -> None:
    flat = DRAW.normal(size=(8, 9, 1, 1))
    source = slices(toy(Arrays, [flat]), OpenOptions())
    assert source.shape == (8, 9, 1)
    np.testing.assert_array_equal(source[0], flat[:, :, 0])


def test_pixels_that_are_not_square_are_told() -> None:
    source = slices(volumes(spacings=np.array([[3, 1, 1]] * 2)), OpenOptions(axis="1"))
    assert "not square: 3 x 1 mm" in source.warnings[0]


class Placed(Lazy):
    axes = ("axial", "coronal", "sagittal")
    directions = ("S", "P", "L")


def test_named_axes_are_turned_as_a_radiologist_is_used_to() -> None:
    whole = volumes(Placed)
    stack = whole.arrays[0]

    def first(axis: str) -> np.ndarray:
        return slices(whole, OpenOptions(axis=axis))[0]

    np.testing.assert_array_equal(first("axial"), stack[0])
    np.testing.assert_array_equal(first("coronal"), stack[::-1, 0])  # superior at the top
    np.testing.assert_array_equal(first("Sagittal"), stack[::-1, :, 0])
    assert "sagittal slices" in "".join(slices(whole, OpenOptions(axis="sagittal")).decisions)


@pytest.mark.parametrize(
    ("kind", "axis", "says"),
    [(Placed, "axail", "Did you mean axial"), (Lazy, "axial", "does not tell"), (Lazy, "3", "'3'")],
)
def test_an_unknown_axis_is_an_error(kind: type[Arrays], axis: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        slices(volumes(kind), OpenOptions(axis=axis))


def test_volumes_that_are_read_whole_are_read_once() -> None:
    whole = volumes(Arrays)
    source = slices(whole, OpenOptions(neighbours=1))
    whole.reads.clear()
    source.__getitems__(list(range(len(source))))
    assert whole.reads == [0, 1]


def test_slices_across_the_planes_of_a_volume_read_it_once() -> None:
    whole = volumes(Lazy)
    source = slices(whole, OpenOptions(axis="2"))
    whole.reads.clear()
    source.__getitems__(list(range(len(source))))
    assert whole.reads == [0, 1]


def test_dicom_series_in_any_orientation_show_the_same_slices(tmp_path: Path) -> None:
    """A sagittal and an axial scan of one body; its axes are superior, posterior, left."""
    pytest.importorskip("pydicom")
    from tests.data.formats.dicom.dicom_files import save_series

    body = np.random.default_rng(1).integers(1, 99, (6, 5, 7)).astype(np.int16)
    cube: dict[str, Any] = {"step": 1.0, "PixelSpacing": [1, 1]}
    left, back, down = np.eye(3)[0], np.eye(3)[1], -np.eye(3)[2]
    save_series(tmp_path / "axial", body, plane=(left, back), **cube)
    turned = body.transpose(2, 0, 1)[::-1, ::-1]  # from left to right, rows from superior
    save_series(tmp_path / "sagittal", turned, plane=(back, down), **cube)
    for axis, shown in (
        ("axial", list(body)),
        ("coronal", list(body[::-1].transpose(1, 0, 2))),
        ("sagittal", list(body[::-1].transpose(2, 0, 1))),
    ):
        known = dict(enumerate(shown))
        for folder in ("axial", "sagittal"):
            source = open_source(tmp_path / folder, axis=axis, neighbours=1)
            seen = set()
            for image in source.__getitems__(range(len(source))):
                middle = next(n for n, one in known.items() if np.array_equal(one, image[..., 1]))
                np.testing.assert_array_equal(image[..., 0], known[max(middle - 1, 0)])
                np.testing.assert_array_equal(image[..., 2], known.get(middle + 1, known[middle]))
                seen.add(middle)
            assert seen == set(known)


def test_a_slice_is_a_copy_of_its_own() -> None:
    whole = volumes(Arrays)
    source = slices(whole, OpenOptions())
    source[0][:] = 0
    np.testing.assert_array_equal(source[0], whole.arrays[0][0])


def test_pickled_slices_read_the_same() -> None:
    source = slices(volumes(Arrays), OpenOptions(neighbours=1))
    expected = source[3]
    copy: Source = pickle.loads(pickle.dumps(source))  # noqa: S301
    np.testing.assert_array_equal(copy[3], expected)
    assert copy.fingerprint() == source.fingerprint()


def test_slices_know_where_they_lie_also_where_some_are_chosen() -> None:
    whole = volumes(spacings=np.array([[3.0, 1, 1.1], [4, 1, 1.2]]))
    whole.arrays[1][:2] = 0
    source = slices(whole, OpenOptions(axis="0"))
    wanted = [(0, n, 3.0 * n) for n in range(5)] + [(1, n, 4.0 * n) for n in range(2, 7)]
    assert source.stack is not None
    np.testing.assert_allclose(source.stack, wanted)
    chosen = of_rows(source, np.array([1, 6]))
    np.testing.assert_allclose(chosen.stack, [wanted[1], wanted[6]])
    untold = slices(volumes(), OpenOptions(axis="2")).stack
    assert untold is not None
    assert np.isnan(untold[:, 2]).all()
    np.testing.assert_array_equal(untold[:, 1], np.tile(np.arange(9), 2))
