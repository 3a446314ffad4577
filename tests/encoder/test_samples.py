from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.intensity import Asinh, Identity, Intensity, Linear
from domainjepa.encoder.samples import as_images, refuse_far
from domainjepa.errors import DataError


@pytest.mark.parametrize("shape", [(1, 0, 8, 8), (1, 8, 0, 8), (1, 8, 8, 0, 1)])
def test_volumes_of_no_voxels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="volumes of 0 px"):
        as_images(np.zeros(shape, np.float32), 1, 3)


@pytest.mark.parametrize("nothing", [None, 5, "a"])
def test_what_holds_no_images_is_refused(nothing: object) -> None:
    with pytest.raises(DataError, match=repr(nothing)):
        as_images(nothing, 1)  # type: ignore[arg-type]


def test_images_of_several_sizes_are_a_list() -> None:
    found = as_images([np.zeros((4, 5)), np.ones((4, 7))], 1)
    assert [image.shape for image in found] == [(4, 5, 1), (4, 7, 1)]


ASINH = Asinh(sky=(1.0,), scale=(2.0,), softening=0.1)
UNIT = Linear(low=(0.0,), high=(1.0,))


@pytest.mark.parametrize("intensity", [UNIT, Asinh(sky=(0.0,), scale=(0.9,), softening=0.1)])
def test_values_of_another_unit_are_refused(intensity: Intensity) -> None:
    random = np.random.default_rng(0)
    fine = [random.random((16, 16, 1)).astype(np.float32) for _ in range(5)]
    refuse_far(fine, intensity)
    refuse_far([5 * image - 2 for image in fine], intensity)  # brighter, but not of another unit
    bytes_ = [(255 * image).round() for image in fine]
    with pytest.raises(DataError, match=r"run from 0 to 255, 2\d\d times the range beyond"):
        refuse_far(bytes_, intensity)
    with pytest.raises(DataError, match="-25"):
        refuse_far([-image for image in bytes_], intensity)
    refuse_far([*fine, bytes_[0]], intensity)  # one strange image is not another unit
    hot = [image.copy() for image in fine]
    for image in hot:
        image[0, 0] = 1e6  # a cosmic ray
    refuse_far(hot, intensity)
    refuse_far([np.full((4, 4, 1), np.nan)], intensity)


def test_how_far_beyond_is_counted_in_ranges() -> None:
    assert UNIT.beyond(np.full((4, 4, 1), 7.0)) == pytest.approx(6)
    assert UNIT.beyond(np.full((4, 4, 1), -3.0)) == pytest.approx(3)
    assert ASINH.beyond(np.full((4, 4, 1), 9.0)) == pytest.approx(3)
    assert Identity().beyond(np.full((4, 4, 1), 255, np.uint8)) == 0
