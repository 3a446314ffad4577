"""Photographs, and images of which nothing more is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.domain import Domain, Evidence, named
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.bands import Background, Gain, Light
from domainjepa.domains.transforms.blur import FWHM, PSFBlur
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

WORDS = ("imagenet", "imagenette", "cifar", "stl", "photograph", "places", "coco", "flowers")
MODALITIES = ("XC", "OP", "ES")
"""External camera, ophthalmic photography, endoscopy."""


class Natural(Domain):
    """The usual changes of photographs: framing, mirror, light, focus.

    Left out on purpose: solarising, which is no change that a camera makes.
    """

    name = "natural"
    summary = "photographs, and images of which nothing more is known"

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        told = named(evidence, MODALITIES, WORDS)
        if told:
            return told
        if evidence.dtype == np.uint8 and evidence.channels == 3:
            return 0.3, "8-bit RGB, and no name that says more"
        return 0.1, "no domain knows this kind of image: set `domain` if one should"

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        return fit_stretch(list(samples), self.settings, "percentile")

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
        # Colour jitter and grey are of red, green and blue between 0 and 1; all else is gains.
        if spec.channels == 3 and spec.dtype == np.uint8 and not self.keep_colour:
            steps += [
                ViewTransform(
                    "colour",
                    "light, white balance",
                    Light((0.7, 1.4), (0.7, 1.4), (0.8, 1.2), 0.1, p=0.8),
                    removes=("brightness", "contrast", "colour", "background"),
                ),
                ViewTransform(
                    "grey", "a film without colour", A.ToGray(p=0.2), removes=("colour",)
                ),
            ]
        else:
            common = self.keep_colour
            ratio = () if common else ("colour",)
            steps += [
                ViewTransform(
                    "gain",
                    "light, exposure",
                    Gain((0.6, 1.4), common=common, p=0.8),
                    removes=("brightness", "contrast", *ratio),
                ),
                ViewTransform(
                    "offset",
                    "black level",
                    Background(0.1, common=common, p=0.8),
                    removes=("background",),
                ),
            ]
        steps.append(
            ViewTransform(
                "blur",
                "focus",
                # A sigma of 2 px at 224 px, as is usual; as much of the picture in smaller ones.
                PSFBlur(fwhm=(0.1 * FWHM, max(0.5, spec.size / 112) * FWHM), p=0.5),
                removes=("blur", "noise"),
            )
        )
        return steps
