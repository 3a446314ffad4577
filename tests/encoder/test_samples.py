from __future__ import annotations

import numpy as np
import pytest

from domainjepa.encoder.samples import as_images
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
