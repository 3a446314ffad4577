from __future__ import annotations

import numpy as np
import pytest

from domainjepa.config import TargetConfig
from domainjepa.data.parts.slices import slices
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError
from domainjepa.evaluation.cohorts.units import samples_of
from domainjepa.evaluation.segmentation.cases import cases_of, held_out, units_with_masks
from domainjepa.evaluation.segmentation.classes import classes_of, named
from domainjepa.evaluation.segmentation.pixels import drawn_pixels
from domainjepa.evaluation.segmentation.seen import seen_of
from tests.evaluation.segmentation.toys import with_masks


def test_names_and_what_is_ignored_are_those_of_the_data() -> None:
    nnunet = named([0, 1, 2, 3], {0: "background", 1: "left", 2: "right", 3: "ignore"})
    assert nnunet.names == ("background", "left", "right")
    assert nnunet.scored_names == ("left", "right")
    mask = np.array([[0, 1], [3, 2]], np.uint8)
    assert nnunet.of(mask).tolist() == [[0, 1], [-1, 2]]


def test_255_is_a_structure_by_itself_and_nothing_beside_others() -> None:
    assert named([0, 255], {}).scored_names == ("foreground",)
    assert named([0, 1, 255], {}).ignored == (255,)
    kept = named([0, 1, 255], {}, TargetConfig(ignore=()))
    assert kept.scored_names == ("1", "255")


def test_the_background_is_what_the_user_says() -> None:
    assert named([0, 255], {}, TargetConfig(background=255)).scored == (0,)
    every = named([0, 1, 2], {}, TargetConfig(background="none"))
    assert every.scored_names == ("0", "1", "2")
    road = named([0, 1], {0: "road", 1: "sky"})
    assert road.scored_names == ("road", "sky")


def test_masks_that_tell_nothing_or_are_of_another_size_are_refused() -> None:
    images = np.zeros((3, 8, 8), np.uint8)
    same = with_masks(images, np.ones((3, 8, 8), np.uint8))
    with pytest.raises(DataError, match="nothing to tell apart"):
        classes_of(same, np.arange(3))
    numbers = with_masks(images, np.arange(3 * 576).reshape(3, 24, 24))
    with pytest.raises(DataError, match="576 different values"):
        classes_of(numbers, np.arange(3))
    smaller = with_masks(images, np.eye(7, dtype=np.uint8)[None].repeat(3, 0))
    seen = seen_of(smaller, classes_of(smaller, np.arange(3))[0])
    with pytest.raises(DataError, match="mask of sample 0 of toy is 7x7, and the image is 8x8"):
        seen.mask(0)


def test_slices_of_a_volume_are_one_case() -> None:
    masks = np.zeros((4, 3, 16, 16), np.uint8)
    masks[:, 1, 4:8] = 1
    images = 1 + np.random.default_rng(0).random((4, 3, 16, 16)).astype(np.float32)
    cut = slices(with_masks(images, masks), OpenOptions())
    assert cases_of(cut).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    units = units_with_masks(cut, None)
    assert (len(units), units.one) == (4, "volume")
    split = held_out(units, 0)
    assert len(split.test) == 1
    assert len(split.train) == 3


def test_a_group_is_never_on_both_sides() -> None:
    groups = np.repeat(np.arange(6), 3)
    images = np.zeros((18, 8, 8), np.uint8)
    source = with_masks(images, images, groups=groups)
    for seed in range(5):
        split = held_out(samples_of(source, np.arange(0)), seed)
        assert len(split.test) == 6  # two groups: a third, where a fifth would be fewer than 5
        assert not set(groups[split.train]) & set(groups[split.test])


def test_pixels_that_are_drawn_stand_for_all_and_the_rare_are_among_them() -> None:
    classes = np.zeros((100, 100), np.int16)
    classes[:2, :10], classes[50:] = 1, 2
    classes[99] = -1
    places, weights = drawn_pixels(classes, 300, 7)
    drawn = classes.ravel()[places]
    assert 260 <= len(places) <= 300  # the rare class has 20 in the place of 51
    sums = [weights[drawn == one].sum() for one in range(3)]
    np.testing.assert_allclose(sums, [4980, 20, 4900])
    assert (drawn == 1).sum() == 20  # a fair draw would hold half of one
    again, _ = drawn_pixels(classes, 300, 7)
    np.testing.assert_array_equal(places, again)
