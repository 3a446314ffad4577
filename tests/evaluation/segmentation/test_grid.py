from __future__ import annotations

import numpy as np

from domainjepa.evaluation.segmentation.grid import shares


def test_shares_of_a_patch_are_those_of_its_pixels() -> None:
    classes = np.array([[0, 0, 1, 1, 2], [0, 1, 1, 1, -1]], np.int16)
    found = shares(classes, (2.0, 2.0), 3)
    wanted = [[[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0.5]]]
    np.testing.assert_allclose(found, wanted)
