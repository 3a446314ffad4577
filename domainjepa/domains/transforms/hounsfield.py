"""Changes of windowed CT: the window itself, and noise in Hounsfield units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from domainjepa.domains.transforms.noise import NoiseField
from domainjepa.domains.transforms.unit import Floats, UnitTransform


class WindowJitter(UnitTransform):
    """Show each window through a narrower one inside it, drawn for each.

    Windows within the stored one alone: what the intensity has cut cannot be had back, so a wider
    window would show flat grey where there is tissue.

    Args:
        width: of the inner window as a share of the stored one's, drawn uniformly from this range;
            its level is drawn uniformly from those that keep it inside.
        p: probability.
    """

    def __init__(self, width: tuple[float, float] = (0.75, 1.0), p: float = 0.8) -> None:
        super().__init__(p=p)
        self.width = width

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        draw = self.py_random.uniform
        widths = np.array([draw(*self.width) for _ in range(params["shape"][2])], np.float32)
        feet = np.array([draw(0, 1 - width) for width in widths], np.float32)
        return {"feet": feet, "widths": widths}

    def change(self, image: Floats, feet: Floats, widths: Floats, **params: Any) -> Floats:
        shown: Floats = ((image - feet) / widths).clip(0.0, 1.0)
        return shown


class HUNoise(NoiseField, UnitTransform):
    """Gaussian noise in Hounsfield units, the same for all windows of a slice.

    What a window cuts shows no noise: values of exactly 0 and 1 stay.

    Args:
        widths: of the windows, in the order of the channels; several slices repeat them.
        sigma: in Hounsfield units, drawn uniformly from this range.
        p: probability.
    """

    def __init__(self, widths: Sequence[float], sigma: tuple[float, float], p: float = 0.5) -> None:
        super().__init__(sigma, p)
        self.widths = tuple(widths)

    def numbers(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        height, width, channels = shape
        return height, width, channels // len(self.widths)

    def change(self, image: Floats, noise: Floats, sigma: float, **params: Any) -> Floats:
        scale = (sigma / np.maximum(np.array(self.widths) - 1, 1)).astype(np.float32)
        noisy = image + (noise[..., None] * scale).reshape(image.shape)
        shown = (image > 0) & (image < 1)
        return np.where(shown, noisy.clip(0.0, 1.0), image)
