"""What X-ray tomography adds to an object that is turned about an axis: rings and cupping.

In pictures the axis stands on the picture, in volumes it runs along D; poses are drawn before, so
every direction of an object comes to lie along it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.transforms.noise import normal_numbers
from domainjepa.domains.transforms.unit import Floats, UnitTransform
from domainjepa.domains.transforms.volume_change import VolumeChange

AXIS = (-0.5, 1.5)
"""Where the axis may stand, in sides of the view: a view is a part of what was turned."""
FARTHEST = 2.2
"""Sides of a view from an axis to the farthest corner: 1.5 times the square root of 2."""


def distances(height: int, width: int, centre: tuple[float, float]) -> Floats:
    """(height, width) pixels from the axis, which stands at shares (down, right) of the picture."""
    down, right = np.ogrid[:height, :width]
    place = (centre[0] * height - 0.5, centre[1] * width - 0.5)
    return np.hypot(down - place[0], right - place[1]).astype(np.float32)


def on_circles(profile: NDArray[Any], distance: Floats) -> Floats:
    """The profile (radii,), a number a pixel of radius, at each distance: linear between them."""
    found: Floats = np.interp(distance, np.arange(len(profile)), profile).astype(np.float32)
    return found


def cup(distance: Floats, radius: float, depth: float) -> Floats:
    """What is left of the values at each distance from the middle of an object of this radius.

    X-rays of many energies are hardened on their way: of a projection p there is measured
    p - a p^2 (Herman 1979, Phys. Med. Biol. 24, 81). Of a uniform cylinder p^2 falls off with the
    square of the distance from the axis, and what has such a projection is a half ellipse: the
    reconstruction sags in its middle by `depth`, and by nothing at its rim.
    """
    inside = np.sqrt(np.maximum(1 - (distance / np.float32(radius)) ** 2, 0))
    left: Floats = 1 - np.float32(depth) * inside
    return left


class Rings(UnitTransform):
    """Add rings about the axis of rotation: detector pixels whose sensitivity is a little off.

    Each such pixel draws a circle (Sijbers and Postnov 2004, Phys. Med. Biol. 49, N247): a normal
    number for each pixel of radius, in all bands alike.

    Args:
        strength: standard deviation on the 0..1 scale, drawn uniformly from this range.
        p: probability.
    """

    def __init__(self, strength: tuple[float, float] = (0.0, 0.05), p: float = 0.2) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        radii = math.ceil(FARTHEST * max(params["shape"][:2])) + 1
        return {
            "profile": normal_numbers(self, (radii,)),
            "strength": self.py_random.uniform(*self.strength),
            "centre": (self.py_random.uniform(*AXIS), self.py_random.uniform(*AXIS)),
        }

    def change(
        self,
        image: Floats,
        profile: Floats,
        strength: float,
        centre: tuple[float, float],
        **params: Any,
    ) -> Floats:
        height, width = image.shape[:2]
        distance = distances(height, width, centre)
        circles = on_circles(profile * np.float32(strength), distance)
        ringed: Floats = image + circles[..., None]
        return ringed


class Cupping(UnitTransform):
    """Darken the inside of an object about its axis, as hardened beams do; see `cup`.

    Args:
        depth: share that is lost in the middle, drawn uniformly from this range.
        radius: of the object in sides of the view, drawn uniformly from this range.
        p: probability.
    """

    def __init__(
        self,
        depth: tuple[float, float] = (0.0, 0.25),
        radius: tuple[float, float] = (0.5, 1.5),
        p: float = 0.2,
    ) -> None:
        super().__init__(p=p)
        self.depth = depth
        self.radius = radius

    def get_params(self) -> dict[str, Any]:
        draw = self.py_random.uniform
        return {
            "depth": draw(*self.depth),
            "radius": draw(*self.radius),
            "centre": (draw(*AXIS), draw(*AXIS)),
        }

    def change(
        self,
        image: Floats,
        depth: float,
        radius: float,
        centre: tuple[float, float],
        **params: Any,
    ) -> Floats:
        height, width = image.shape[:2]
        left = cup(distances(height, width, centre), radius * max(height, width), depth)
        cupped: Floats = image * left[..., None]
        return cupped


class VolumeRings(VolumeChange):
    """`Rings` of a volume: each section has its own, for it is seen by pixels of its own.

    Args:
        strength: standard deviation on the 0..1 scale, at most.
        prob: probability.
    """

    def __init__(self, strength: float = 0.08, prob: float = 0.2) -> None:
        super().__init__(prob)
        self.strength = strength

    def change(self, values: Floats) -> Floats:
        depth, height, width = values.shape[1:]
        radii = math.ceil(FARTHEST * max(height, width)) + 1
        strength = self.random.uniform(0, self.strength)
        profiles = strength * self.random.standard_normal((depth, radii), dtype=np.float32)
        centre = (self.random.uniform(*AXIS), self.random.uniform(*AXIS))
        distance = distances(height, width, centre)
        ringed: Floats = values + np.stack([on_circles(one, distance) for one in profiles])
        return ringed


class VolumeCupping(VolumeChange):
    """`Cupping` of a volume, the same in every section.

    Args:
        depth: share that is lost in the middle, at most.
        radius: of the object in sides of the view, drawn uniformly from this range.
        prob: probability.
    """

    def __init__(
        self, depth: float = 0.3, radius: tuple[float, float] = (0.5, 1.5), prob: float = 0.2
    ) -> None:
        super().__init__(prob)
        self.depth = depth
        self.radius = radius

    def change(self, values: Floats) -> Floats:
        height, width = values.shape[2:]
        draw = self.random.uniform
        radius, depth = draw(*self.radius) * max(height, width), draw(0, self.depth)
        distance = distances(height, width, (draw(*AXIS), draw(*AXIS)))
        cupped: Floats = values * cup(distance, radius, depth)
        return cupped
