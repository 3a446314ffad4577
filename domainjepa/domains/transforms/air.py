"""What the air between the ground and a camera adds: light that never was on the ground."""

from __future__ import annotations

import numpy as np

from domainjepa.domains.transforms.bands import BandMap, Image, Matrix


class Haze(BandMap):
    """A veil of scattered light: x t + A (1 - t), with t what the air lets through.

    Koschmieder's law, as used for satellites by Chavez (1988, Remote Sens. Environ. 24, 459). The
    air scatters short waves more, so 1 - t runs evenly from band to band, weaker to one end. Which
    end is red the channels do not tell: it is drawn.

    Args:
        veil: 1 - t of the haziest band, drawn uniformly from 0 to this.
        light: A, drawn uniformly from this range.
        weakest: 1 - t of the clearest band as a share of the haziest, drawn uniformly from this to
            1.
        common: the same veil for all bands.
        p: probability.
    """

    def __init__(
        self,
        veil: float = 0.3,
        light: tuple[float, float] = (0.6, 1.0),
        weakest: float = 0.4,
        common: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.veil = veil
        self.light = light
        self.weakest = weakest
        self.common = common

    def lay_over(self, matrix: Matrix, image: Image) -> None:
        draw = self.py_random.uniform
        veil, light = draw(0, self.veil), draw(*self.light)
        shares = np.linspace(1.0, 1.0 if self.common else draw(self.weakest, 1), len(matrix))
        veils = veil * (shares if self.py_random.random() < 0.5 else shares[::-1])
        matrix *= 1 - veils[:, None]
        matrix[:, -1] += light * veils
