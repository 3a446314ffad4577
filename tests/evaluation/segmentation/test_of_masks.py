from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance

from domainjepa.evaluation.metrics import of_masks
from domainjepa.evaluation.metrics.of_masks import Outline, hausdorff_95, overlaps

DRAW = np.random.default_rng(0)


def test_overlaps_are_those_of_two_squares() -> None:
    # 4x4 squares, shifted by 1 and 2: 3 * 2 = 6 pixels in common.
    dice, iou = overlaps([6, 0, 0], [16, 16, 0], [16, 0, 0])
    np.testing.assert_allclose(dice, [2 * 6 / 32, 0, np.nan])
    np.testing.assert_allclose(iou, [6 / 26, 0, np.nan])


@pytest.mark.parametrize("many", [1, 10_000], ids=["by map", "by tree"])
@pytest.mark.parametrize("shape", [(23, 31), (9, 17, 13)])
def test_distances_are_monais(
    shape: tuple[int, ...], many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_masks, "MANY", many)
    spacing = (2.0, 0.7, 1.1)[: len(shape)]
    for _ in range(5):
        truth, guess = (DRAW.random(shape) < share for share in (0.1, 0.2))
        told = compute_hausdorff_distance(
            *(torch.tensor(one)[None, None] for one in (guess, truth)),
            include_background=True,
            percentile=95,
            spacing=spacing,
        )
        ours = hausdorff_95(Outline(truth, spacing), Outline(guess, spacing))
        assert ours == pytest.approx(float(told), rel=1e-5)


def test_a_shift_of_a_square_is_its_distance() -> None:
    marks = np.zeros((40, 40), bool)
    marks[10:20, 10:20] = True
    outlines = [Outline(one, (0.5, 0.5)) for one in (marks, np.roll(marks, 12, axis=1))]
    assert hausdorff_95(*outlines) == 6.0


def test_a_structure_that_one_alone_has_is_as_far_as_the_image_is_large() -> None:
    some, none = np.ones((3, 4), bool), np.zeros((3, 4), bool)
    line, nothing = Outline(some, (1, 1)), Outline(none, (1, 1))
    assert hausdorff_95(line, nothing) == hausdorff_95(nothing, line) == 5.0
    assert np.isnan(hausdorff_95(nothing, nothing))
