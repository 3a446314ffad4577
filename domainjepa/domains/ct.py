"""Slices of computed tomography, in Hounsfield units or rendered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.domain import MEDICAL_FORMATS, Domain, Evidence, named
from domainjepa.domains.intensity import Intensity, Windows
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.bands import Background, Gain
from domainjepa.domains.transforms.blur import PSFBlur
from domainjepa.domains.transforms.framing import Framing
from domainjepa.domains.transforms.hounsfield import HUNoise, WindowJitter
from domainjepa.domains.transforms.noise import GaussianNoise
from domainjepa.domains.view_spec import ViewSpec, ViewTransform
from domainjepa.errors import ConfigError, DataError

Image = NDArray[Any]

WORDS = (
    "ct ", "cts ", "computed tomograph", "hounsfield", "lidc", "luna ", "deeplesion",
    "organamnist", "organcmnist", "organsmnist", "nodulemnist", "totalsegmentator", "covid ct",
)  # fmt: skip
WINDOWS = {
    "brain": (40.0, 80.0),
    "subdural": (80.0, 200.0),
    "stroke": (40.0, 40.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "bone": (400.0, 1800.0),
    "liver": (30.0, 150.0),
    "soft": (50.0, 400.0),
}
"""Level and width in Hounsfield units, as radiologists set them (radiopaedia.org, windowing)."""
DEFAULT_WINDOWS = ("soft", "lung", "bone")
"""What lies between air and cortical bone, each at a contrast at which it can be read."""
AIR, BONE = -800.0, 200.0


class CT(Domain):
    """Views among which dose, reconstruction kernel, window and positioning differ.

    Hounsfield units are calibrated: water is 0 and air -1000 on every scanner, and what a tissue
    measures is the finding. So the units are windowed, not stretched by statistics, and jitter
    stays within what a reader would set.

    Left out on purpose: the left-right flip and turning (the liver is on the right), gamma (no
    window is curved), gain of single windows, elastic changes.
    """

    name = "ct"
    summary = "slices of computed tomography: Hounsfield windows as channels"
    registered_slices = True

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        told = named(evidence, ("CT",), WORDS)
        if told:
            return told
        if evidence.dtype != np.uint8 and evidence.low <= AIR and BONE <= evidence.high <= 40_000:
            score = 0.8 if evidence.loader in MEDICAL_FORMATS else 0.5
            span = f"{evidence.low:.0f} to {evidence.high:.0f}"
            return score, f"values from {span}, as Hounsfield units have"
        return 0.05, "nothing in the data speaks of CT"

    def windows(self) -> Windows | None:
        """The windows that make the channels; None where the user asks for a stretch instead."""
        if self.settings.stretch != "auto":
            if self.settings.windows:
                raise ConfigError(
                    f"intensity.stretch = {self.settings.stretch!r} and intensity.windows exclude "
                    "each other: set one of them."
                )
            return None
        return named_windows(self.settings.windows or DEFAULT_WINDOWS)

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        """Windows of Hounsfield units; identity for uint8; a stretch where the user asks for one.

        Raises:
            ConfigError: windows of 8-bit renderings.
            DataError: the values are none that Hounsfield units have.
        """
        images, windows = list(samples), self.windows()
        if images[0].dtype == np.uint8:
            if self.settings.windows:
                raise ConfigError(
                    "intensity.windows are of Hounsfield units, and these images are 8-bit "
                    "renderings, windowed already: leave intensity.windows out."
                )
            windows = None
        if windows is None:
            return fit_stretch(images, self.settings, "percentile")
        lowest = min(float(np.nanmin(image, initial=0.0)) for image in images)
        if lowest > -100 and not self.settings.windows:
            raise DataError(
                f"no value below {lowest:g} in the {len(images)} samples that were looked at: "
                "Hounsfield units give air -1000. Rescale the values; or set intensity.stretch = "
                "'percentile'; or, if these are Hounsfield units, name intensity.windows."
            )
        return windows

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        steps = [
            ViewTransform(
                "crop",
                "positioning, field of view, small rotation of the patient",
                Framing(spec.size, spec.scale, turn=10.0),
            ),
            ViewTransform(
                "kernel",
                "reconstruction kernel, slice thickness",
                PSFBlur(fwhm=(0.5, max(1.5, spec.size / 75)), p=0.5),
                ("blur", "noise"),
            ),
        ]
        windows = self.windows()
        count = len(windows.widths) if windows else 0
        # 8-bit renderings have no units: whatever has the channels of windows has been windowed.
        if windows is None or spec.dtype == np.uint8 or spec.channels % count:
            return [
                *steps,
                ViewTransform("noise", "dose", GaussianNoise((0.0, 0.04), p=0.5), ("noise",)),
                ViewTransform(
                    "window width",
                    "window of the reader",
                    Gain((0.8, 1.25), common=True),
                    ("brightness", "contrast"),
                ),
                ViewTransform(
                    "window level",
                    "window of the reader, calibration",
                    Background(0.08, common=True),
                    ("brightness", "background"),
                ),
            ]
        highest = min(20.0, min(windows.widths) / 10)
        return [
            *steps,
            ViewTransform(
                "noise",
                "dose, thickness of the patient",
                HUNoise(windows.widths, (0.0, highest), p=0.5),
                ("noise",),
            ),
            ViewTransform(
                "window",
                "window of the reader; calibration, tube voltage, contrast medium",
                WindowJitter((0.75, 1.0), p=0.8),
                ("brightness", "contrast", "colour", "background"),
            ),
        ]


def named_windows(names: Sequence[str]) -> Windows:
    """Windows from names of `WINDOWS` or LEVEL/WIDTH, such as `lung` and `-600/1500`.

    Raises:
        ConfigError: neither a name nor two numbers, or a width below 1.
    """
    pairs = []
    for name in names:
        numbers = re.fullmatch(r"(-?\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", name.strip())
        pair = WINDOWS.get(name.strip().lower())
        if numbers:
            pair = (float(numbers[1]), float(numbers[2]))
        if pair is None or pair[1] < 1:
            raise ConfigError(
                f"intensity.windows: {name!r} is no window. Choose from {', '.join(WINDOWS)}, or "
                "write LEVEL/WIDTH in Hounsfield units, such as 40/80; a width is 1 or more."
            )
        pairs.append(pair)
    levels, widths = zip(*pairs, strict=True)
    return Windows(levels=levels, widths=widths)
