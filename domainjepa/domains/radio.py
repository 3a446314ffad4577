"""Radio galaxies and other sources in the maps of interferometers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from domainjepa.domains.domain import Domain, Evidence, named
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.bands import Gain
from domainjepa.domains.transforms.interferometer import Beam, Clip, IslandNoise
from domainjepa.domains.transforms.sky import SkyCrop
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

WORDS = (
    "radio ", "radio galax", "vla ", "vlass", "nvss", "lofar", "lotss", "askap", "meerkat", "ska ",
    "interferom", "frdeep", "fr deep", "fri ", "frii ", "mirabest", "bent tail",
)  # fmt: skip


class Radio(Domain):
    """Views among which orientation, distance, beam, depth and flux scale differ.

    Maps of sources are mostly thresholded: over 99 % of the pixels are exactly zero, and the rest
    are islands. A change that fills the zeros would make another kind of map of it, so noise and
    the clip level act on the islands.

    Left out on purpose: a background (an interferometer without zero spacings sees none), noise of
    the sky between the islands, grey, shear and elastic changes.
    """

    name = "radio"
    summary = "maps of radio interferometers, thresholded ones too"

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        told = named(evidence, (), WORDS)
        if told:
            # Radio galaxies are galaxies: the narrower word wins.
            return 0.95, told[1]
        if evidence.channels == 1 and evidence.zeros > 0.95:
            share = f"{100 * evidence.zeros:.1f}"
            return 0.6, f"{share} % of the values are exactly zero, as in thresholded radio maps"
        return 0.05, "nothing in the data speaks of radio maps"

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        """Identity for uint8, asinh for floats, which zeros pass as zeros; else linear."""
        images = list(samples)
        auto = "asinh" if images[0].dtype.kind == "f" else "linear"
        return fit_stretch(images, self.settings, auto)

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        return [
            ViewTransform(
                "crop",
                "orientation and parity on the sky, pointing, distance",
                SkyCrop(spec.size, spec.scale, keep_centre=not spec.local),
            ),
            ViewTransform(
                "noise",
                "thermal noise, within the islands",
                IslandNoise((0.0, 0.03), p=0.5),
                ("noise",),
            ),
            ViewTransform(
                "beam",
                "synthesised beam: array, declination, frequency",
                Beam(fwhm=(0.5, max(1.5, spec.size / 40)), p=0.5),
                ("blur", "noise"),
            ),
            ViewTransform(
                "clip",
                "depth of the survey: what lies below a few sigma is zero",
                Clip(p=0.5),
                covers=True,
            ),
            ViewTransform(
                "gain",
                "flux scale, redshift, peak that the map was normalised by",
                Gain((0.7, 1.25), common=self.keep_colour),
                ("brightness", "contrast") + (() if self.keep_colour else ("colour",)),
            ),
        ]
