"""B-mode ultrasound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from domainjepa.domains.domain import Domain, Evidence, named
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.bands import Gain
from domainjepa.domains.transforms.blur import PSFBlur
from domainjepa.domains.transforms.curves import Gamma
from domainjepa.domains.transforms.echo import Contact, Speckle
from domainjepa.domains.transforms.fields import BiasField
from domainjepa.domains.transforms.framing import Framing
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

MODALITIES = ("US", "IVUS", "BDUS")
WORDS = ("ultraso", "sonogra", "echocard", "echonet", "busi ", "breastmnist", "camus ", "b mode")


class Ultrasound(Domain):
    """Views among which speckle, gain, compression, contact and the way the probe is held differ.

    All changes multiply, so that the black around the sector stays black. All bands get the same
    change: colour images of B-mode are grey.

    Left out on purpose: turning upside down and large angles (depth runs downwards: attenuation,
    and shadows and enhancement behind a lesion, which are signs); shadows that begin inside the
    picture, for the same reason; a background, for black is no echo; elastic changes.
    """

    name = "ultrasound"
    summary = "B-mode ultrasound"

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        return named(evidence, MODALITIES, WORDS) or (
            0.05,
            "nothing in the data speaks of ultrasound",
        )

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        return fit_stretch(list(samples), self.settings, "percentile")

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        return [
            ViewTransform(
                "crop",
                "position, tilt and depth of the probe, which may be held the other way round",
                Framing(spec.size, spec.scale, turn=8.0, mirror=True),
            ),
            ViewTransform(
                "focus",
                "focal depth, frequency of the probe, spatial compounding",
                PSFBlur(fwhm=(0.5, max(1.5, spec.size / 75)), p=0.3),
                ("blur", "noise"),
            ),
            ViewTransform(
                "speckle",
                "interference of echoes: changes with the smallest movement",
                Speckle((0.0, 0.25), (0.4, max(0.8, spec.size / 150)), p=0.8),
                ("noise",),
            ),
            ViewTransform(
                "depth gain",
                "time-gain compensation, attenuation of what lies above",
                BiasField(0.35, order=3, down=True, p=0.8),
                ("brightness", "contrast"),
            ),
            ViewTransform(
                "contact", "coupling of the probe to the skin, a rib", Contact(p=0.2), covers=True
            ),
            ViewTransform(
                "gamma",
                "dynamic range of the log compression",
                Gamma((0.7, 1.4), p=0.8),
                ("brightness", "contrast", "background"),
            ),
            ViewTransform(
                "gain",
                "gain of the receiver",
                Gain((0.8, 1.25), common=True),
                ("brightness", "contrast"),
            ),
        ]
