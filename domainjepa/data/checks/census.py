"""One pass over the samples of a source: values by band, blank and unreadable samples, repeats."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.checks.likeness import MOST_FOR_NEAR, THUMBNAIL, near_pairs, thumbnail
from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError

WHOLE_BYTES = 2**29
"""Bytes of pixels up to which every sample is looked at unless a selection is asked for."""
FEWEST = 1_000
"""Samples of a selection, at least."""

_TOGETHER = 8  # neighbours that are looked at with a sample: they lie in the same chunk of a file
_BATCH_BYTES = 32 * 2**20
_VALUE_SAMPLES = 512
_VALUE_PIXELS = 2048


@dataclass
class Band:
    """Values of one band: the range over what was looked at, the rest over a keyed selection of it.

    Attributes:
        low, high: least and greatest finite value; None where there is none.
        missing: share of the pixels that are NaN or infinite.
        mean, std: of the selection, as are the 1st, 50th and 99th percentiles.
    """

    low: float | None
    high: float | None
    missing: float
    mean: float | None = None
    std: float | None = None
    percentiles: tuple[float, float, float] | None = None


@dataclass
class Census:
    """What the pass found.

    Attributes:
        looked_at: how many samples.
        bands: one for each channel.
        value_samples: how many samples, drawn by key, gave means and percentiles.
        sizes: how many sizes (H, W) or (D, H, W) there are.
        blank: rows whose bands hold one value each, or none.
        unreadable: row -> why.
        duplicates: lists of rows with identical bytes, without blank ones; each list ascending.
        near: pairs of rows that correlate above `ALIKE` without being identical; of identical rows
            only the first is compared.
        near_skipped: why near duplicates were not looked for, or an empty string.
    """

    looked_at: int
    bands: list[Band]
    value_samples: int
    sizes: int
    blank: list[int] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)
    duplicates: list[list[int]] = field(default_factory=list)
    near: list[tuple[int, int]] = field(default_factory=list)
    near_skipped: str = ""


class _Range:
    """Range and missing values of every band, sample after sample."""

    def __init__(self, channels: int) -> None:
        self.low = np.full(channels, np.inf)
        self.high = np.full(channels, -np.inf)
        self.missing = np.zeros(channels)
        self.pixels = 0

    def add(self, image: Image) -> bool:
        """Counts a sample in; returns whether it is blank."""
        sides = tuple(range(image.ndim - 1))
        if image.dtype.kind == "f":
            finite = np.isfinite(image)
            low = image.min(axis=sides, where=finite, initial=np.inf)
            high = image.max(axis=sides, where=finite, initial=-np.inf)
            self.missing += (~finite).sum(axis=sides)
        else:
            low, high = image.min(axis=sides), image.max(axis=sides)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.pixels += math.prod(image.shape[:-1])
        return bool((high <= low).all())


@np.errstate(over="ignore")  # of values near the end of their type; what overflows is told as such
def take_census(
    source: Source,
    progress: Callable[[int], None] | None = None,
    rows: NDArray[np.int64] | None = None,
) -> Census:
    """Reads every sample once, or some of them.

    Args:
        source: read in batches of at most 32 MB.
        progress: called with the number of samples read so far.
        rows: (M,) the samples to look at, ascending; all by default.
    """
    looked_at = source.rows() if rows is None else rows
    samples, channels = len(looked_at), source.channels
    random = np.random.default_rng(key("census", samples))
    drawn = random.choice(samples, min(samples, _VALUE_SAMPLES), replace=False)
    chosen = set(looked_at[drawn].tolist())
    near_wanted = samples <= MOST_FOR_NEAR
    thumbnails = np.zeros((samples if near_wanted else 0, THUMBNAIL**2), np.float32)
    ranges, values = _Range(channels), []
    sizes: set[tuple[int, ...]] = set()
    blank: list[int] = []
    unreadable: dict[int, str] = {}
    rows_of: dict[bytes, list[int]] = {}

    done = 0
    for batch in in_batches(source, looked_at.tolist()):
        for place, (row, image) in enumerate(zip(batch, source.try_each(batch), strict=True), done):
            if isinstance(image, DataError):
                unreadable[row] = str(image)
                continue
            sizes.add(image.shape[:-1])
            if row in chosen:
                pixels = image.reshape(-1, channels)
                some = random.integers(0, len(pixels), min(len(pixels), _VALUE_PIXELS))
                values.append(pixels[some].astype(np.float64))
            if ranges.add(image):
                blank.append(row)
                continue
            digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
            digest.update(np.ascontiguousarray(image).data)
            rows_of.setdefault(digest.digest(), []).append(row)
            if near_wanted:
                thumbnails[place] = thumbnail(image)
        done += len(batch)
        if progress is not None:
            progress(done)

    census = Census(
        samples,
        _bands(ranges, values),
        len(chosen),
        len(sizes),
        blank,
        unreadable,
        [alike for alike in rows_of.values() if len(alike) > 1],
    )
    if near_wanted:
        firsts = np.array(sorted(alike[0] for alike in rows_of.values()), dtype=np.int64)
        places = np.searchsorted(looked_at, firsts)
        census.near, census.near_skipped = near_pairs(source, firsts, thumbnails[places])
    else:
        census.near_skipped = f"more than {MOST_FOR_NEAR:,} samples"
    return census


def some_rows(source: Source) -> NDArray[np.int64]:
    """All rows of a small source, a keyed selection of a large one, ascending.

    Of a source of more than half a gigabyte of pixels as many as fill that, at least a thousand,
    eight neighbours at a time.
    """
    samples = len(source)
    wanted = max(WHOLE_BYTES // _nbytes(source), FEWEST)
    if samples <= wanted:
        return source.rows()
    starts = np.arange(0, samples, _TOGETHER)
    random = np.random.default_rng(key("inspect", "rows", samples))
    first = random.choice(starts, wanted // _TOGETHER, replace=False)
    rows = np.sort((first[:, None] + np.arange(_TOGETHER)).ravel())
    return np.asarray(rows[rows < samples], dtype=np.int64)


def in_batches(source: Source, rows: Sequence[int]) -> Iterator[Sequence[int]]:
    """Rows of a source in their order, batches of at most 32 MB."""
    batch = int(np.clip(_BATCH_BYTES // _nbytes(source), 1, 256))
    for start in range(0, len(rows), batch):
        yield rows[start : start + batch]


def _nbytes(source: Source) -> int:
    """Of the first sample's shape."""
    return max(int(np.prod(source.shape)) * source.dtype.itemsize, 1)


def _bands(ranges: _Range, values: list[NDArray[np.float64]]) -> list[Band]:
    together = np.concatenate(values) if values else np.zeros((0, len(ranges.low)))
    bands = []
    for index, (low, high) in enumerate(zip(ranges.low, ranges.high, strict=True)):
        band = Band(
            low=float(low) if np.isfinite(low) else None,
            high=float(high) if np.isfinite(high) else None,
            missing=float(ranges.missing[index] / max(ranges.pixels, 1)),
        )
        known = together[np.isfinite(together[:, index]), index]
        if known.size:
            band.mean, band.std = float(known.mean()), float(known.std())
            first, median, last = np.percentile(known, (1, 50, 99)).tolist()
            band.percentiles = (first, median, last)
        bands.append(band)
    return bands
