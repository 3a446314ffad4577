"""Intensity: the deterministic map from stored values to what the views see.

All numbers are statistics of the data set, never of the single image: what one image's own
statistics remove (its brightness, its contrast) is gone for good, and what they add is noise. The
one exception is `OwnScale`, for scanners whose units change from scan to scan.
The model is stored as JSON in the encoder file: a frozen encoder sees what it was taught on.
How the numbers are found: `domainjepa.domains.stretches`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from domainjepa.errors import DataError

OWN_PIXELS = 30_000
"""Pixels, at least, that a sample's own scale is measured on."""
_FAR = 1e30
Image = NDArray[Any]
Bands = tuple[float, ...]


class Intensity(BaseModel, ABC):
    """Deterministic map from stored values to what the views see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def __call__(self, image: Image) -> Image:
        """(H, W, C) or (D, H, W, C) in the source's dtype -> the same with C channels, or as many
        as `describe` says; uint8 in 0..255 or float32 around 0..1, finite."""

    @abstractmethod
    def describe(self) -> str:
        """A phrase for the printed plan."""

    def beyond(self, image: Image) -> float:
        """How many times the range that it was measured on most of an image lies outside of it; 0
        where any range will do."""
        return 0.0

    def of(self, sample: Callable[[], Image]) -> Intensity:
        """The intensity of one sample, for its parts: itself, unless each sample has its own scale.

        Args:
            sample: gives the sample, or enough of it; called only where it is needed.
        """
        return self


class Identity(Intensity):
    """8-bit images are renderings already: another stretch would only lose levels."""

    kind: Literal["identity"] = "identity"

    def __call__(self, image: Image) -> Image:
        return image

    def describe(self) -> str:
        return "8-bit values as they are"


class Linear(Intensity):
    """(x - low) / (high - low) for each band, cut one range away from either end; NaN gives 0."""

    kind: Literal["linear"] = "linear"
    low: Bands
    high: Bands

    def __call__(self, image: Image) -> Image:
        dtype = self.computed_in()
        low, high = np.asarray(self.low, dtype), np.asarray(self.high, dtype)
        scaled = (image.astype(dtype) - low) / (high - low)
        return _cut(scaled.astype(np.float32, copy=False))

    def beyond(self, image: Image) -> float:
        low, high = np.asarray(self.low), np.asarray(self.high)
        return _reach((thinned(image, 2_000) - low) / (high - low) - 0.5) - 0.5

    def describe(self) -> str:
        told = f"linear, from {_numbers(self.low)} to {_numbers(self.high)}"
        return told + _precision(self.computed_in())

    def computed_in(self) -> np.dtype[Any]:
        """float32, or float64 where its numbers need it."""
        spans = np.subtract(self.high, self.low)
        return _wide_enough(*self.low, *self.high, *spans.tolist())


class Asinh(Intensity):
    """asinh stretch that keeps the ratios of the bands.

    Every band is brought to zero sky and unit scale, x_b = (flux_b - sky_b) / scale_b, and then
    multiplied by one factor for all bands, f(I) / I with I the mean of the bands: Lupton et al.
    2004 (PASP 116, 133), eq. 2, with the inverse hyperbolic sine of Lupton, Gunn and Szalay 1999
    (AJ 118, 1406): linear near the sky, where magnitudes fail, and logarithmic in the bright.
    f(I) = asinh(I / softening) / asinh(1 / softening). What is not finite
    becomes 0, the level of the sky; the other bands of that pixel make up I.
    """

    kind: Literal["asinh"] = "asinh"
    sky: Bands
    scale: Bands
    softening: float = Field(gt=0)

    def __call__(self, image: Image) -> Image:
        dtype = self.computed_in()
        sky, scale = np.asarray(self.sky, dtype), np.asarray(self.scale, dtype)
        flux: Image = ((image.astype(dtype) - sky) / scale).astype(np.float32, copy=False)
        known = np.isfinite(flux)
        if known.all():
            mean = flux.mean(axis=-1, keepdims=True)
        else:
            flux[~known] = 0.0
            count = known.sum(axis=-1, keepdims=True)
            mean = flux.sum(axis=-1, keepdims=True) / np.maximum(count, 1)
        mean = np.abs(mean) / np.float32(self.softening)
        # asinh(x) / x, which is 1 - x^2 / 6 near zero.
        factor = np.where(mean > 1e-3, np.arcsinh(mean) / np.maximum(mean, 1e-3), 1.0)
        factor /= np.float32(self.softening * np.arcsinh(1 / self.softening))
        flux *= factor
        return flux

    def beyond(self, image: Image) -> float:
        return _reach((thinned(image, 2_000) - np.asarray(self.sky)) / np.asarray(self.scale)) - 1

    def describe(self) -> str:
        return (
            f"asinh, sky {_numbers(self.sky)}, scale {_numbers(self.scale)}, "
            f"softening {self.softening:.3g}{_precision(self.computed_in())}"
        )

    def computed_in(self) -> np.dtype[Any]:
        """float32, or float64 where its numbers need it."""
        return _wide_enough(*self.sky, *self.scale)


class Windows(Intensity):
    """CT windows as channels: DICOM's linear VOI function (PS3.3 C.11.2.1.2.1) onto 0..1.

    0 up to level - 0.5 - (width - 1) / 2, 1 beyond level - 0.5 + (width - 1) / 2, and a line
    between. C channels of Hounsfield units become C * len(levels): all windows of the first, then
    of the next. NaN gives 0, as air does.
    """

    kind: Literal["windows"] = "windows"
    levels: Bands = Field(min_length=1)
    widths: Bands

    @model_validator(mode="after")
    def _pairs(self) -> Windows:
        if len(self.levels) != len(self.widths) or min(self.widths) < 1:
            raise ValueError("every window has a level and a width of at least 1")
        return self

    def __call__(self, image: Image) -> Image:
        # Where the function is 0, and over how many units it rises; a width of 1 is a step.
        rise = np.maximum(np.asarray(self.widths) - 1, 1e-6)
        foot = np.asarray(self.levels) - 0.5 - rise / 2
        slope = (1 / rise).astype(np.float32)
        shift = (-foot / rise).astype(np.float32)
        shown = image.astype(np.float32)[..., None] * slope + shift
        shown = shown.reshape(*image.shape[:-1], -1)
        shown[np.isnan(shown)] = 0.0
        windowed: Image = shown.clip(0.0, 1.0, out=shown)
        return windowed

    def describe(self) -> str:
        pairs = zip(self.levels, self.widths, strict=True)
        shown = ", ".join(f"{level:g}/{width:g}" for level, width in pairs)
        return f"windows {shown} HU (level/width), each a channel"


class OwnScale(Intensity):
    """Every image, or volume, from 0 or its own low percentile to its own high one.

    For MR, whose units are arbitrary from scan to scan: receiver gain, coil and sequence set them,
    so that no number of the data set fits a single scan. Percentiles, for a mean or a maximum
    follows one bright vessel (Nyul, Udupa and Zhang 2000, IEEE TMI 19, 143). Zero stays zero
    unless the data set is `signed`: no signal is no signal, whatever the units. An image of far
    less signal than the others, such as a slice above the head, is scaled by `floor` instead, or
    its noise would be raised to the level of tissue. NaN gives 0; cut one range from either end.
    """

    kind: Literal["own scale"] = "own scale"
    percentiles: tuple[float, float] = (0.5, 99.5)
    signed: bool = False
    floor: Bands

    def __call__(self, image: Image) -> Image:
        return self.of(lambda: image)(image)

    def of(self, sample: Callable[[], Image]) -> Linear:
        """The line from low to high of this sample."""
        pixels = thinned(sample(), OWN_PIXELS)
        bands = pixels.astype(np.float64 if pixels.dtype.itemsize > 4 else np.float32).T
        known = [band[np.isfinite(band)] for band in bands]
        limits = [np.percentile(band, self.percentiles) if len(band) else (0, 0) for band in known]
        low, high = np.array(limits, np.float64).T
        if not self.signed:
            low = np.zeros_like(low)
        high = np.maximum(high, low + np.asarray(self.floor))
        return Linear(low=tuple(low.tolist()), high=tuple(high.tolist()))

    def describe(self) -> str:
        low, high = self.percentiles
        foot = f"its {low:g}" if self.signed else "0"
        return f"each image from {foot} to its {high:g} percentile (arbitrary units of each scan)"


AnyIntensity = Annotated[
    Identity | Linear | Asinh | Windows | OwnScale, Field(discriminator="kind")
]


def load_intensity(data: dict[str, Any] | str) -> Intensity:
    """The intensity from what `model_dump` or `model_dump_json` wrote.

    Raises:
        DataError: no known kind, or numbers missing.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(AnyIntensity)
    try:
        loaded = adapter.validate_json(data) if isinstance(data, str) else None
        intensity: Intensity = loaded or adapter.validate_python(data)
    except ValidationError as error:
        raise DataError(
            f"the stored intensity cannot be read: {error.errors()[0]['msg']}"
        ) from None
    return intensity


def channel_statistics(samples: Iterable[Image]) -> tuple[Bands, Bands]:
    """Mean and standard deviation of each channel, on the 0..1 scale: the standardisation.

    Args:
        samples: images after the intensity, (..., C) uint8 or float32, of any sizes; channels that
            are all NaN do not count.

    Returns:
        (mean, std), C numbers each; a constant channel has std 1, one that nobody has mean 0 too.
    """
    count, total, squares = np.zeros(1), np.zeros(1), np.zeros(1)
    for image in samples:
        pixels = image.reshape(-1, image.shape[-1]).astype(np.float64)
        if image.dtype == np.uint8:
            pixels /= 255
        there = ~np.isnan(pixels).all(axis=0)
        pixels[:, ~there] = 0
        count = count + len(pixels) * there
        total = total + pixels.sum(axis=0)
        squares = squares + (pixels**2).sum(axis=0)
    if not count.any():
        raise DataError("no samples to standardise the channels by")
    count = np.maximum(count, 1)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist())


def thinned(image: Image, most: int) -> Image:
    """(M, C): at least `most` pixels of an image or a volume, or all, evenly spaced."""
    return image.reshape(-1, image.shape[-1])[:: thinning(image.shape[:-1], most)]


def thinning(sides: Sequence[int], most: int) -> int:
    """Every how many pixels of an image, or a volume, at least `most` are left, or all.

    The step shares no factor with the sides, or every pixel might come from one column.
    """
    step = max(1, math.prod(sides) // most)
    while math.gcd(step, math.prod(sides[-2:])) > 1:
        step -= 1
    return step


def _reach(scaled: Image) -> float:
    """How far from 0 the values of an image go, but for one in a hundred; 0 without any."""
    known = np.abs(scaled[np.isfinite(scaled)])
    return float(np.percentile(known, 99)) if known.size else 0.0


def _cut(scaled: Image) -> Image:
    """One range away from 0..1 at the most; 0 where there is no number."""
    scaled[np.isnan(scaled)] = 0.0
    return scaled.clip(-1.0, 2.0, out=scaled)


def _wide_enough(*numbers: float) -> np.dtype[Any]:
    """float32, or float64 where one of these numbers is near the ends of float32 or beyond them.

    Luminosities in erg/s are 1e42: the scale takes them into range, but not after a cast to 0 or
    infinity.
    """
    sizes = [abs(number) for number in numbers if number]
    wide = sizes and (max(sizes) > _FAR or min(sizes) < 1 / _FAR)
    return np.dtype(np.float64 if wide else np.float32)


def _precision(dtype: np.dtype[Any]) -> str:
    return ", in double precision: float32 does not reach so far" if dtype == np.float64 else ""


def _numbers(values: Bands) -> str:
    return " ".join(f"{value:.4g}" for value in values)
