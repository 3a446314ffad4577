from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from domainjepa.domains.transforms.fields import WIDTH, BiasField, Scatter
from tests.domains.seeding import grey, seeded


@pytest.mark.parametrize("seed", range(5))
def test_a_bias_field_is_smooth_positive_and_the_same_for_all_bands(seed: int) -> None:
    image = np.random.default_rng(0).uniform(0.2, 1, (64, 80, 5)).astype(np.float32)
    factor = seeded(BiasField(0.5, p=1), seed)(image=image)["image"] / image
    np.testing.assert_allclose(factor, np.broadcast_to(factor[..., :1], factor.shape), rtol=1e-5)
    field = np.log(factor[..., 0].astype(float))
    assert (factor > 0).all()
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert np.ptp(field) > 0.1
    # A polynomial of order 3: its fourth differences vanish.
    assert np.abs(np.diff(field, 4, axis=0)).max() < 1e-4
    assert np.abs(np.diff(field, 4, axis=1)).max() < 1e-4


def test_a_field_of_strength_0_changes_nothing() -> None:
    image = grey(0.4)
    np.testing.assert_array_equal(BiasField(0.0, p=1)(image=image)["image"], image)


def test_depth_gain_is_the_same_in_every_column_and_leaves_black_black() -> None:
    image = np.ones((60, 40, 1), np.float32)
    image[:, :5] = 0
    changed = seeded(BiasField(0.4, down=True, p=1))(image=image)["image"]
    assert (changed[:, :5] == 0).all()
    assert np.ptp(changed[:, 5:], axis=1).max() == 0
    assert np.ptp(changed[:, 10]) > 0.1


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("shape", [(64, 64), (50, 90), (6, 9)])
def test_scatter_keeps_the_mean_and_loses_contrast(shape: tuple[int, int], channels: int) -> None:
    image = np.random.default_rng(0).normal(0.3, 0.4, (*shape, channels)).astype(np.float32)
    changed = seeded(Scatter((0.4, 0.4), p=1))(image=image)["image"]
    np.testing.assert_allclose(changed.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1e-5)
    assert changed.std() < 0.8 * image.std()


def test_scatter_is_a_wide_gaussian_reflected_at_the_border() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (60, 80, 2)).astype(np.float32)
    changed = seeded(Scatter((0.3, 0.3), p=1))(image=image)["image"]
    for band in range(2):
        haze = gaussian_filter(image[..., band].astype(float), (WIDTH * 60, WIDTH * 80), truncate=6)
        np.testing.assert_allclose(
            changed[..., band], 0.7 * image[..., band] + 0.3 * haze, atol=2e-3
        )
