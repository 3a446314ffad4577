"""Projection radiographs: chest, bone, breast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from domainjepa.domains.domain import Domain, Evidence, named
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.bands import Background, Gain
from domainjepa.domains.transforms.blur import PSFBlur
from domainjepa.domains.transforms.collimation import Collimation
from domainjepa.domains.transforms.curves import Gamma
from domainjepa.domains.transforms.fields import Scatter
from domainjepa.domains.transforms.framing import Framing
from domainjepa.domains.transforms.noise import GaussianNoise
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

MODALITIES = ("CR", "DX", "MG", "RG", "XA", "RF", "PX", "IO")
WORDS = (
    "radiograph", "x ray", "xray", "chest", "cxr", "chexpert", "mimic cxr", "padchest", "vindr",
    "mura ", "pneumonia", "mammo", "rsna",
)  # fmt: skip


class Radiography(Domain):
    """Views among which exposure, processing, scatter and positioning differ.

    All bands get the same change: a radiograph has one, and colour images of it are grey.

    Left out on purpose: the left-right flip (the heart is on the left, and a mirrored chest is a
    finding), turning upside down, inversion (the loader brings MONOCHROME1 to bright bone),
    erasing, shear and elastic changes.
    """

    name = "radiography"
    summary = "projection radiographs: chest, bone, breast (CR, DX, MG)"

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        return named(evidence, MODALITIES, WORDS) or (
            0.05,
            "nothing in the data speaks of radiographs",
        )

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        return fit_stretch(list(samples), self.settings, "percentile")

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        steps = [
            ViewTransform(
                "crop",
                "positioning, field size, small rotation of the patient",
                Framing(spec.size, spec.scale, turn=8.0),
            ),
            ViewTransform(
                "sharpness",
                "focal spot, detector pixel, motion",
                PSFBlur(fwhm=(0.5, max(1.5, spec.size / 75)), p=0.3),
                ("blur", "noise"),
            ),
            ViewTransform(
                "scatter",
                "scattered radiation: thickness of the patient, grid",
                Scatter((0.0, 0.3), p=0.5),
                ("contrast",),
            ),
            ViewTransform(
                "noise",
                "dose, electronics of the detector",
                GaussianNoise((0.0, 0.03), p=0.5),
                ("noise",),
            ),
            ViewTransform(
                "gamma",
                "characteristic curve, look-up table of the processing",
                Gamma((0.7, 1.45), p=0.8),
                ("brightness", "background"),
            ),
            ViewTransform(
                "exposure",
                "exposure index, window of the processing",
                Gain((0.8, 1.25), common=True),
                ("brightness", "contrast"),
            ),
            ViewTransform(
                "offset",
                "level of the processing",
                Background(0.08, common=True),
                ("brightness", "background"),
            ),
        ]
        if not spec.local:  # a local view is a part of a picture, and has no blades of its own
            steps.append(
                ViewTransform(
                    "collimation",
                    "blades of the collimator, shutter of the display",
                    Collimation(p=0.2),
                    covers=True,
                )
            )
        return steps
