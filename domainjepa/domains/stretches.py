"""The numbers of an intensity, from a keyed selection of the training samples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.config import IntensityConfig
from domainjepa.domains.intensity import Asinh, Identity, Intensity, Linear, OwnScale, thinned
from domainjepa.errors import ConfigError, DataError

Image = NDArray[Any]


def fit_stretch(images: Sequence[Image], settings: IntensityConfig, auto: str) -> Intensity:
    """The stretch that the settings name, or the domain's own choice.

    8-bit images are renderings: they stay as they are, whatever the stretch.

    Args:
        images: (..., C) arrays of one dtype, of any sizes.
        settings: `intensity.*`.
        auto: what "auto" means: one of linear, asinh, zscale, percentile.

    Raises:
        ConfigError: windows were asked for, which are of Hounsfield units.
        DataError: a band holds no finite number.
    """
    if settings.windows:
        raise ConfigError(
            "intensity.windows are windows of Hounsfield units: they belong to the domains of CT. "
            "Choose one by --domain ct, or leave intensity.windows out."
        )
    if images[0].dtype == np.uint8:
        return Identity()
    stretch = auto if settings.stretch == "auto" else settings.stretch
    if stretch == "asinh":
        return fit_asinh(images)
    return {"linear": fit_range, "zscale": fit_zscale, "percentile": fit_scale}[stretch](images)


def fit_scale(images: Sequence[Image]) -> Intensity:
    """Identity for uint8, else linear between the 0.1 and 99.9 percentiles of each band."""
    if images[0].dtype == np.uint8:
        return Identity()
    return _linear(np.nanpercentile(_pooled(images), (0.1, 99.9), axis=0))


def fit_range(images: Sequence[Image]) -> Linear:
    """Linear from the least to the greatest value of each band: nothing is cut.

    Raises:
        DataError: a band holds no finite number in any of the images.
    """
    limits = np.array([_ends(image) for image in images])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of bands that are masked everywhere
        low, high = np.nanmin(limits[:, 0], axis=0), np.nanmax(limits[:, 1], axis=0)
    _require_numbers(np.isnan(low), len(images))
    return _linear(np.stack([low, high]))


def fit_zscale(images: Sequence[Image]) -> Linear:
    """Linear between IRAF's zscale limits of each band, taken over the pixels of all images.

    A line through the sorted pixels around the median, which ignores what is bright: shows the
    sky and what is faint (astropy's ZScaleInterval).
    """
    from astropy.visualization import ZScaleInterval

    pixels = _pooled(images)
    limits = []
    for band in pixels.T:
        known = band[np.isfinite(band)]
        # A line's squares would leave float64; a power of two changes no digit.
        unit = 2.0 ** np.frexp(np.abs(known).max())[1]
        limits.append(np.multiply(ZScaleInterval().get_limits(known / unit), unit))
    return _linear(np.array(limits, np.float64).T)


def fit_asinh(images: Sequence[Image]) -> Asinh:
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
    # Masked all along the border, as outside a survey: the pixels' own median is the next best.
    sky = np.where(np.isfinite(sky), sky, np.nanmedian(pixels, axis=0))
    noise = np.where(np.isfinite(noise), noise, 0.0)
    scale = np.where(bright > sky, bright - sky, brightest - sky)
    scale = np.where(scale > 0, scale, 1.0)
    softening = 3 * float(np.sqrt(np.mean((noise / scale) ** 2)))
    return Asinh(
        sky=tuple(sky.tolist()),
        scale=tuple(scale.tolist()),
        softening=float(np.clip(softening, 1e-3, 1.0)),
    )


def fit_own_scale(images: Sequence[Image]) -> Intensity:
    """Identity for uint8, else each image by its own percentiles; see `OwnScale`."""
    if images[0].dtype == np.uint8:
        return Identity()
    pooled = _pooled(images)
    signed = bool(np.nanpercentile(pooled, 0.5) < 0)
    own = OwnScale(signed=signed, floor=(0.0,) * pooled.shape[1])
    extents = []
    for image in images:
        pixels = _thinned(image, 2_000_000)
        if not np.isnan(pixels).all(axis=0).any():  # else it is masked all over
            low, high = np.nanpercentile(pixels, own.percentiles, axis=0)
            extents.append(high - (low if signed else 0.0))
    floor = 0.1 * np.median(extents, axis=0) if extents else np.ones(pooled.shape[1])
    floor = np.where(floor > 0, floor, 1.0)
    return own.model_copy(update={"floor": tuple(floor.tolist())})


def _linear(limits: NDArray[np.float64]) -> Linear:
    """From (2, C) limits; a constant band gets a range of one."""
    low, high = limits
    above = low + np.maximum(1.0, np.spacing(np.abs(low)))
    return Linear(low=tuple(low.tolist()), high=tuple(np.where(high > low, high, above).tolist()))


def _border(image: Image) -> NDArray[np.float64]:
    """(400, C): pixels evenly along the outermost rows and columns of an image or a volume."""
    image = image.reshape(-1, *image.shape[-2:])  # the slices of a volume below each other
    rim = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    even = np.linspace(0, len(rim) - 1, 400).astype(int)
    border: NDArray[np.float64] = rim[even].astype(np.float64)
    border[~np.isfinite(border)] = np.nan
    return border


def _pooled(images: Sequence[Image]) -> NDArray[np.float64]:
    """(M, C): evenly spaced pixels of all images, about two million at most; NaN where missing.

    Raises:
        DataError: a band holds no finite number in any of the images.
    """
    most = max(1, 2_000_000 // len(images))
    pooled = np.concatenate([_thinned(image, most) for image in images])
    _require_numbers(np.isnan(pooled).all(axis=0), len(images))
    return pooled


def _thinned(image: Image, most: int) -> NDArray[np.float64]:
    """(M, C): evenly spaced pixels of an image, NaN where missing."""
    pixels: NDArray[np.float64] = thinned(image, most).astype(np.float64)
    pixels[~np.isfinite(pixels)] = np.nan
    return pixels


def _ends(image: Image) -> NDArray[np.float64]:
    """(2, C): least and greatest value of each band of one image; NaN where it has none."""
    bands = image.reshape(-1, image.shape[-1]).T
    known = (band[np.isfinite(band)] for band in bands)
    ends = [(one.min(), one.max()) if one.size else (np.nan, np.nan) for one in known]
    return np.array(ends, np.float64).T


def _require_numbers(empty: NDArray[np.bool_], count: int) -> None:
    """Raises DataError where a band is empty in all of the images."""
    if empty.any():
        raise DataError(
            f"band {empty.argmax()} holds no finite number in the {count} samples that were "
            "looked at: leave the band out, or choose other rows."
        )
