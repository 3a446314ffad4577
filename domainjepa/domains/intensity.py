"""Intensity: the deterministic map from stored values to what the views see.

All numbers are statistics of the data set, never of the single image: what one image's own
statistics remove (its brightness, its contrast) is gone for good, and what they add is noise.
The model is stored as JSON in the encoder file: a frozen encoder sees what it was taught on.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from domainjepa.errors import DataError

Image = NDArray[Any]
Bands = tuple[float, ...]


class Intensity(BaseModel, ABC):
    """Deterministic map from stored values to what the views see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def __call__(self, image: Image) -> Image:
        """(H, W, C) in the source's dtype -> (H, W, C), uint8 in 0..255 or float32 around 0..1."""

    @abstractmethod
    def describe(self) -> str:
        """A phrase for the printed plan."""


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
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        scaled = (image.astype(np.float32) - low) / (high - low)
        scaled = np.clip(scaled, -1.0, 2.0)
        scaled[np.isnan(scaled)] = 0.0
        return scaled

    def describe(self) -> str:
        return f"linear, from {_numbers(self.low)} to {_numbers(self.high)}"


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
        sky, scale = np.asarray(self.sky, np.float32), np.asarray(self.scale, np.float32)
        flux: Image = (image.astype(np.float32) - sky) / scale
        known = np.isfinite(flux)
        if known.all():
            mean = flux.mean(axis=2, keepdims=True)
        else:
            flux[~known] = 0.0
            mean = flux.sum(axis=2, keepdims=True) / np.maximum(known.sum(axis=2, keepdims=True), 1)
        mean = np.abs(mean) / np.float32(self.softening)
        # asinh(x) / x, which is 1 - x^2 / 6 near zero.
        factor = np.where(mean > 1e-3, np.arcsinh(mean) / np.maximum(mean, 1e-3), 1.0)
        factor /= np.float32(self.softening * np.arcsinh(1 / self.softening))
        flux *= factor
        return flux

    def describe(self) -> str:
        return (
            f"asinh, sky {_numbers(self.sky)}, scale {_numbers(self.scale)}, "
            f"softening {self.softening:.3g}"
        )


AnyIntensity = Annotated[Identity | Linear | Asinh, Field(discriminator="kind")]


def load_intensity(data: dict[str, Any] | str) -> Intensity:
    """The intensity from what `model_dump` or `model_dump_json` wrote.

    Raises:
        DataError: no known kind, or numbers missing.
    """
    adapter: TypeAdapter[Identity | Linear | Asinh] = TypeAdapter(AnyIntensity)
    try:
        if isinstance(data, str):
            return adapter.validate_json(data)
        return adapter.validate_python(data)
    except ValidationError as error:
        raise DataError(
            f"the stored intensity cannot be read: {error.errors()[0]['msg']}"
        ) from None


def fit_scale(images: Sequence[Image]) -> Intensity:
    """Identity for uint8, else linear between the 0.1 and 99.9 percentiles of each band."""
    if images[0].dtype == np.uint8:
        return Identity()
    pixels = _pooled(images)
    low, high = np.nanpercentile(pixels, (0.1, 99.9), axis=0)
    return Linear(low=tuple(low.tolist()), high=tuple(np.where(high > low, high, low + 1).tolist()))


def fit_asinh(images: Sequence[Image]) -> Intensity:
    """Sky and noise from the borders of the images, scale from their bright pixels.

    The sky is the median over images of the median along the border, where a cutout shows most of
    it; its noise likewise, from the median absolute deviation. A band's scale takes the 99.5
    percentile of all pixels to 1; the softening is three times the noise of a band.

    Raises:
        DataError: a band holds no finite number in any of the images.
    """
    borders, pixels = np.stack([_border(image) for image in images]), _pooled(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of borders that are masked all along
        levels = np.nanmedian(borders, axis=1, keepdims=True)
        sky = np.nanmedian(levels, axis=(0, 1))
        noise = 1.4826 * np.nanmedian(np.nanmedian(np.abs(borders - levels), axis=1), axis=0)
        bright, brightest = np.nanpercentile(pixels, (99.5, 100), axis=0)
    empty = np.flatnonzero(~np.isfinite(sky + brightest))
    if empty.size:
        raise DataError(
            f"band {empty[0]} holds no finite number in the {len(images)} samples that were "
            "looked at: leave the band out, or choose other rows."
        )
    scale = np.where(bright > sky, bright - sky, brightest - sky)
    scale = np.where(scale > 0, scale, 1.0)
    softening = 3 * float(np.sqrt(np.mean((noise / scale) ** 2)))
    return Asinh(
        sky=tuple(sky.tolist()),
        scale=tuple(scale.tolist()),
        softening=float(np.clip(softening, 1e-3, 1.0)),
    )


def channel_statistics(samples: Iterable[Image]) -> tuple[Bands, Bands]:
    """Mean and standard deviation of each channel, on the 0..1 scale: the standardisation.

    Args:
        samples: images after the intensity, (H, W, C) uint8 or float32, of any sizes.

    Returns:
        (mean, std), C numbers each; a constant channel has std 1.
    """
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for image in samples:
        pixels = image.reshape(-1, image.shape[2]).astype(np.float64)
        if image.dtype == np.uint8:
            pixels /= 255
        count += len(pixels)
        total = total + pixels.sum(axis=0)
        squares = squares + (pixels**2).sum(axis=0)
    if count == 0:
        raise DataError("no samples to standardise the channels by")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist())


def _border(image: Image) -> NDArray[np.float64]:
    """(400, C): pixels evenly along the outermost rows and columns."""
    rim = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    even = np.linspace(0, len(rim) - 1, 400).astype(int)
    border: NDArray[np.float64] = rim[even].astype(np.float64)
    border[~np.isfinite(border)] = np.nan
    return border


def _pooled(images: Sequence[Image]) -> NDArray[np.float64]:
    """(M, C): evenly spaced pixels of all images, about two million at most."""
    flat = [image.reshape(-1, image.shape[2]) for image in images]
    step = max(1, sum(len(pixels) for pixels in flat) // 2_000_000)
    pooled = np.concatenate([pixels[::step] for pixels in flat]).astype(np.float64)
    pooled[~np.isfinite(pooled)] = np.nan
    return pooled


def _numbers(values: Bands) -> str:
    return " ".join(f"{value:.4g}" for value in values)
