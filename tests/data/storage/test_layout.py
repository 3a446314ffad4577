from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domainjepa.data.storage.layout import Array, dimensions_of, layout_of, pick_images
from domainjepa.errors import DataError


def array(*shape: int, dtype: str = "uint8", same_as: object = None) -> Array:
    return Array(shape, np.dtype(dtype), same_as=same_as)


@pytest.mark.parametrize(
    ("shape", "channels", "sample"),
    [
        ((9, 32, 48, 3), "last", (32, 48, 3)),
        ((9, 3, 32, 48), "first", (32, 48, 3)),
        ((9, 32, 48), "none", (32, 48, 1)),
        ((9, 8, 8, 3), "last", (8, 8, 3)),
        ((9, 3, 8, 8), "first", (8, 8, 3)),
        ((9, 12, 12, 12), "last", (12, 12, 12)),
        ((9, 4, 4, 12), "last", (4, 4, 12)),
        ((9, 5, 32, 12), "first", (32, 12, 5)),
        ((9, 64, 64, 16), "last", (64, 64, 16)),
    ],
)
def test_the_short_axis_holds_the_channels(
    shape: tuple[int, ...], channels: str, sample: tuple[int, int, int]
) -> None:
    layout = layout_of(array(*shape))
    assert layout is not None
    assert (layout.channels, layout.shape) == (channels, sample)


@pytest.mark.parametrize(
    "wrong",
    [
        array(9),
        array(9, 32),
        array(9, 32, 3),
        array(9, 64, 64, 64),
        array(9, 2, 5, 32, 32),
        array(9, 32, 32, dtype="S4"),
        array(9, 32, 32, 3, dtype="complex64"),
        array(9, 32, 32, dtype="bool"),
        array(9, 32, 32, 0),
    ],
)
def test_other_arrays_are_no_images(wrong: Array) -> None:
    assert layout_of(wrong) is None


def test_channels_first_are_moved_last() -> None:
    stored = np.arange(2 * 3 * 8 * 9).reshape(2, 3, 8, 9)
    layout = layout_of(array(*stored.shape))
    assert layout is not None
    images = layout.images(stored)
    assert images.shape == (2, 8, 9, 3)
    assert images.flags.c_contiguous
    for channel in range(3):
        np.testing.assert_array_equal(images[..., channel], stored[:, channel])


def test_a_usual_name_breaks_a_tie() -> None:
    arrays = {"masks": array(9, 32, 32), "group/Images": array(9, 32, 32, 3)}
    assert pick_images(arrays, None, "a.h5")[0] == "group/Images"


def test_two_names_of_one_array_are_one_candidate() -> None:
    arrays = {name: array(9, 32, 32, same_as=(0, 96)) for name in ("cube", "images")}
    assert pick_images(arrays, None, "a.h5")[0] == "images"


def test_ambiguity_lists_the_choices_and_the_option() -> None:
    arrays = {"hst": array(9, 32, 32), "hsc": array(9, 64, 64, 5, dtype="float32")}
    with pytest.raises(DataError) as caught:
        pick_images(arrays, None, "a.h5")
    for words in ("hst (9x32x32 uint8)", "hsc (9x64x64x5 float32)", "--set data.images="):
        assert words in str(caught.value)


def test_a_named_array_may_have_many_channels() -> None:
    arrays = {"images": array(9, 32, 32), "cube": array(9, 32, 32, 100)}
    name, layout = pick_images(arrays, "cube", "a.h5")
    assert (name, layout.shape) == ("cube", (32, 32, 100))


def test_names_are_found_by_their_last_part() -> None:
    arrays = {"a/pictures": array(9, 32, 32), "b/pictures": array(9, 32, 32), "b/x": array(9)}
    assert pick_images(arrays, "/a/pictures", "a.h5")[0] == "a/pictures"
    with pytest.raises(DataError, match="a/pictures, b/pictures"):
        pick_images(arrays, "pictures", "a.h5")
    with pytest.raises(DataError, match="Did you mean"):
        pick_images(arrays, "a/picture", "a.h5")
    with pytest.raises(DataError, match="not images"):
        pick_images(arrays, "x", "a.h5")


def test_no_images_lists_what_there_is() -> None:
    with pytest.raises(DataError, match=r"flux \(9x100 float32\)"):
        pick_images({"flux": array(9, 100, dtype="float32")}, None, "a.h5")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 20, 30, 40), ("none", (20, 30, 40, 1))),
        ((5, 20, 30, 40, 2), ("last", (20, 30, 40, 2))),
        ((5, 2, 20, 30, 40), ("first", (20, 30, 40, 2))),
        ((5, 3, 30, 30, 1), ("last", (3, 30, 30, 1))),
        ((5, 0, 30, 30, 1), None),
        ((5, 30, 30), None),
    ],
)
def test_layouts_of_volumes(shape: tuple[int, ...], expected: Any) -> None:
    layout = layout_of(Array(shape, np.dtype("i2")), dimensions=3)
    assert (layout and (layout.channels, layout.shape)) == expected


def test_volumes_are_taken_where_there_are_no_images() -> None:
    volumes, images = Array((5, 20, 30, 40), np.dtype("i2")), Array((5, 20, 30), np.dtype("i2"))
    assert dimensions_of({"v": volumes}, None, 2) == 3
    assert dimensions_of({"v": volumes, "i": images}, None, 2) == 2
    assert dimensions_of({"v": volumes, "i": images}, None, 3) == 3
    assert dimensions_of({"v": volumes, "i": images}, "v", 2) == 2  # named: 40 channels
