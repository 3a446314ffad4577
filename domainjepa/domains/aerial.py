"""Aerial and satellite images: orthophotos, and reflectances in many bands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from domainjepa.domains.domain import Domain, Evidence, named
from domainjepa.domains.intensity import Intensity, Linear
from domainjepa.domains.masks import missing_pixels
from domainjepa.domains.stretches import fit_stretch
from domainjepa.domains.transforms.air import Haze
from domainjepa.domains.transforms.bands import Background, Gain
from domainjepa.domains.transforms.blur import PSFBlur
from domainjepa.domains.transforms.fields import BiasField
from domainjepa.domains.transforms.framing import Framing
from domainjepa.domains.transforms.noise import GaussianNoise
from domainjepa.domains.view_spec import ViewSpec, ViewTransform

Image = NDArray[Any]

WORDS = (
    "aerial", "satellite", "remote sens", "sentinel", "landsat", "modis", "naip", "worldview",
    "planetscope", "pleiades", "eurosat", "bigearthnet", "resisc", "ucmerced", "spacenet", "isprs",
    "loveda", "deepglobe", "orthophoto", "orthomosaic", "uav ", "drone", "multispectral",
    "hyperspectral", "reflectance", "ndvi", "land cover", "land use", "geotiff",
)  # fmt: skip
_AREA = np.ones((3, 3), np.uint8)
"""No single black pixel is nodata."""


class Aerial(Domain):
    """Views among which flight line, air, sun and sensor differ, and the ground does not.

    Seen from above there is no up: the four quarter turns and the mirror are as likely. Quarter
    turns, so that rows of pixels, which are the sensor's, stay rows.

    Whole numbers of 0 in all bands are nodata, as Sentinel-2 and Landsat products fill what lies
    outside of a swath: such areas are masked in every view, and so is NaN.

    Left out on purpose: hue and grey (the ratio of the bands tells vegetation from soil and from
    water), a large change of scale beyond the crop (the ground sampling distance is known), elastic
    changes, clouds (they hide the ground instead of changing it).
    """

    name = "aerial"
    summary = "aerial and satellite images: orthophotos, and reflectances in many bands"

    @classmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        return named(evidence, (), WORDS) or (0.05, "nothing in the data speaks of the ground")

    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        """Reflectances from 0, which is no light, to the 99.9 percentile of a band; other values,
        such as decibels or heights, between percentiles; identity for uint8."""
        images = list(samples)
        held = [one for image in images if (one := self._without_nodata(image)).size]
        shown = fit_stretch(held or images, self.settings, "percentile")
        if self.settings.stretch == "auto" and isinstance(shown, Linear) and min(shown.low) >= 0:
            low = (0.0,) * len(shown.low)
            return shown.model_copy(update={"low": low})
        return shown

    def missing(self, image: Image) -> NDArray[np.uint8] | None:
        """NaN, and areas where every band is 0, in whole numbers that are never negative."""
        # Another stretch of one's own may take 0 to another level than that of a masked pixel.
        if image.dtype.kind != "u" or image.ndim != 3 or self.settings.stretch != "auto":
            return missing_pixels(image)
        empty = np.asarray(~image.any(axis=-1), np.uint8)
        if not empty.any():
            return None
        area = cv2.morphologyEx(empty, cv2.MORPH_OPEN, _AREA)
        return np.repeat(area[..., None], image.shape[-1], axis=-1) if area.any() else None

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        ratio = () if self.keep_colour else ("colour",)
        return [
            ViewTransform(
                "crop",
                "flight line and orbit, place on the ground",
                Framing(spec.size, spec.scale, mirror=True, quarters=True),
            ),
            ViewTransform(
                "blur",
                "optics, motion, turbulence of the air, resampling of the product",
                PSFBlur(fwhm=(0.5, max(1.5, spec.size / 75)), p=0.5),
                ("blur", "noise"),
            ),
            ViewTransform(
                "illumination",
                "slopes to the sun, angle of view, vignetting",
                BiasField(0.1, order=2, p=0.5),
            ),
            ViewTransform(
                "noise",
                "photons and electronics of the sensor",
                GaussianNoise((0.0, 0.03), p=0.5),
                ("noise",),
            ),
            ViewTransform(
                "sun",
                "height of the sun: hour, season, latitude",
                Gain((0.75, 1.3), common=True),
                ("brightness", "contrast"),
            ),
            ViewTransform(
                "gain",
                "calibration of each band, sensor",
                Gain((0.9, 1.12), common=self.keep_colour),
                ("brightness", "contrast", *ratio),
            ),
            ViewTransform(
                "haze",
                "aerosols and water vapour between the ground and the sensor",
                Haze(0.3, common=self.keep_colour, p=0.5),
                ("brightness", "contrast", "background", *ratio),
            ),
            ViewTransform(
                "offset",
                "dark signal, correction of the atmosphere",
                Background(0.02, common=self.keep_colour),
                ("background",),
            ),
        ]

    def _without_nodata(self, image: Image) -> Image:
        """Pixels (n, 1, C) that hold something; the image itself where all do."""
        lost = self.missing(image) if image.dtype.kind == "u" else None
        return image if lost is None else image[lost[..., 0] == 0][:, None]
