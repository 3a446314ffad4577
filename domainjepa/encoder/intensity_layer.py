"""The intensity of an encoder as a layer of torch: batches on any device, with gradients.

The same maps as `domainjepa.domains.intensity`, which says what they mean; a test holds each
against its twin there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from domainjepa.domains.intensity import (
    OWN_PIXELS,
    Asinh,
    Bands,
    Identity,
    Intensity,
    Linear,
    OwnScale,
    Windows,
    thinning,
)
from domainjepa.errors import UserError


class IntensityLayer(nn.Module):
    """(N, C, *sides) of stored values -> float32 on the 0..1 scale, C channels or more.

    Args:
        intensity: one of those that encoder files hold.

    Raises:
        UserError: another one.
    """

    def __init__(self, intensity: Intensity) -> None:
        super().__init__()
        self._map = _map(intensity)
        self._described = intensity.describe()

    def forward(self, images: Tensor) -> Tensor:
        return self._map(images)

    def extra_repr(self) -> str:
        return self._described


def _map(intensity: Intensity) -> Callable[[Tensor], Tensor]:
    """The map with plain numbers, which torch.compile can look through."""
    if isinstance(intensity, Identity):
        return _eight_bits
    if isinstance(intensity, Linear):
        wide = _wide(intensity)
        return partial(_linear, low=intensity.low, high=intensity.high, dtype=wide)
    if isinstance(intensity, Asinh):
        return partial(
            _asinh,
            sky=intensity.sky,
            scale=intensity.scale,
            softening=intensity.softening,
            dtype=_wide(intensity),
        )
    if isinstance(intensity, Windows):
        return partial(_windows, levels=intensity.levels, widths=intensity.widths)
    if isinstance(intensity, OwnScale):
        return partial(
            _own_scale,
            shares=tuple(percent / 100 for percent in intensity.percentiles),
            signed=intensity.signed,
            floor=intensity.floor,
        )
    raise UserError(f"an intensity of {type(intensity).__name__} is no layer of torch")


def _wide(intensity: Linear | Asinh) -> torch.dtype:
    return torch.float64 if intensity.computed_in().itemsize == 8 else torch.float32


def _bands(numbers: Bands, images: Tensor) -> Tensor:
    """A number for each channel, to go with (N, C, *sides)."""
    made = torch.tensor(numbers, dtype=images.dtype, device=images.device)
    return made.view(-1, *[1] * (images.ndim - 2))


def _cut(scaled: Tensor) -> Tensor:
    return torch.where(scaled.isnan(), 0.0, scaled).clamp(-1, 2)


def _eight_bits(images: Tensor) -> Tensor:
    return images.float() / 255


def _linear(images: Tensor, low: Bands, high: Bands, dtype: torch.dtype) -> Tensor:
    values = images.to(dtype)
    foot = _bands(low, values)
    return _cut(((values - foot) / (_bands(high, values) - foot)).float())


def _asinh(
    images: Tensor, sky: Bands, scale: Bands, softening: float, dtype: torch.dtype
) -> Tensor:
    values = images.to(dtype)
    flux = ((values - _bands(sky, values)) / _bands(scale, values)).float()
    known = flux.isfinite()
    flux = torch.where(known, flux, 0.0)
    mean = flux.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    mean = mean.abs() / softening
    factor = torch.where(mean > 1e-3, torch.arcsinh(mean) / mean.clamp(min=1e-3), 1.0)
    return flux * (factor / (softening * math.asinh(1 / softening)))


def _windows(images: Tensor, levels: Bands, widths: Bands) -> Tensor:
    shown = []
    for level, width in zip(levels, widths, strict=True):
        rise = max(width - 1, 1e-6)
        shown.append((images.float() - (level - 0.5 - rise / 2)) / rise)
    windowed = torch.stack(shown, dim=2).flatten(1, 2)
    return torch.where(windowed.isnan(), 0.0, windowed).clamp(0, 1)


def _own_scale(images: Tensor, shares: tuple[float, ...], signed: bool, floor: Bands) -> Tensor:
    values = images.float()
    pixels = values.flatten(2)[..., :: thinning(values.shape[2:], OWN_PIXELS)]
    pixels = torch.where(pixels.isfinite(), pixels, torch.nan)
    at = torch.tensor(shares, device=values.device)
    # One sample at a time: torch.quantile takes 16 million values at most.
    ends = torch.stack([torch.nanquantile(one, at, dim=-1) for one in pixels], dim=1)
    low, high = torch.where(ends.isnan(), 0.0, ends)  # (N, C) each
    if not signed:
        low = torch.zeros_like(low)
    span = torch.maximum(high - low, torch.tensor(floor, device=values.device).float())
    shape = (*low.shape, *[1] * (values.ndim - 2))
    return _cut((values - low.view(shape)) / span.view(shape))
