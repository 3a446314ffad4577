"""Samples whose channels lie in files of their own, read together."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import Image, Source, spread
from domainjepa.errors import DataError

LOOKED_AT = 64
"""Samples whose sides are compared when a folder is opened; all are as they are read."""
APART = 0.1
"""Voxels by which the corners of two channels may lie apart in the patient: headers are rounded."""
ROUNDED = 1e-3
"""Share by which spacings may differ."""


@dataclass(kw_only=True)
class ChannelsSource(Source):
    """Row by row the channels of several sources, one after the other.

    Attributes:
        parts: a source for each band, all of one length.
        why_not: row -> why its channels make no sample.
    """

    parts: list[Source] = field(repr=False)
    why_not: dict[int, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        self._check(indices)
        channels = [part.__getitems__(indices) for part in self.parts]
        return [
            self._joined(int(index), images)
            for index, images in zip(indices, zip(*channels, strict=True), strict=True)
        ]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        self._check([index])
        return self._joined(index, [part.region(index, start, stop) for part in self.parts])

    def sides(self, index: int) -> tuple[int, ...]:
        return self.parts[0].sides(index)

    @property
    def reads_parts(self) -> bool:
        return all(part.reads_parts for part in self.parts)

    @property
    def axes(self) -> tuple[str, ...] | None:
        """What D, H, W of a volume are in the patient, where the format tells."""
        return getattr(self.parts[0], "axes", None)

    @property
    def directions(self) -> tuple[str, ...] | None:
        """Where D, H, W of a volume lead in the patient, where the format tells."""
        return getattr(self.parts[0], "directions", None)

    def file_names(self) -> Sequence[str] | None:
        return self.parts[0].file_names()

    def read_column(self, name: str) -> NDArray[Any]:
        return self.parts[0].column(name)

    def content_key(self) -> str:
        keys = [part.content_key() for part in self.parts]
        return hashlib.sha256(" ".join(keys).encode()).hexdigest()

    def _check(self, indices: Sequence[int]) -> None:
        for index in indices:
            if int(index) in self.why_not:
                raise DataError(f"sample {index} cannot be read: {self.why_not[int(index)]}.")

    def _joined(self, index: int, images: Sequence[Image]) -> Image:
        why = _unlike([image.shape[:-1] for image in images], self._names)
        if why:
            raise DataError(f"sample {index} cannot be read: {why}.")
        return np.concatenate(images, axis=-1).astype(self.dtype, copy=False)

    @property
    def _names(self) -> list[str]:
        """A name for each of the parts."""
        return [str((part.bands or ("",))[0]) for part in self.parts]


def _channel_names(part: Source, band: str) -> tuple[str, ...]:
    numbers = range(part.channels)
    return (band,) if part.channels == 1 else tuple(f"{band} {number}" for number in numbers)


def joined(parts: Sequence[Source], bands: Sequence[str]) -> Source:
    """The source whose samples have the channels of all parts.

    Labels, groups, split and what else the first part says of itself are its own.

    Args:
        parts: sources of one length, row by row of one object.
        bands: what each is called.

    Raises:
        DataError: samples are images in one part and volumes in another; or no sample's channels
            agree in size and place.
    """
    first = parts[0]
    if len({part.volumetric for part in parts}) > 1:
        raise DataError(f"of the bands {', '.join(bands)} some are images and some are volumes.")
    for part, band in zip(parts, bands, strict=True):
        part.bands = _channel_names(part, band)
    if len(parts) == 1:
        return first
    known = {one.name: getattr(first, one.name) for one in fields(Source)}
    known["dtype"] = np.result_type(*(part.dtype for part in parts))
    known["shape"] = (*first.shape[:-1], sum(part.channels for part in parts))
    known["bands"] = tuple(name for part in parts for name in part.bands or ())
    for role in ("decisions", "warnings"):
        lines = (line for part in parts for line in getattr(part, role))
        known[role] = list(dict.fromkeys(lines))
    source = ChannelsSource(**known, parts=list(parts))
    source.why_not = _misfits(source, bands)
    if len(source.why_not) == len(source):
        raise DataError(f"no sample has bands that fit: {source.why_not[0]}.")
    if source.why_not:
        source.warnings.append(
            f"{len(source.why_not):,} of {len(source):,} samples have bands that do not fit and "
            f"cannot be read; one of them: {next(iter(source.why_not.values()))}"
        )
    return source


def _misfits(source: ChannelsSource, bands: Sequence[str]) -> dict[int, str]:
    """Rows whose channels differ in size or place, by what is known without their pixels."""
    found: dict[int, str] = {}
    for row in spread(len(source), LOOKED_AT):
        with contextlib.suppress(DataError):  # it is told when it is read
            if why := _unlike([part.sides(row) for part in source.parts], bands):
                found[row] = why
    for part, band in zip(source.parts[1:], bands[1:], strict=True):
        for row, why in _elsewhere(source.parts[0], part):
            found.setdefault(row, f"the bands {bands[0]} and {band} {why}; bring them to one grid")
    return found


def _elsewhere(one: Source, other: Source) -> Iterator[tuple[int, str]]:
    """Rows that two sources tell to be of other spacings or at other places, and how far."""
    if one.spacings is not None and other.spacings is not None:
        apart = np.abs(one.spacings - other.spacings) > ROUNDED * one.spacings
        for row in np.flatnonzero(apart.any(axis=1)).tolist():
            steps = [
                " x ".join(f"{step:.4g}" for step in each)
                for each in (one.spacings[row], other.spacings[row])
            ]
            yield row, f"differ in their spacing ({steps[0]} and {steps[1]} mm)"
    here, there = getattr(one, "affines", None), getattr(other, "affines", None)
    if here is not None and there is not None:
        for row in range(len(one)):
            voxels = _apart(here[row], there[row], one, row)
            if voxels > APART:
                yield row, f"lie {voxels:.3g} voxels apart in the patient"


def _apart(
    here: NDArray[np.float64], there: NDArray[np.float64], source: Source, row: int
) -> float:
    """How far corners of a volume lie apart under two affines, in voxels of the first; 0 where
    either is not known."""
    if not (np.isfinite(here).all() and np.isfinite(there).all()):
        return 0.0
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)], dtype=np.float64)
    corners[:, :3] *= np.array(source.sides(row)) - 1
    apart = np.linalg.norm((corners @ (here - there).T)[:, :3], axis=1).max()
    return float(apart / np.linalg.norm(here[:3, :3], axis=0).min())


def _unlike(sides: Sequence[tuple[int, ...]], bands: Sequence[str]) -> str | None:
    """Why these sizes make no sample."""
    for one, band in zip(sides, bands, strict=True):
        if one != sides[0]:
            sizes = ["x".join(map(str, size)) for size in (sides[0], one)]
            return (
                f"the bands {bands[0]} ({sizes[0]}) and {band} ({sizes[1]}) differ in shape; bring "
                "them to one grid"
            )
    return None
