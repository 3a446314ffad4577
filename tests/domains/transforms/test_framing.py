from __future__ import annotations

import math

import numpy as np
import pytest

from domainjepa.domains.transforms.framing import Framing
from tests.domains.seeding import seeded


def coordinates(height: int, width: int) -> np.ndarray:
    """(H, W, 2): x and y of each pixel, from the centre of the image."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x - (width - 1) / 2, y - (height - 1) / 2], axis=2)


def test_rotation_is_about_the_centre_of_the_view() -> None:
    view = Framing(31).apply(coordinates(64, 64), 31.0, 0.4, False, (5.0, -7.0))
    upright = Framing(31).apply(coordinates(64, 64), 31.0, 0.0, False, (5.0, -7.0))
    x, y = upright[15, 15]
    np.testing.assert_allclose(upright[15, 15], [5, -7], atol=0.02)
    cos, sin = math.cos(0.4), math.sin(0.4)
    np.testing.assert_allclose(view[15, 15], [x * cos - y * sin, x * sin + y * cos], atol=0.05)
    step = view[15, 16] - view[15, 15]
    np.testing.assert_allclose(step, [cos, sin], atol=0.06)


@pytest.mark.parametrize("turn", [0.0, 10.0, 180.0])
def test_angles_are_within_the_turn(turn: float) -> None:
    angles = []
    for seed in range(300):
        view = seeded(Framing(24, (0.2, 0.3), turn=turn), seed)(image=coordinates(80, 80))["image"]
        step = view[12, 13] - view[12, 12]
        angles.append(math.degrees(math.atan2(step[1], step[0])))
    assert np.abs(angles).max() <= turn + 3
    assert np.abs(angles).max() >= 0.95 * turn


@pytest.mark.parametrize("shape", [(40, 120), (120, 40)])
@pytest.mark.parametrize("turn", [0.0, 180.0])
def test_views_come_from_the_whole_of_a_long_image(shape: tuple[int, int], turn: float) -> None:
    middles = np.array(
        [
            seeded(Framing(9, (0.05, 0.1), turn, mirror=True), seed)(image=coordinates(*shape))[
                "image"
            ][4, 4]
            for seed in range(300)
        ]
    )
    width, height = shape[1], shape[0]
    side = math.sqrt(0.1 * 40 * 120)
    for axis, length in ((0, width), (1, height)):
        reach = (length - side) / 2
        assert np.abs(middles[:, axis]).max() <= (length - math.sqrt(0.05 * 4800)) / 2 + 0.1
        # Uniform, as wide as the image lets it be.
        assert middles[:, axis].std() > 0.9 * reach / math.sqrt(3)
        assert abs(middles[:, axis].mean()) < 0.25 * reach


def test_the_share_of_the_area_is_what_was_asked() -> None:
    for seed in range(50):
        view = seeded(Framing(20, (0.25, 0.36)), seed)(image=coordinates(100, 100))["image"]
        side = (view[10, 19, 0] - view[10, 0, 0]) * 20 / 19
        assert 49 <= side <= 61


def test_a_mask_follows_the_image_and_covers_all_it_touches() -> None:
    image = np.random.default_rng(0).normal(0, 1, (40, 40, 2)).astype(np.float32)
    missing = np.zeros((40, 40, 2), np.uint8)
    missing[10:15, 20:30, 0] = 1
    for seed in range(20):
        crop = Framing(24, (0.3, 1.0), turn=180.0, mirror=True)
        made = seeded(crop, seed)(
            image=np.where(missing, 1e6, image).astype(np.float32), mask=missing
        )
        mask = made["mask"]
        assert mask.shape == (24, 24, 2)
        assert not mask[..., 1].any()
        touched = np.abs(made["image"]) > 10
        np.testing.assert_array_equal(mask[touched], 1)
        clean = seeded(crop, seed)(image=image)["image"]
        np.testing.assert_allclose(made["image"][mask == 0], clean[mask == 0], atol=1e-5)
