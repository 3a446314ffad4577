"""Stained sections of tissue: haematoxylin and eosin above all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.domain import Domain, Evidence, named
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.bands import Gain
from domainjepa.domains.transforms.blur import PSFBlur
from domainjepa.domains.transforms.framing import Framing
from domainjepa.domains.transforms.stain import StainJitter
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

WORDS = (
    "histolog", "histopath", "patholog", "pathmnist", "haematoxylin", "hematoxylin", "eosin",
    "camelyon", "pcam", "patchcamelyon", "tcga", "wsi ", "whole slide", "nct crc", "biops", "he ",
    "gland",
)  # fmt: skip


class Histopathology(Domain):
    """Views among which staining, scanner, focus and orientation differ.

    Three channels are unmixed into stains. Other numbers of channels have no known stains: each
    channel gets a gain of its own.

    Left out on purpose: hue rotation and grey (stains do not turn green, and without them nuclei
    cannot be told from cytoplasm), an additive background (glass is white), elastic changes.
    """

    name = "histopathology"
    summary = "stained sections of tissue (H&E)"

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        return named(evidence, ("SM",), WORDS) or (
            0.05,
            "nothing in the data speaks of stained tissue",
        )

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        return fit_stretch(list(samples), self.settings, "linear")

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        steps = [
            ViewTransform(
                "crop",
                "orientation and parity on the slide, place, magnification",
                Framing(spec.size, spec.scale, turn=180.0, mirror=True),
            ),
            ViewTransform(
                "focus",
                "focal plane, thickness of the section",
                PSFBlur(fwhm=(0.5, max(1.5, spec.size / 75)), p=0.5),
                ("blur", "noise"),
            ),
        ]
        if spec.channels == 3 and not self.keep_colour:
            steps.append(
                ViewTransform(
                    "stain",
                    "amount of haematoxylin and of eosin: protocol, batch, fading",
                    StainJitter(0.35, p=0.8),
                    ("colour", "contrast", "brightness"),
                )
            )
        steps.append(
            ViewTransform(
                "gain",
                "lamp and white balance of the scanner",
                Gain((0.94, 1.04), common=self.keep_colour, p=0.8),
                ("brightness", "background") + (() if self.keep_colour else ("colour",)),
            )
        )
        if spec.dtype == np.uint8 and spec.channels in (1, 3):
            steps.append(
                ViewTransform(
                    "jpeg",
                    "compression of the slide file",
                    A.ImageCompression(quality_range=(40, 95), p=0.3),
                    ("noise",),
                )
            )
        return steps
