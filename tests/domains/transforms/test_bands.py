from __future__ import annotations

import random

import albumentations as A
import numpy as np
import pytest

from domainjepa.domains.transforms.bands import Background, BandMap, Fused, Gain, Grey, fuse
from domainjepa.domains.transforms.blur import PSFBlur


def noise(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).normal(0.5, 0.3, (12, 12, channels)).astype(np.float32)


def seeded(transform: A.BasicTransform, seed: int = 0) -> A.BasicTransform:
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return transform


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
def test_a_gain_of_one_band_leaves_the_others_alone(channels: int) -> None:
    image, matrix = noise(channels), np.eye(channels, channels + 1)
    matrix[-1, channels - 1] = 1.5
    changed = BandMap().apply(image, matrix)
    np.testing.assert_array_equal(changed[..., :-1], image[..., :-1])
    np.testing.assert_allclose(changed[..., -1], image[..., -1] * np.float32(1.5), rtol=1e-6)


def test_gain_scales_each_band_by_a_factor_of_its_own() -> None:
    image = noise(5)
    factors = []
    for seed in range(200):
        ratio = seeded(Gain((0.4, 1.6)), seed)(image=image)["image"] / image
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0, 0], ratio.shape), rtol=1e-5)
        factors.append(ratio[0, 0])
    drawn = np.array(factors)
    assert drawn.min() >= 0.4
    assert drawn.max() <= 1.6
    # Uniform from 0.4 to 1.6, mean 1 and variance 0.12; bands independent.
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), 0.12 * np.eye(5), atol=0.04)


def test_a_common_gain_keeps_the_ratios_of_the_bands() -> None:
    image = noise(5)
    changed = seeded(Gain((0.4, 1.6), common=True))(image=image)["image"]
    assert not np.allclose(changed, image)
    np.testing.assert_allclose(
        changed[..., 1:] / changed[..., :1], image[..., 1:] / image[..., :1], rtol=1e-5
    )


@pytest.mark.parametrize("common", [True, False])
def test_background_adds_a_constant_to_each_band(common: bool) -> None:
    image = noise(3)
    added = seeded(Background(0.03, common=common))(image=image)["image"] - image
    np.testing.assert_allclose(added, np.broadcast_to(added[0, 0], added.shape), atol=1e-6)
    assert np.abs(added).max() <= 0.03
    assert (np.ptp(added[0, 0]) < 1e-6) == common


def test_background_is_on_the_scale_of_the_dtype() -> None:
    image = np.full((4, 4, 1), 100, np.uint8)
    added = [
        int(seeded(Background(0.1), s)(image=image)["image"][0, 0, 0]) - 100 for s in range(99)
    ]
    assert -26 <= min(added) < -15
    assert 15 < max(added) <= 26


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
def test_grey_is_the_mean_of_the_bands(channels: int) -> None:
    image = noise(channels)
    grey = Grey(p=1)(image=image)["image"]
    expected = np.broadcast_to(image.mean(axis=2, keepdims=True), image.shape)
    np.testing.assert_allclose(grey, expected, atol=1e-6)


def test_8_bit_values_saturate_and_round() -> None:
    image = np.array([[[0, 100, 250]]], np.uint8)
    matrix = np.array([[1, 0, 0, -0.1], [0, 1.006, 0, 0], [0, 0, 1.6, 0]])
    np.testing.assert_array_equal(BandMap().apply(image, matrix), [[[0, 101, 255]]])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 5, 12])
def test_fused_maps_do_what_they_do_one_after_the_other(channels: int, dtype: type) -> None:
    maps = [Gain((0.8, 1.1)), Background(0.02), Gain((0.9, 1.1), common=True), Grey(p=0.5)]
    # Far from saturation, which cuts between the steps where they are apart.
    image = (noise(channels) * 0.3 + 0.3) * (255 if dtype is np.uint8 else 1)
    image = image.astype(dtype)
    apart, together = A.Compose(maps), A.Compose(fuse(maps))
    assert len(together.transforms) == 1
    # One rounding in the place of four: 8-bit values may differ by two levels.
    tolerance = 2 if dtype is np.uint8 else 1e-5
    for seed in range(20):
        one, other = seeded(apart, seed)(image=image), seeded(together, seed)(image=image)
        assert other["image"].dtype == dtype
        np.testing.assert_allclose(
            other["image"].astype(float), one["image"].astype(float), atol=tolerance
        )


def test_fuse_joins_neighbours_alone() -> None:
    first, second, blur, last = Gain((0.5, 1.5)), Grey(), PSFBlur(), Background()
    fused = fuse([first, second, blur, last])
    assert isinstance(fused[0], Fused)
    assert list(fused[0].maps) == [first, second]
    assert fused[1:] == [blur, last]
