"""Morphologies: closed forms of the profiles, and the shape that makes each class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaincinv

from domainjepa.data.simulated.galaxies import CLASSES, Frame, sersic


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None, None]


def frame(count: int, size: int = 96, radius: float = 9.0, seed: int = 0) -> Frame:
    axis = np.arange(size) - (size - 1) / 2
    x, y = np.broadcast_arrays(axis[None, None, :], axis[None, :, None])
    shape = (count, size, size)
    return Frame(
        np.broadcast_to(x, shape),
        np.broadcast_to(y, shape),
        np.full((count, 1, 1), radius),
        np.random.default_rng(seed),
    )


def test_a_sersic_profile_has_unit_flux_half_of_it_inside_its_radius() -> None:
    axis = np.arange(-300, 300) + 0.5
    x, y = axis[None, None, :], axis[None, :, None]
    radius, index = column(20.0, 12.0, 20.0), column(0.5, 1.0, 2.0)
    axis_ratio, angle = column(1.0, 0.6, 0.4), column(0.0, 0.7, -1.1)
    light = sersic(x, y, radius, index, axis_ratio, angle)
    np.testing.assert_allclose(light.sum(axis=(1, 2)), 1.0, atol=2e-3)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (y * np.cos(angle) - x * np.sin(angle)) / axis_ratio
    inside = np.hypot(along, across) < radius
    np.testing.assert_allclose((light * inside).sum(axis=(1, 2)), 0.5, atol=5e-3)


def test_a_sersic_profile_falls_as_its_formula_says() -> None:
    # I(r) / I(R) = exp(-b ((r / R)^(1 / n) - 1)), Graham & Driver (2005), eq. 1.
    r = np.array([[[3.0, 10.0, 25.0]]])
    light = sersic(r, np.zeros_like(r), column(10.0), column(4.0), column(1.0), 0.0)[0, 0]
    b = gammaincinv(8.0, 0.5)
    np.testing.assert_allclose(light / light[1], np.exp(-b * ((r[0, 0] / 10) ** 0.25 - 1)))


@pytest.mark.parametrize("pitch", [10.0, 30.0])
def test_the_crest_of_an_arm_is_a_logarithmic_spiral(pitch: float) -> None:
    around = frame(1, size=192)
    one = np.ones((1, 1, 1))
    arms = around.arms(2, np.radians(pitch) * one, 0.5 * one, 0.3 * one)[0]
    radii = around.distance()[0]
    theta = np.arctan2(around.y[0], around.x[0])
    crests = []
    for r in np.linspace(2.0, 6.0, 9):
        ring = np.abs(radii - r) < 0.08
        crests.append(np.angle((arms[ring] * np.exp(2j * theta[ring])).sum()) / 2)
    turned = np.unwrap(crests, period=np.pi)
    expected = np.log(np.linspace(2.0, 6.0, 9) / 2.0) / np.tan(np.radians(pitch))
    np.testing.assert_allclose(np.abs(turned - turned[0]), expected, atol=0.12)


@pytest.mark.parametrize("kind", list(CLASSES))
def test_light_is_finite_and_not_negative(kind: str) -> None:
    old, young = CLASSES[kind](frame(20, size=48))
    for light in (old, young):
        assert light.shape == (20, 48, 48)
        assert np.isfinite(light).all()
        assert (light >= 0).all()


def half_turn(light: np.ndarray) -> np.ndarray:
    """Share of the light that a turn by 180 degrees puts elsewhere, (N,)."""
    return np.abs(light - light[:, ::-1, ::-1]).sum(axis=(1, 2)) / light.sum(axis=(1, 2))


def flatness(light: np.ndarray) -> np.ndarray:
    """Minor over major axis from the second moments, (N,)."""
    axis = np.arange(light.shape[1]) - (light.shape[1] - 1) / 2
    total = light.sum(axis=(1, 2))
    xx = (light * axis**2).sum(axis=(1, 2)) / total
    yy = (light * axis[:, None] ** 2).sum(axis=(1, 2)) / total
    xy = (light * axis * axis[:, None]).sum(axis=(1, 2)) / total
    spread = np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return np.sqrt(((xx + yy) / 2 - spread) / ((xx + yy) / 2 + spread))


def test_every_class_has_the_shape_of_its_name() -> None:
    light = {kind: np.add(*draw(frame(60))) for kind, draw in CLASSES.items()}
    for kind, image in light.items():
        if kind == "Merging":
            assert np.median(half_turn(image)) > 0.3
        else:
            assert half_turn(image).max() < 1e-6
    assert flatness(light["Edge-on without Bulge"]).max() < 0.3
    assert flatness(light["Smooth"]).min() > 0.38
    # A bulge stands out of the plane: more light away from it.
    above = [
        (image[:, [*range(38), *range(58, 96)]].sum(axis=(1, 2)) / image.sum(axis=(1, 2))).mean()
        for image in (light["Edge-on with Bulge"], light["Edge-on without Bulge"])
    ]
    assert above[0] > 2 * above[1]
    # A ring is brighter than what lies between it and the bulge; an elliptical only falls.
    rises = {}
    for kind in ("Ring", "Smooth"):
        along = light[kind][:, 47, 48:80]  # the major axis of the disc
        rises[kind] = (np.diff(along, axis=1) > 0).any(axis=1).mean()
    assert rises["Ring"] > 0.9
    assert rises["Smooth"] == 0
