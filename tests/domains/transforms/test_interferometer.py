from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.transforms.blur import FWHM
from domainjepa.domains.transforms.interferometer import Beam, Clip, IslandNoise
from tests.domains.seeding import grey, seeded


def island(dtype: type = np.float32) -> np.ndarray:
    y, x = np.mgrid[-32:32, -32:32]
    light = np.exp(-(x**2 + y**2) / (2 * 6.0**2))
    light[light < 0.1] = 0
    return (light * (255 if dtype is np.uint8 else 1)).astype(dtype)[..., None]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise_leaves_what_was_clipped_at_zero(dtype: type) -> None:
    image = island(dtype)
    noisy = seeded(IslandNoise((0.05, 0.05), p=1))(image=image)["image"]
    np.testing.assert_array_equal(noisy[image == 0], 0)
    difference = (noisy.astype(float) - image)[image > 0] / (255 if dtype is np.uint8 else 1)
    assert difference.std() == pytest.approx(0.05, rel=0.1)


def test_a_map_that_was_never_clipped_gets_noise_everywhere() -> None:
    image = np.random.default_rng(0).normal(0, 0.1, (100, 100, 1)).astype(np.float32)
    noise = seeded(IslandNoise((0.05, 0.05), p=1))(image=image)["image"] - image
    assert noise.std() == pytest.approx(0.05, rel=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.003)
    np.testing.assert_array_equal(seeded(Clip(p=1))(image=image)["image"], image)


@pytest.mark.parametrize("ratio", [1.0, 1.8])
def test_the_beam_conserves_flux_and_is_an_ellipse(ratio: float) -> None:
    image = np.zeros((65, 65, 5), np.float32)
    image[32, 32] = 100, 1, 7, 3, 2
    beam = seeded(Beam((4.0, 4.0), (ratio, ratio), p=1), 3)
    blurred = beam(image=image)["image"]
    np.testing.assert_allclose(blurred.sum(axis=(0, 1)), image[32, 32], rtol=1e-4)
    y, x = np.mgrid[-32:33, -32:33]
    light = blurred[..., 1] / blurred[..., 1].sum()
    moments = [(light * x * x).sum(), (light * x * y).sum(), (light * y * y).sum()]
    spread = np.linalg.eigvalsh([moments[:2], moments[1:]])
    minor = (4.0 / FWHM) ** 2
    np.testing.assert_allclose(spread, [minor, minor * ratio**2], rtol=0.02)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_clip_level_is_a_share_of_the_peak(dtype: type) -> None:
    image = island(dtype)
    clipped = seeded(Clip((0.3, 0.3), p=1))(image=image)["image"]
    kept = image >= 0.3 * image.max()
    np.testing.assert_array_equal(clipped[kept], image[kept])
    np.testing.assert_array_equal(clipped[~kept], 0)
    blank = np.zeros_like(image)
    np.testing.assert_array_equal(seeded(Clip(p=1))(image=blank)["image"], blank)


def test_negative_bowls_of_a_clipped_map_keep_their_sign() -> None:
    image = grey(0.0, 32)
    image[5:10, 5:10] = -0.2
    noisy = seeded(IslandNoise((0.01, 0.01), p=1))(image=image)["image"]
    assert (noisy[5:10, 5:10] < -0.1).all()
