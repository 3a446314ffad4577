"""Galaxies and other objects of the sky: renderings and calibrated multi-band data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from domainjepa.domains.domain import MEDICAL_FORMATS, Domain, Evidence, named
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.bands import Background, Gain, Grey
from domainjepa.domains.transforms.blur import PSFBlur
from domainjepa.domains.transforms.noise import GaussianNoise
from domainjepa.domains.transforms.sky import SkyCrop
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

WORDS = (
    "astro", "galax", "sky", "sdss", "decals", "legacysurvey", "panstarrs", "hsc", "hst", "jwst",
    "euclid", "rubin", "lsst", "gaia", "redshift", "elliptical", "edge on", "merger", "quasar",
    "supernova", "nebula", "telescope", "cosmos", "objid", "pxscale",
)  # fmt: skip


class Astronomy(Domain):
    """Views among which the sky, the telescope and the calibration differ, and the object does not.

    Left out on purpose: hue rotation (it mixes bands as no instrument does), shear and elastic
    changes (they change the shape, which is the science), erasing and solarising.
    """

    name = "astronomy"
    summary = "galaxies and other objects of the sky; renderings and float multi-band data"

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        told = named(evidence, (), WORDS)
        if told:
            return told
        if evidence.loader == "fits":
            return 0.8, "FITS files, the format of astronomy"
        if evidence.loader in MEDICAL_FORMATS:
            return 0.0, f"{evidence.loader} is no format of astronomy"
        if evidence.dtype.kind == "f" and evidence.channels not in (1, 3):
            return 0.6, f"{evidence.channels} bands of floating-point values"
        if evidence.dtype.kind == "f":
            return 0.4, "floating-point values"
        return 0.05, "nothing in the data speaks of the sky"

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        """Identity for uint8, which is rendered already; asinh for counts and fluxes."""
        return fit_stretch(list(samples), self.settings, "asinh")

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        colour = "exposure" if self.keep_colour else "calibration, extinction, redshift"
        steps = [
            ViewTransform(
                "crop",
                "orientation and parity on the sky, pointing, distance",
                SkyCrop(spec.size, spec.scale, keep_centre=not spec.local),
            ),
            ViewTransform(
                "seeing",
                "width of the point-spread function: atmosphere, telescope, band",
                PSFBlur(fwhm=(0.5, max(2.0, spec.size / 24)), p=0.5),
                removes=("blur", "noise"),
            ),
            ViewTransform(
                "sky noise",
                "photons of the sky, read-out, depth of the survey",
                GaussianNoise((0.0, 0.04), p=0.5),
                removes=("noise",),
            ),
            ViewTransform(
                "gain",
                colour,
                # A fifth of a magnitude. Stronger gains cost accuracy where grey views, too, keep
                # colour from telling galaxies apart (docs/domains.md).
                Gain((0.85, 1.18), common=self.keep_colour),
                removes=("brightness", "contrast") + (() if self.keep_colour else ("colour",)),
            ),
            ViewTransform(
                "background",
                "sky subtraction, scattered light",
                Background(0.03, common=self.keep_colour),
                removes=("background",),
            ),
            ViewTransform(
                "exposure",
                "exposure time, transparency, contrast of the rendering",
                Gain((0.8, 1.25), common=True),
                removes=("brightness", "contrast"),
            ),
        ]
        if spec.channels > 1 and not self.keep_colour:
            steps.append(
                ViewTransform(
                    "grey", "one stacked broad-band image", Grey(p=0.3), removes=("colour",)
                )
            )
        return steps
