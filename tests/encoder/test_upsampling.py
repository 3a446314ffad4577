from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from domainjepa.encoder.upsampling import at_pixels, upsampled

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("positions", [(5, 4), (3, 4, 5)])
def test_what_is_between_positions_is_as_torch_has_it(positions: tuple[int, ...]) -> None:
    values = DRAW.normal(size=(*positions, 3)).astype(np.float32)
    sides = [4 * one for one in positions]
    mode = "bilinear" if len(positions) == 2 else "trilinear"
    wanted = functional.interpolate(
        torch.tensor(values).movedim(-1, 0)[None], sides, mode=mode, align_corners=False
    )
    found = upsampled(values, [4.0] * len(sides), sides)
    np.testing.assert_allclose(found, wanted[0].movedim(0, -1), atol=1e-6)


def test_a_pixel_alone_is_as_in_the_whole_also_where_the_last_position_is_cut() -> None:
    values, pitch = DRAW.normal(size=(4, 3, 2)).astype(np.float32), (3.0, 2.5)
    whole = upsampled(values, pitch, (11, 7))
    places = np.argwhere(np.ones((11, 7)))
    np.testing.assert_allclose(at_pixels(values, pitch, places), whole.reshape(-1, 2), atol=1e-6)


def test_an_affine_map_before_is_one_behind() -> None:
    values = DRAW.normal(size=(6, 5, 8)).astype(np.float32)
    weights, offset = DRAW.normal(size=(8, 3)).astype(np.float32), np.float32([1, -2, 3])
    before = upsampled(values @ weights + offset, (4.0, 4.0), (22, 19))
    behind = upsampled(values, (4.0, 4.0), (22, 19)) @ weights + offset
    np.testing.assert_allclose(before, behind, atol=1e-4)


def test_upsampled_is_linear_between_centres() -> None:
    rows, columns = np.mgrid[:5, :7].astype(np.float32)
    values = np.stack([rows, columns], axis=2)
    pitch, sides = (4.0, 3.0), (18, 21)
    found = upsampled(values, pitch, sides)
    y = np.clip((np.arange(18) + 0.5) / 4 - 0.5, 0, 4)
    x = np.clip((np.arange(21) + 0.5) / 3 - 0.5, 0, 6)
    np.testing.assert_allclose(found[..., 0], np.repeat(y[:, None], 21, 1), atol=1e-5)
    np.testing.assert_allclose(found[..., 1], np.repeat(x[None], 18, 0), atol=1e-5)


def test_upsampled_volume_of_pitch_one_is_itself() -> None:
    values = DRAW.random((3, 4, 5, 2)).astype(np.float32)
    np.testing.assert_allclose(upsampled(values, (1, 1, 1), (3, 4, 5)), values, atol=1e-6)
