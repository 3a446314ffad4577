"""What is measured on the data before a run: the intensity and the standardisation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.parts.regions import RegionsSource, spread_slices
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Intensity, channel_statistics
from domainjepa.domains.masks import channels_there, missing_pixels

SAMPLES, FEWEST = 1024, 64
"""Training samples that the intensity and the standardisation are measured on, at most; and those
that a run of a few steps takes."""
BYTES = 2**29
"""Bytes that they may take."""
_VOLUMES = 128


def measure_channels(
    source: Source,
    rows: NDArray[np.int64],
    domain: Domain,
    seed: int,
    *,
    most: int = SAMPLES,
) -> tuple[Intensity, tuple[float, ...], tuple[float, ...]]:
    """Intensity, channel means and standard deviations from a keyed selection of the rows.

    Args:
        source: of the data.
        rows: to choose from.
        domain: whose intensity it is.
        seed: of the choice.
        most: samples, within `FEWEST` and `SAMPLES`: a run that sees few need not read many.
    """
    draw = np.random.default_rng(key(seed, "statistics"))
    samples = measured_on(source, rows, draw, min(max(most, FEWEST), SAMPLES))
    intensity = domain.fit_intensity(samples)
    mean, std = channel_statistics(of_channels_there(intensity, sample) for sample in samples)
    return intensity, mean, std


def of_channels_there(intensity: Intensity, sample: NDArray[Any]) -> NDArray[Any]:
    """A sample (..., C) after the intensity, with NaN in channels that hold no number in it: zeros
    there would make mean and spread depend on how many samples lack the channel."""
    shown = intensity(sample)
    missing = missing_pixels(sample)
    if missing is not None:
        lost = ~channels_there(missing, sample.shape[-1])
        if lost.any():
            shown = shown.astype(np.float32)
            shown[..., np.repeat(lost, shown.shape[-1] // len(lost))] = np.nan
    return shown


def measured_on(
    source: Source, rows: NDArray[np.int64], draw: np.random.Generator, most: int
) -> list[NDArray[Any]]:
    """A selection of samples that fits into memory, in the source's dtype.

    Returns:
        (H, W, C) images, or (n, H, W, C): of each of some volumes n slices, evenly spread.
    """
    sample_bytes = int(np.prod(source.shape)) * source.dtype.itemsize
    if not source.volumetric:
        count = min(most, max(BYTES // sample_bytes, 8))
        chosen = np.sort(draw.permutation(rows)[:count])
        return source.__getitems__(chosen.tolist())
    if isinstance(source, RegionsSource):
        rows = np.unique(rows // source.regions)
        source = source.volumes
    volumes = np.sort(draw.permutation(rows)[: min(most, _VOLUMES)])
    slices = BYTES // len(volumes) // (sample_bytes // source.shape[0])
    return [
        spread_slices(source, row, int(np.clip(slices, 1, most // len(volumes))))
        for row in volumes.tolist()
    ]
