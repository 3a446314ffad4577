from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.transforms.curves import Gamma
from tests.domains.seeding import seeded


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.2])
def test_gamma_is_a_power_that_keeps_the_sign(exponent: float) -> None:
    image = np.linspace(-1, 2, 600, dtype=np.float32).reshape(10, 20, 3)
    changed = Gamma((exponent, exponent), p=1)(image=image)["image"]
    expected = np.sign(image) * np.abs(image.astype(float)) ** exponent
    np.testing.assert_allclose(changed, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16])
def test_gamma_of_8_bit_images_is_rounded_once(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 11, channels), dtype=np.uint8)
    changed = Gamma((0.7, 0.7), p=1)(image=image)["image"]
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(changed, np.rint(255 * (image / 255) ** 0.7))


def test_exponents_are_as_often_below_1_as_above() -> None:
    image = np.full((4, 4, 1), 0.5, np.float32)
    drawn = [
        np.log(seeded(Gamma((0.5, 2.0), p=1), seed)(image=image)["image"][0, 0, 0]) / np.log(0.5)
        for seed in range(300)
    ]
    assert min(drawn) >= 0.499
    assert max(drawn) <= 2.001
    assert np.mean(np.log(drawn)) == pytest.approx(0, abs=0.1)
