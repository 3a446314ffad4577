from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.transforms.echo import Contact, Speckle
from tests.domains.seeding import grey, seeded


@pytest.mark.parametrize("grain", [0.5, 1.5])
def test_speckle_has_mean_1_and_rayleighs_spread(grain: float) -> None:
    patterns = np.concatenate(
        [
            seeded(Speckle((1.0, 1.0), (grain, grain), p=1), seed)(image=grey(1.0, 200))["image"]
            for seed in range(4)
        ]
    )
    assert patterns.mean() == pytest.approx(1, abs=0.02)
    assert patterns.std() == pytest.approx(np.sqrt(4 / np.pi - 1), rel=0.05)  # 0.523
    assert patterns.min() >= 0


def test_strength_scales_the_spread_and_the_grain_is_wider_across() -> None:
    pattern = seeded(Speckle((0.3, 0.3), (1.5, 1.5), p=1))(image=grey(1.0, 250))["image"][..., 0]
    assert pattern.mean() == pytest.approx(1, abs=0.01)
    assert pattern.std() == pytest.approx(0.3 * 0.523, rel=0.06)
    along = np.corrcoef(pattern[3:].ravel(), pattern[:-3].ravel())[0, 1]
    across = np.corrcoef(pattern[:, 3:].ravel(), pattern[:, :-3].ravel())[0, 1]
    assert across > along + 0.1


def test_speckle_is_the_same_in_all_bands_and_none_where_nothing_echoes() -> None:
    image = np.random.default_rng(0).uniform(0.2, 0.8, (48, 48, 3)).astype(np.float32)
    image[:10] = 0
    factor = seeded(Speckle((0.5, 0.5), p=1))(image=image)["image"][10:] / image[10:]
    np.testing.assert_allclose(factor, np.broadcast_to(factor[..., :1], factor.shape), rtol=1e-5)
    assert (seeded(Speckle(p=1))(image=image)["image"][:10] == 0).all()


def test_lost_contact_darkens_whole_columns() -> None:
    for seed in range(20):
        shadow = seeded(Contact((0.4, 0.4), (0.2, 0.2), p=1), seed)(image=grey(1.0))["image"]
        assert np.ptp(shadow, axis=0).max() == 0
        assert 0.4 - 1e-6 <= shadow.min() < 0.9
        assert shadow.max() == pytest.approx(1, abs=1e-3)
