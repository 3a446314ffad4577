from __future__ import annotations

import numpy as np
import pytest
from scipy.special import sici

from domainjepa.domains.transforms.kspace import Gibbs
from tests.domains.seeding import grey, seeded


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_gibbs_keeps_the_mean_and_adds_nothing(channels: int) -> None:
    image = np.random.default_rng(0).normal(0.2, 0.5, (40, 51, channels)).astype(np.float32)
    changed = seeded(Gibbs((0.5, 0.6), p=1))(image=image)["image"]
    np.testing.assert_allclose(changed.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1e-5)
    assert changed.var() < image.var()
    # What is cut is gone: to cut again changes nothing.
    again = seeded(Gibbs((0.5, 0.6), p=1))(image=changed)["image"]
    np.testing.assert_allclose(again, changed, atol=1e-5)


def test_all_of_kspace_is_the_picture_itself() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (32, 32, 1)).astype(np.float32)
    np.testing.assert_allclose(Gibbs((1.0, 1.0), p=1)(image=image)["image"], image, atol=1e-5)


def test_an_edge_overshoots_as_wilbraham_and_gibbs_say() -> None:
    image = grey(0.0, 256)
    image[:, 128:] = 1
    ringing = Gibbs((0.25, 0.25), p=1)(image=image)["image"][128, :, 0]
    overshoot = sici(np.pi)[0] / np.pi - 0.5  # 0.0895 of the step
    assert ringing.max() - 1 == pytest.approx(overshoot, abs=0.01)
    assert -ringing.min() == pytest.approx(overshoot, abs=0.01)
    # The border of the picture is no edge: it does not ring.
    assert np.abs(ringing[:20]).max() < 0.02
