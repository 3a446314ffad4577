from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from domainjepa.domains.transforms.tomography import (
    Cupping,
    Rings,
    VolumeCupping,
    VolumeRings,
    cup,
    distances,
    on_circles,
)
from tests.domains.seeding import grey, seeded


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.8])
def test_projections_of_a_cupped_disc_are_hardened(offset: float) -> None:
    """Along every chord p of a uniform disc there is p - a p^2, with a = depth pi / 8."""
    depth = 0.2
    half = np.sqrt(1 - offset**2)

    def left(along: float) -> float:
        place = np.array([[np.hypot(along, offset)]], np.float32)
        return float(cup(place, 1.0, depth)[0, 0])

    chord = 2 * half
    found, _ = quad(left, -half, half)
    assert found == pytest.approx(chord - depth * np.pi / 8 * chord**2, abs=1e-4)


def test_cupping_multiplies_and_leaves_what_is_outside_alone() -> None:
    image = np.random.default_rng(0).uniform(0.2, 1, (50, 50, 3)).astype(np.float32)
    image[:, :9] = 0
    for seed in range(8):
        changed = seeded(Cupping((0.2, 0.2), (0.6, 0.6), p=1), seed)(image=image)["image"]
        factor = changed[:, 9:] / image[:, 9:]
        assert (changed[:, :9] == 0).all()
        assert factor.max() <= 1 + 1e-6
        assert factor.min() >= 0.8 - 1e-6
        np.testing.assert_allclose(factor, np.broadcast_to(factor[..., :1], factor.shape), 1e-5)
    centred = Cupping().change(grey(1.0, 64), depth=0.25, radius=0.4, centre=(0.5, 0.5))[..., 0]
    assert centred[31:33, 31:33].mean() == pytest.approx(0.75, abs=1e-3)
    assert (centred[0] == 1).all()


def test_rings_are_the_same_all_round_and_independent_along_the_radius() -> None:
    change, zero = Rings(), np.zeros((101, 101, 2), np.float32)
    profile = np.random.default_rng(0).normal(size=300).astype(np.float32)
    centre = (50.5 / 101, 50.5 / 101)
    ringed = change.change(zero, profile=profile, strength=0.03, centre=centre)
    for turned in (np.rot90(ringed), ringed[::-1], ringed.swapaxes(0, 1)):
        np.testing.assert_allclose(turned, ringed, atol=1e-6)
    # On the row through the axis the radii are whole pixels.
    np.testing.assert_allclose(ringed[50, 50:, 0], 0.03 * profile[:51], rtol=1e-5)
    assert (ringed[..., 0] == ringed[..., 1]).all()


def test_the_strength_of_rings_is_their_standard_deviation() -> None:
    rings = [
        seeded(Rings((0.04, 0.04), p=1), seed)(image=grey(0.5, 64))["image"] for seed in range(40)
    ]
    # Between two radii the mean of two numbers: 2/3 of the variance, averaged over the gap.
    assert np.std(np.stack(rings) - 0.5) == pytest.approx(0.04 * np.sqrt(2 / 3), rel=0.1)


def test_every_pixel_has_a_radius() -> None:
    profile = np.arange(400.0)
    for centre in ((-0.5, -0.5), (1.5, 1.5), (0.2, 0.7)):
        distance = distances(30, 40, centre)
        np.testing.assert_allclose(on_circles(profile, distance), distance, rtol=1e-5)


def test_rings_of_a_volume_are_of_each_section_and_cupping_of_all() -> None:
    rings, cupping = VolumeRings(0.1, prob=1.0), VolumeCupping(0.3, prob=1.0)
    volume = torch.ones(2, 6, 40, 40)
    for seed in range(6):
        rings.set_random_state(seed)
        cupping.set_random_state(seed)
        found = rings(volume).numpy() - 1
        assert (found[0] == found[1]).all()
        assert not np.allclose(found[0, 0], found[0, 1])
        cupped = cupping(volume).numpy()
        assert (cupped == cupped[:, :1]).all()
        assert 0.7 - 1e-6 <= cupped.min() <= cupped.max() <= 1
