from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.transforms.air import Haze
from tests.domains.seeding import seeded


@pytest.mark.parametrize("bands", [1, 3, 13])
def test_haze_is_what_the_air_lets_through_and_its_own_light(bands: int) -> None:
    """x t + A (1 - t): a line that leaves the light A where it is, in every band."""
    levels = np.linspace(0, 1, 50, dtype=np.float32)
    image = np.broadcast_to(levels[:, None, None], (50, 4, bands)).copy()
    ends = []
    for seed in range(60):
        hazy = seeded(Haze(0.3, light=(0.8, 0.8), p=1), seed)(image=image)["image"][:, 0]
        through, added = hazy[-1] - hazy[0], hazy[0]
        np.testing.assert_allclose(hazy, levels[:, None] * through + added, atol=1e-5)
        np.testing.assert_allclose(added, 0.8 * (1 - through), atol=1e-5)
        veil = 1 - through
        assert 0 <= veil.min() <= veil.max() <= 0.3 + 1e-5
        assert veil.min() >= 0.4 * veil.max() - 1e-5
        np.testing.assert_allclose(np.diff(veil, 2), 0, atol=1e-5)  # evenly from band to band
        ends.append(veil[0] >= veil[-1])
    if bands > 1:
        assert 15 < np.sum(ends) < 45, "which end is red is drawn"


def test_a_common_veil_keeps_grey_grey() -> None:
    image = np.full((8, 8, 4), 0.3, np.float32)
    hazy = seeded(Haze(common=True, p=1), 3)(image=image)["image"]
    np.testing.assert_allclose(hazy, np.broadcast_to(hazy[..., :1], hazy.shape), atol=1e-6)
    assert hazy.mean() > 0.3
