"""Photographs, and images of which nothing more is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.bands import Background, Gain
from domainjepa.domains.domain import Domain, ViewSpec, ViewTransform, mentioned
from domainjepa.domains.intensity import Intensity, fit_scale

Image = NDArray[Any]

WORDS = ("imagenet", "imagenette", "cifar", "stl", "photograph", "places", "coco", "flowers")


class Natural(Domain):
    """The usual changes of photographs: framing, mirror, light, focus.

    Left out on purpose: solarising, which is no change that a camera makes.
    """

    name = "natural"
    summary = "photographs, and images of which nothing more is known"

    @classmethod
    def suits(cls, dtype: np.dtype[Any], channels: int, words: str) -> tuple[float, str]:
        found = mentioned(WORDS, words)
        if found:
            return 0.9, f"the names that came with the data say {found}"
        if dtype == np.uint8 and channels == 3:
            return 0.3, "8-bit RGB, and no name that says more"
        return 0.1, "no domain knows this kind of image: set `domain` if one should"

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        return fit_scale(list(samples))

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        steps = [
            ViewTransform(
                "crop",
                "framing and distance",
                A.RandomResizedCrop(
                    (spec.size, spec.size), scale=spec.scale, area_for_downscale="image"
                ),
            ),
            ViewTransform("mirror", "the other side", A.HorizontalFlip(p=0.5)),
        ]
        if spec.channels == 3 and not self.keep_colour:
            steps += [
                ViewTransform(
                    "colour",
                    "light, white balance",
                    A.ColorJitter(
                        brightness=(0.6, 1.4),
                        contrast=(0.6, 1.4),
                        saturation=(0.8, 1.2),
                        hue=(-0.1, 0.1),
                        p=0.8,
                    ),
                ),
                ViewTransform("grey", "a film without colour", A.ToGray(p=0.2)),
            ]
        else:
            common = self.keep_colour
            steps += [
                ViewTransform("gain", "light, exposure", Gain((0.6, 1.4), common=common, p=0.8)),
                ViewTransform("offset", "black level", Background(0.1, common=common, p=0.8)),
            ]
        steps.append(
            ViewTransform(
                "blur",
                "focus",
                # 2 px at 224 px, as is usual; as much of the picture in smaller ones.
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, max(0.5, spec.size / 112)), p=0.5),
            )
        )
        return steps
