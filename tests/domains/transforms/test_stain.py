from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.transforms.stain import EOSIN, HAEMATOXYLIN, StainJitter, stain_matrix
from tests.domains.seeding import seeded


def tissue(amounts: np.ndarray) -> np.ndarray:
    """Beer and Lambert: (..., 3) amounts of the stains -> light, (..., 3) float32."""
    return np.exp(-amounts @ stain_matrix()).astype(np.float32)


def test_stains_are_ruifroks_and_the_rest_is_neither() -> None:
    matrix = stain_matrix()
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1)
    for row, stain in zip(matrix, (HAEMATOXYLIN, EOSIN), strict=False):
        np.testing.assert_allclose(row, np.array(stain) / np.linalg.norm(stain))
    np.testing.assert_allclose(matrix[:2] @ matrix[2], 0, atol=1e-12)


def test_each_stain_is_scaled_by_its_factor() -> None:
    amounts = np.random.default_rng(0).uniform(0, 1, (16, 16, 3)) * [1, 1, 0.1]
    factors = [1.3, 0.7, 1.1]
    changed = StainJitter().change(tissue(amounts), factors)
    np.testing.assert_allclose(changed, tissue(amounts * factors), rtol=1e-4)


def test_strength_0_is_the_identity_and_glass_stays_white() -> None:
    image = np.random.default_rng(0).integers(1, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(StainJitter(0.0, p=1)(image=image)["image"], image)
    for white in (np.full((8, 8, 3), 255, np.uint8), np.ones((8, 8, 3), np.float32)):
        for seed in range(10):
            changed = seeded(StainJitter(0.5, p=1), seed)(image=white)["image"]
            np.testing.assert_allclose(changed, white, atol=1e-6)


def test_more_of_every_stain_is_darker_and_what_is_black_stays_finite() -> None:
    image = tissue(np.full((4, 4, 3), [0.8, 0.5, 0.0]))
    assert (StainJitter().change(image, [1.2, 1.2, 1.2]) < image).all()
    image[0, 0] = [0.0, -0.5, 0.2]
    assert np.isfinite(StainJitter().change(image, [1.3, 0.7, 0.7])).all()


def test_stains_need_three_colours() -> None:
    with pytest.raises(ValueError, match="red, green and blue"):
        StainJitter(p=1)(image=np.ones((8, 8, 4), np.float32))
