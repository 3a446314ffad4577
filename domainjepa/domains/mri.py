"""Slices of magnetic resonance imaging."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from domainjepa.domains.domain import Domain, Evidence, named
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.stretches import fit_own_scale, fit_stretch
from domainjepa.domains.transforms.bands import Gain
from domainjepa.domains.transforms.blur import PSFBlur
from domainjepa.domains.transforms.curves import Gamma
from domainjepa.domains.transforms.fields import BiasField
from domainjepa.domains.transforms.framing import Framing
from domainjepa.domains.transforms.kspace import Gibbs
from domainjepa.domains.transforms.noise import RicianNoise
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

WORDS = (
    "mri ", "mris ", "mr ", "fmri", "magnetic resonance", "brats", "fastmri", "flair", "t w ",
    "adni", "ixi ", "brain tumor mri",
)  # fmt: skip


class MRI(Domain):
    """Views among which coil, sequence, resolution and noise differ, and anatomy does not.

    Units are arbitrary from scan to scan, so each image, or each whole volume, is scaled by its
    own percentiles: the one exception to the rule that numbers are the data set's (`OwnScale`).

    Left out on purpose: the left-right flip (language, and a stroke, have a side), turning upside
    down, inversion of the contrast (T1 and T2 show different things), elastic changes.
    """

    name = "mri"
    summary = "slices of magnetic resonance imaging, any sequence"
    registered_slices = True

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        told = named(evidence, ("MR",), WORDS)
        if told:
            return told
        if evidence.loader == "nifti":
            return 0.5, "NIfTI, most of which is MR, and no values of CT"
        return 0.05, "nothing in the data speaks of MR"

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        """Each image by its own percentiles; identity for uint8; or the stretch of the settings."""
        images = list(samples)
        if self.settings.stretch == "auto" and not self.settings.windows:
            return fit_own_scale(images)
        return fit_stretch(images, self.settings, "percentile")

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        return [
            ViewTransform(
                "crop",
                "positioning, field of view, tilt of the head",
                Framing(spec.size, spec.scale, turn=15.0),
            ),
            ViewTransform(
                "gibbs",
                "lines of k-space: matrix size, partial Fourier; with its ringing",
                Gibbs((0.4, 1.0), p=0.3),
                ("blur", "noise"),
            ),
            ViewTransform(
                "resolution",
                "slice thickness, motion, filter of the scanner",
                PSFBlur(fwhm=(0.5, max(1.5, spec.size / 75)), p=0.3),
                ("blur", "noise"),
            ),
            ViewTransform(
                "gamma",
                "sequence: echo and repetition times change the contrast of tissues",
                Gamma((0.7, 1.4), p=0.8),
                ("brightness", "contrast"),
            ),
            ViewTransform(
                "bias field",
                "receiver coil, dielectric effect at high field",
                BiasField(0.25, p=0.8),
                ("brightness", "contrast"),
            ),
            ViewTransform(
                "noise",
                "field strength, coil, bandwidth",
                RicianNoise((0.0, 0.05), p=0.5),
                ("noise", "background"),
            ),
            ViewTransform(
                "gain",
                "receiver gain, what else set the scale",
                Gain((0.8, 1.25), common=self.keep_colour),
                ("brightness", "contrast") + (() if self.keep_colour else ("colour",)),
            ),
        ]
