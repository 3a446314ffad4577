"""Electron microscopy and X-ray micro-CT: sections, and volumes of cells and materials."""

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
from domainjepa.domains.transforms.tomography import Cupping, Rings
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

WORDS = (
    "electron microscop", "em ", "sem ", "tem ", "vem ", "fib sem", "fibsem", "sbem ", "sbfsem",
    "sbf sem", "sstem ", "ssem ", "cryo em", "cremi", "snemi", "lucchi", "mitoem", "micro ct",
    "microct", "nano ct", "nanoct", "xct ", "x ray microscop",
)  # fmt: skip


class Electron(Domain):
    """Views among which orientation, contrast, focus, dose and the artefacts of the machine differ.

    Channels are sections: neighbours of a section, which drift apart while a block is cut. So each
    has a gain and an offset of its own, unless `keep_colour`.

    Left out on purpose: inversion of the contrast (membranes are dark by convention; what is
    stored otherwise is for its owner to invert), elastic changes (shapes of organelles, pores and
    grains are what is studied), a large change of scale beyond the crop (the size of a voxel is
    known).
    """

    name = "electron"
    summary = "electron microscopy and X-ray micro-CT: sections and volumes of cells and materials"
    registered_slices = True

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        told = named(evidence, (), WORDS)
        if told:  # more than the microscope, or the CT, that other domains find in such names
            return 0.95, told[1]
        return 0.05, "nothing in the data speaks of electrons or of micro-CT"

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        return fit_stretch(list(samples), self.settings, "percentile")

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        ratio = () if self.keep_colour else ("colour",)
        return [
            ViewTransform(
                "crop",
                "orientation and parity of the block, place in it",
                Framing(spec.size, spec.scale, turn=180.0, mirror=True),
            ),
            ViewTransform(
                "focus",
                "defocus, astigmatism, thickness of the section, spot of the tube",
                PSFBlur(fwhm=(0.5, max(1.5, spec.size / 75)), p=0.5),
                ("blur", "noise"),
            ),
            ViewTransform(
                "cupping",
                "hardening of the beam, in the middle of a dense object",
                Cupping((0.0, 0.25), p=0.2),
            ),
            ViewTransform(
                "illumination",
                "uneven beam, charging, stitched tiles",
                BiasField(0.1, order=2, p=0.5),
            ),
            ViewTransform(
                "gain",
                "stain, beam current, detector: the drift from section to section",
                Gain((0.7, 1.4), common=self.keep_colour),
                ("brightness", "contrast", *ratio),
            ),
            ViewTransform(
                "shot noise",
                "counted electrons, or photons: dwell time, dose",
                PhotonNoise((100.0, 2000.0), p=0.5),
                ("noise",),
            ),
            ViewTransform(
                "rings",
                "pixels of the detector that are off, about the axis of rotation",
                Rings((0.0, 0.04), p=0.2),
                ("noise",),
            ),
            ViewTransform(
                "offset",
                "black level of the detector, drift from section to section",
                Background(0.06, common=self.keep_colour),
                ("brightness", "background"),
            ),
        ]
