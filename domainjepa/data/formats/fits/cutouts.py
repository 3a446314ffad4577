"""Cut-outs from FITS mosaics at the positions of a catalogue, each read on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.fits.bands import Stack, choose
from domainjepa.data.formats.fits.folder import look
from domainjepa.data.formats.fits.images import value_dtype
from domainjepa.data.formats.fits.sky import check_grids, to_pixels
from domainjepa.data.formats.fits.source import FITSSource, Part
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.errors import DataError


@dataclass(kw_only=True)
class Cutouts(FITSSource):
    """Squares of mosaics; what lies beyond an edge is NaN.

    Attributes:
        corners: (N, 2) int64, y and x of the first pixel of each; negative before the edge.
        widths: (N,) int64, pixels a side.
    """

    corners: NDArray[np.int64] = field(repr=False)
    widths: NDArray[np.int64] = field(repr=False)

    def sides(self, index: int) -> tuple[int, ...]:
        return (int(self.widths[index]),) * 2

    def _read(self, index: int, window: Sequence[slice] = ()) -> Image:
        hdu = self.parts(index)[0][1]
        self.check_size(index, window)
        inside, place, shape = [], [], []
        for at, axis in enumerate("HW"):
            corner, side = int(self.corners[index, at]), hdu.shape[self.axes.index(axis)]
            wanted = range(int(self.widths[index]))[window[at] if window else slice(None)]
            start, stop = corner + wanted.start, corner + wanted.stop
            first, last = (min(max(end, 0), side) for end in (start, stop))
            inside.append(slice(first, last))
            place.append(slice(first - start, last - start))
            shape.append(len(wanted))
        there = all(part.start < part.stop for part in inside)
        if there and all(
            part.stop - part.start == n for part, n in zip(inside, shape, strict=True)
        ):
            return self.pixels(index, inside)
        image = np.full((*shape, self.channels), np.nan, self.dtype)
        if there:
            image[tuple(place)] = self.pixels(index, inside)
        return image

    def content_key(self) -> str:
        """As of the mosaics, and where the cut-outs are."""
        where = hashlib.sha256(self.corners.tobytes() + self.widths.tobytes()).hexdigest()
        return f"{super().content_key()} {where}"


def cutouts(
    root: Path,
    files: Sequence[str],
    hdus: Sequence[str | int | None] | None,
    positions: NDArray[np.float64],
    size: int | NDArray[np.int64],
    options: OpenOptions,
    *,
    sky: bool,
) -> Source:
    """One sample a row of a catalogue, in its order: a square around a position in a mosaic.

    What lies beyond the edge of a mosaic is NaN, so integers become floats where that happens.
    The pixels are those of astropy's `Cutout2D(mode="partial", fill_value=nan)`.

    Args:
        root: the folder of the mosaics.
        files: (N,) names below the root; a mosaic may come as often as it likes.
        hdus: (N,) name or number of each row's HDU, None where a file has one image only; or None.
        positions: (N, 2) x and y in pixels, the centre of the first pixel being (0, 0); or right
            ascension and declination in degrees (ICRS).
        size: pixels a side, of all or (N,) of each.
        options: `bands` names HDUs of a mosaic, or planes of a cube, as for a single file.
        sky: whether positions are on the sky.

    Raises:
        DataError: a mosaic cannot be read, mosaics differ in bands, a position lies outside of its
            mosaic, or a cut-out would be larger than `options.max_sample_bytes`.
    """
    told = ["" if hdu is None else str(hdu) for hdu in hdus or [None] * len(files)]
    keys = list(zip(files, told, strict=True))
    mosaics = _open(root, list(dict.fromkeys(keys)), options)
    first = next(iter(mosaics.values()))
    widths = np.broadcast_to(np.asarray(size, np.int64), len(files)).copy()
    if len(files) != len(positions) or widths.min() < 1:
        raise DataError(f"{len(files):,} files, {len(positions):,} positions, size {widths.min()}")
    xy = np.asarray(positions, np.float64).copy()
    shapes = np.array([mosaics[key].shape[:2] for key in keys])
    if sky:
        rows_of: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(keys):
            rows_of.setdefault(key, []).append(row)
        for key, rows in rows_of.items():
            xy[rows] = to_pixels(root / key[0], mosaics[key].hdus[0], xy[rows])
    start = np.ceil(xy[:, ::-1] - widths[:, None] / 2)
    outside = ~((start < shapes) & (start + widths[:, None] > 0)).all(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        place = ", ".join(f"{value:.6g}" for value in positions[row])
        raise DataError(
            f"{outside.sum():,} of {len(files):,} positions lie outside of their images, the first "
            f"in row {row}: {'ra, dec' if sky else 'x, y'} = {place}, image {files[row]} of "
            f"{'x'.join(map(str, shapes[row]))} pixels. Leave these rows out"
        )
    over = ((start < 0) | (start + widths[:, None] > shapes)).any(axis=1)
    dtypes = {value_dtype(*hdu.make) for stack in mosaics.values() for hdu in stack.hdus}
    if over.any():  # NaN needs a float that holds the integers
        dtypes.add(np.dtype("float32"))
    source = Cutouts(
        name=root.name,
        loader="fits",
        shape=(int(widths[0]), int(widths[0]), first.shape[-1]),
        dtype=np.result_type(*dtypes),
        root=root,
        objects=_objects(keys, mosaics),
        axes=first.axes,
        planes=first.planes,
        max_sample_bytes=options.max_sample_bytes,
        corners=start.astype(np.int64),
        widths=widths,
        columns=dict(zip(("ra", "dec") if sky else ("x", "y"), np.array(positions).T, strict=True)),
        decisions=[
            f"images: {len(files):,} cut-outs of {len(set(files)):,} files, by "
            f"{'right ascension and declination' if sky else 'pixel'}",
            *first.decisions,
        ],
    )
    source.keys = tuple(source.columns)
    if over.any():
        source.decisions.append(
            f"{over.sum():,} cut-outs reach beyond the edge of their image; NaN is there"
        )
    source.check_size(int(widths.argmax()))
    return source


def _open(
    root: Path, keys: Sequence[tuple[str, str]], options: OpenOptions
) -> dict[tuple[str, str], Stack]:
    """The stack of each mosaic; all have the bands of the first."""
    names = list(dict.fromkeys(file for file, _ in keys))
    opened = dict(zip(names, look(root, names, (), options), strict=True))
    stacks: dict[tuple[str, str], Stack] = {}
    for key in keys:
        file, hdu = key
        found = opened[file]
        if isinstance(found, DataError):
            raise found
        try:
            stack = choose(found.hdus, hdu or None, replace(options, axis=options.axis or "bands"))
            if len(stack.hdus) > 1:
                check_grids(
                    [root / file] * len(stack.hdus),
                    stack.hdus,
                    found.grids_of(stack.hdus),
                    options.bands,
                )
        except DataError as error:
            raise DataError(f"{file}: {error}") from error
        first = next(iter(stacks.values()), stack)
        if stack.make != first.make or "N" in stack.axes or "D" in stack.axes:
            raise DataError(
                f"{file} is {'x'.join(map(str, stack.hdus[0].shape))}: {stack.shape[-1]} bands; "
                f"the first mosaic has {first.shape[-1]}"
            )
        stacks[key] = stack
    return stacks


def _objects(
    keys: Sequence[tuple[str, str]], mosaics: dict[tuple[str, str], Stack]
) -> list[tuple[Part, ...] | DataError]:
    parts = {key: tuple((key[0], hdu) for hdu in stack.hdus) for key, stack in mosaics.items()}
    return [parts[key] for key in keys]
