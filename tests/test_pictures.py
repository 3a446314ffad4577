"""Pictures: every kind of image becomes RGB, and montages put each image where it belongs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from domainjepa.errors import UserError
from domainjepa.pictures import MISSING, montage, planes, to_rgb

RED, BLUE = (255, 0, 0), (0, 0, 255)


def plain(colour: tuple[int, int, int], side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def test_uint8_of_three_bands_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_rgb(image), image)


def test_one_band_is_grey_with_or_without_its_axis() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for given in (image, image[..., None]):
        np.testing.assert_array_equal(to_rgb(given), np.stack([image] * 3, axis=-1))


def test_two_bands_are_red_and_blue_and_their_mean() -> None:
    image = np.zeros((2, 2, 2), np.uint8)
    image[..., 0], image[..., 1] = 250, 50
    assert to_rgb(image)[0, 0].tolist() == [250, 150, 50]
    values = np.linspace(0, 1, 200).reshape(10, 10, 2)
    rgb = to_rgb(values).astype(int)
    np.testing.assert_allclose(rgb[..., 1], rgb[..., [0, 2]].mean(axis=-1), atol=3)


def test_of_more_bands_the_first_the_middle_and_the_last_are_shown() -> None:
    image = np.zeros((2, 2, 5), np.uint8)
    image[...] = [10, 20, 30, 40, 50]
    assert to_rgb(image)[1, 1].tolist() == [10, 30, 50]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.float64, np.dtype(">f4")])
def test_other_dtypes_are_stretched_over_their_own_percentiles(dtype: np.dtype) -> None:
    ramp = np.arange(10_000, dtype=np.float64).reshape(100, 100).astype(dtype)
    rgb = to_rgb(ramp)
    expected = np.clip((np.arange(10_000) - 49.995) / (9949.005 - 49.995), 0, 1) * 255
    np.testing.assert_allclose(rgb[..., 0].ravel(), expected, atol=0.51)
    assert rgb.dtype == np.uint8


def test_an_outlier_does_not_darken_the_rest() -> None:
    image = np.random.default_rng(1).normal(size=(64, 64, 1))
    image[3, 3] = 1e9
    assert 90 < to_rgb(image).mean() < 165


def test_up_to_three_bands_keep_their_colour_and_more_are_stretched_alone() -> None:
    ramp = np.linspace(0, 1, 10_000).reshape(100, 100)
    three = to_rgb(np.stack([ramp, ramp / 2, ramp / 4], axis=-1)).astype(float)
    np.testing.assert_allclose(three[90, 50] / three[90, 50, 0], [1, 0.5, 0.25], atol=0.01)
    four = to_rgb(np.stack([ramp, ramp, 1000 * ramp + 7, -5 + ramp], axis=-1))
    np.testing.assert_array_equal(four[..., 0], four[..., 1])
    np.testing.assert_array_equal(four[..., 0], four[..., 2])


def test_missing_values_are_painted() -> None:
    image = np.random.default_rng(2).normal(size=(8, 8, 3)).astype(np.float32)
    image[1, 2, 0], image[3, 4, 2] = np.nan, np.inf
    rgb = to_rgb(image)
    painted = (rgb == MISSING).all(axis=-1)
    assert painted[1, 2]
    assert painted[3, 4]
    assert painted.sum() == 2
    assert (to_rgb(np.full((4, 4, 1), np.nan)) == MISSING).all()


@pytest.mark.parametrize(("value", "grey"), [(0.0, 0), (3.0, 128), (-3.0, 0)])
def test_a_flat_image_is_grey_not_an_error(value: float, grey: int) -> None:
    assert np.unique(to_rgb(np.full((4, 4, 2), value))).tolist() == [grey]


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 5, 6\)"):
        to_rgb(np.zeros((2, 3, 4, 5, 6)))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_montage_takes_any_number_of_bands(tmp_path: Path, channels: int) -> None:
    random = np.random.default_rng(channels)
    rows = [
        [random.normal(size=(20, 20, channels)), None],
        [random.integers(0, 256, (200, 100, channels), dtype=np.uint8)] * 3,
    ]
    montage(rows, tmp_path / "new" / "m.png", row_titles=["a", "b"], title="t", cell=64)
    with PIL.Image.open(tmp_path / "new" / "m.png") as picture:
        assert picture.width >= 3 * 64
        assert picture.height >= 2 * 64


def test_each_image_is_drawn_in_its_cell(tmp_path: Path) -> None:
    montage([[plain(RED), None], [None, plain(BLUE)]], tmp_path / "m.png", cell=64)
    with PIL.Image.open(tmp_path / "m.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for colour, half in ((RED, slice(0, 67)), (BLUE, slice(67, None))):
        found = (pixels == colour).all(axis=-1)
        assert found.sum() == 64 * 64
        assert found[half, half].sum() == 64 * 64


def test_the_picture_carries_no_metadata_and_its_titles_do_not_cover_it(tmp_path: Path) -> None:
    montage([[plain(RED)]], tmp_path / "bare.png")
    montage(
        [[plain(RED)]],
        tmp_path / "titled.png",
        row_titles=["a long name of $a class, as they are"],
        column_titles=["one of the columns_of it"],
        title="What the backbone sees of a survey with a name",
    )
    counts = []
    for name in ("bare.png", "titled.png"):
        with PIL.Image.open(tmp_path / name) as picture:
            assert set(picture.info) <= {"dpi"}
            counts.append(int((np.asarray(picture.convert("RGB")) == RED).all(axis=-1).sum()))
    assert counts == [96 * 96, 96 * 96]


def test_what_cannot_be_drawn_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.png"):
        montage([[plain(RED)]], tmp_path / "m.jpg")
    with pytest.raises(UserError, match="no images"):
        montage([[], []], tmp_path / "m.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        montage([[plain(RED)]], tmp_path / "file" / "m.png")


def test_planes_are_those_through_the_middle_in_true_proportions() -> None:
    volume = np.arange(4 * 6 * 8, dtype=np.int16).reshape(4, 6, 8, 1)
    sheet = planes(volume, (2.0, 1.0, 1.0))
    assert sheet.shape == (6 + 8, 8 + 8, 1)
    assert sheet.dtype == np.int16
    np.testing.assert_array_equal(sheet[:6, :8], volume[2])
    np.testing.assert_array_equal(sheet[6:, :8], volume[:, 3].repeat(2, axis=0))
    np.testing.assert_array_equal(sheet[:6, 8:], volume[:, :, 4].repeat(2, axis=0).swapaxes(0, 1))
    assert (sheet[6:, 8:] == volume[2].min()).all()


def test_planes_of_any_spacing_stay_within_the_volume() -> None:
    volume = np.full((3, 5, 7, 2), np.nan, np.float32)
    volume[1, 2, 3] = (1.0, 2.0)
    sheet = planes(volume, (1.7, 0.9, 1.3))
    assert sheet.shape == (5 + 6, 10 + 6, 2)
    assert to_rgb(volume).shape == (5 + 3, 7 + 3, 3)
    np.testing.assert_array_equal(sheet[-1, -1], (1.0, 2.0))
