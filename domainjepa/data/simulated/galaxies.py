"""Morphologies of galaxies: for each class, what draws the light of many galaxies at once.

Profiles are Sersic's (astropy's `Sersic2D`), spiral arms are logarithmic. A class decides the
arrangement of the light and nothing else: flux, size, colour and everything about the exposure are
the survey's business (`domainjepa.data.simulated.survey`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Light = tuple[Floats, Floats]
"""The light of the old and of the young stars: two (N, H, W) images, of any flux."""


def sersic(
    x: Floats, y: Floats, radius: Floats, index: Floats, axis_ratio: Floats, angle: Floats | float
) -> Floats:
    """Surface brightness of elliptical Sersic profiles of unit flux around the origin.

    The flux that normalises it: Graham & Driver (2005), eq. 4, times the axis ratio.

    Args:
        x, y: positions; all arguments broadcast together.
        radius: of half the light, along the major axis.
        index: Sersic's n, 1 for an exponential disc, 4 for de Vaucouleurs' profile.
        axis_ratio: minor over major.
        angle: of the major axis, radians from x towards y.
    """
    from astropy.modeling.functional_models import Sersic2D
    from scipy.special import gamma, gammaincinv

    b = gammaincinv(2 * index, 0.5)
    shape = index * np.exp(b) * b ** (-2 * index) * gamma(2 * index)
    amplitude = 1 / (2 * np.pi * radius**2 * axis_ratio * shape)
    light: Floats = Sersic2D.evaluate(
        x, y, amplitude, radius, index, 0.0, 0.0, 1 - axis_ratio, angle
    )
    return light


@dataclass(frozen=True)
class Frame:
    """Positions relative to N galaxies, and the random numbers that shape them.

    Attributes:
        x, y: (N, H, W), along and across the major axis.
        radius: (N, 1, 1), of half the light, in the unit of x and y.
        random: draws the shapes.
    """

    x: Floats
    y: Floats
    radius: Floats
    random: np.random.Generator

    def between(self, low: float, high: float) -> Floats:
        """A uniform number for each galaxy, (N, 1, 1)."""
        return self.random.uniform(low, high, self.radius.shape).astype(self.radius.dtype)

    def sersic(
        self, size: Floats | float, index: Floats, axis_ratio: Floats, angle: Floats | float = 0.0
    ) -> Floats:
        """A Sersic profile of unit flux; `size` is in units of the galaxy's radius."""
        return sersic(self.x, self.y, size * self.radius, index, axis_ratio, angle)

    def tilted(self, axis_ratio: Floats) -> Frame:
        """The plane of a thin disc that is seen with this axis ratio."""
        return Frame(self.x, self.y / axis_ratio, self.radius, self.random)

    def shifted(self, distance: Floats, angle: Floats) -> Frame:
        """Around a point at this distance, in units of the galaxy's radius."""
        x = self.x - distance * self.radius * np.cos(angle)
        y = self.y - distance * self.radius * np.sin(angle)
        return Frame(x, y, self.radius, self.random)

    def distance(self) -> Floats:
        """From the centre, in units of the galaxy's radius."""
        return np.hypot(self.x, self.y) / self.radius

    def arms(self, number: int, pitch: Floats, start: Floats, phase: Floats) -> Floats:
        """Logarithmic spiral arms, 0 to 1, that leave the radius `start` at the angle `phase`.

        Along an arm theta = phase + ln(r / start) / tan(pitch): one pitch angle at all radii.
        """
        r = self.distance() + 1e-3
        winding = np.log(r / start) / np.tan(pitch)
        turns = np.sign(self.between(-1, 1))  # clockwise or not
        crest = np.cos(number * (np.arctan2(self.y, self.x) - phase - turns * winding))
        outside = 1 / (1 + np.exp(-12 * (r / start - 1)))
        arms: Floats = np.exp(self.between(2.5, 4.5) * (crest - 1)) * outside
        return arms


def smooth(frame: Frame) -> Light:
    """An elliptical galaxy, older in the middle."""
    light = frame.sersic(1.0, frame.between(1.5, 4.0), frame.between(0.4, 1.0))
    old = 1 / (1 + frame.distance())
    return light * old, light * (1 - old)


def edge_on(frame: Frame, bulge: tuple[float, float]) -> Light:
    """A disc from its side; `bulge` is the range of the bulge's share of the light."""
    share = frame.between(*bulge)
    disc = (1 - share) * frame.sersic(1.15, np.ones_like(share), frame.between(0.1, 0.2))
    middle = share * frame.sersic(
        frame.between(0.3, 0.45), frame.between(1.5, 3.0), frame.between(0.7, 1.0)
    )
    return middle + 0.5 * disc, 0.5 * disc


def inclined_disc(frame: Frame, bulge: tuple[float, float]) -> tuple[Frame, Floats, Floats]:
    """The plane of a disc between face-on and 60 degrees, its light, and that of its bulge."""
    axis_ratio, share = frame.between(0.5, 1.0), frame.between(*bulge)
    plane = frame.tilted(axis_ratio)
    disc = (1 - share) * plane.sersic(1.1, np.ones_like(share), np.ones_like(share)) / axis_ratio
    middle = share * frame.sersic(
        frame.between(0.15, 0.25), frame.between(1.0, 2.5), (1 + axis_ratio) / 2
    )
    return plane, disc, middle


def spiral(frame: Frame, pitch: tuple[float, float], barred: bool = False) -> Light:
    """A disc with two arms, of pitch angles in this range of degrees, and perhaps a bar."""
    plane, disc, middle = inclined_disc(frame, (0.05, 0.25))
    start, phase = frame.between(0.3, 0.5), frame.between(0, 2 * np.pi)
    old = middle + 0.35 * disc
    if barred:  # The arms leave from its ends.
        start = frame.between(0.7, 1.0)
        bar = plane.sersic(0.55 * start, np.full_like(start, 0.5), frame.between(0.18, 0.3), phase)
        old = old + frame.between(0.25, 0.4) * bar
    arms = plane.arms(2, np.radians(frame.between(*pitch)), start, phase)
    return old, frame.between(1.5, 2.5) * disc * arms


def ring(frame: Frame) -> Light:
    """A bulge, and a ring far from it in a faint disc."""
    plane, disc, middle = inclined_disc(frame, (0.2, 0.45))
    offset = (plane.distance() - frame.between(0.95, 1.5)) / frame.between(0.12, 0.2)
    band = np.exp(-(offset**2) / 2)
    young = frame.between(0.5, 0.8) * band / band.sum(axis=(1, 2), keepdims=True)
    return middle + 0.25 * disc, young


def merging(frame: Frame) -> Light:
    """Two galaxies of comparable light that overlap, and a tidal tail."""
    plane, disc, middle = inclined_disc(frame, (0.2, 0.4))
    towards = frame.between(0, 2 * np.pi)
    companion = frame.shifted(frame.between(0.8, 1.6), towards).sersic(
        frame.between(0.3, 0.6),
        frame.between(1.0, 2.5),
        frame.between(0.5, 1.0),
        frame.between(0, np.pi),
    )
    tail = plane.arms(1, np.radians(frame.between(25, 45)), frame.between(0.5, 0.9), towards)
    wide = plane.sersic(1.8, np.full_like(towards, 0.7), np.ones_like(towards))
    old = 0.6 * disc + middle + frame.between(0.35, 0.8) * companion
    return old, frame.between(1.0, 1.8) * wide * tail


CLASSES: dict[str, Callable[[Frame], Light]] = {
    "Smooth": smooth,
    "Edge-on without Bulge": partial(edge_on, bulge=(0.0, 0.04)),
    "Edge-on with Bulge": partial(edge_on, bulge=(0.3, 0.55)),
    "Barred Spiral": partial(spiral, pitch=(12, 28), barred=True),
    "Unbarred Tight Spiral": partial(spiral, pitch=(8, 13)),
    "Unbarred Loose Spiral": partial(spiral, pitch=(24, 36)),
    "Ring": ring,
    "Merging": merging,
}
"""Name -> what draws it; the order is that of the labels."""
