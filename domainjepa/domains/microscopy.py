"""Microscopy of cells and tissue: fluorescence, brightfield, phase contrast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from domainjepa.domains.domain import Domain, Evidence, named
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.bands import Background, Gain
from domainjepa.domains.transforms.blur import PSFBlur
from domainjepa.domains.transforms.fields import BiasField
from domainjepa.domains.transforms.framing import Framing
from domainjepa.domains.transforms.noise import PhotonNoise
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

WORDS = (
    "microscop", "fluoresc", "brightfield", "confocal", "cells ", "cell ", "cytolog", "hpa ",
    "rxrx", "jump cp", "cpjump", "bbbc", "bloodmnist", "tissuemnist", "phase contrast", "dapi",
    "gfp ", "hoechst", "nuclei", "organelle",
)  # fmt: skip


class Microscopy(Domain):
    """Views among which orientation, focus, staining, light and exposure differ.

    Left out on purpose: grey and hue (a channel is one kind of molecule, and mixing two makes a
    cell that there is not), elastic changes (the shape of a cell is a phenotype), a large change of
    scale beyond the crop (magnification is known, and size is a phenotype).
    """

    name = "microscopy"
    summary = "cells and tissue: fluorescence, brightfield, any number of channels"

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        return named(evidence, ("GM",), WORDS) or (
            0.05,
            "nothing in the data speaks of microscopes",
        )

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        return fit_stretch(list(samples), self.settings, "percentile")

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        ratio = () if self.keep_colour else ("colour",)
        return [
            ViewTransform(
                "crop",
                "orientation and parity on the slide, place in the field",
                Framing(spec.size, spec.scale, turn=180.0, mirror=True),
            ),
            ViewTransform(
                "focus",
                "focal plane, aperture, thickness of the sample",
                PSFBlur(fwhm=(0.5, max(1.5, spec.size / 50)), p=0.5),
                ("blur", "noise"),
            ),
            ViewTransform(
                "illumination",
                "uneven light across the field, vignetting",
                BiasField(0.15, order=2, p=0.5),
            ),
            ViewTransform(
                "gain",
                "staining, bleaching, power of the lamp, exposure of each channel",
                Gain((0.65, 1.5), common=self.keep_colour),
                ("brightness", "contrast", *ratio),
            ),
            ViewTransform(
                "photon noise",
                "counted photons: exposure, brightness of the dye",
                PhotonNoise((100.0, 2000.0), p=0.5),
                ("noise",),
            ),
            ViewTransform(
                "background",
                "autofluorescence, offset of the camera, light out of focus",
                Background(0.04, common=self.keep_colour),
                ("background",),
            ),
        ]
