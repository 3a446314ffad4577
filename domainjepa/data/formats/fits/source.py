"""Samples out of FITS images: one a file, one an HDU, or the planes of a cube."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import reason
from domainjepa.data.files.identity import content_digest, files_digest
from domainjepa.data.formats.fits import pixels as fits_pixels
from domainjepa.data.formats.fits.images import ImageHDU
from domainjepa.data.parts.recent import Recent
from domainjepa.data.source import Image, Source
from domainjepa.data.storage.large import lines
from domainjepa.errors import DataError, UserError

Part = tuple[str, ImageHDU]
"""A file below the root, and the image in it."""
Object = tuple[Part, ...] | DataError
"""The images whose planes, one after the other, are a sample's channels; or why it has none."""


@dataclass(kw_only=True)
class FITSSource(Source):
    """Images of FITS files; each is opened as it is read.

    Attributes:
        root: the folder of the files.
        objects: one for each sample, or the one cube whose planes are the samples.
        axes: of every image, a letter each, as in `fits_bands`.
        planes: of a cube, those that are kept; None for all.
        columns: values of header keywords, one for each sample.
        names: the file of each sample, of several its first; None where one file holds all.
    """

    root: Path = field(repr=False)
    objects: list[Object] = field(repr=False)
    axes: str
    planes: tuple[int, ...] | None = None
    max_sample_bytes: int
    columns: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    names: Sequence[str] | None = field(default=None, repr=False)
    _recent: Recent = field(default_factory=Recent, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        first = self.objects[0]
        if "N" in self.axes and not isinstance(first, DataError):
            return first[0][1].shape[0]
        return len(self.objects)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [self._read(int(index)) for index in indices]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self._read(index, [slice(*ends) for ends in zip(start, stop, strict=True)])

    def parts(self, index: int) -> tuple[Part, ...]:
        """The images of a sample."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        parts = self.objects[0 if "N" in self.axes else index]
        if isinstance(parts, DataError):
            raise DataError(f"sample {index}: {parts}")
        return parts

    def _read(self, index: int, window: Sequence[slice] = ()) -> Image:
        """A sample, or the window along (H, W) or (D, H, W) of it."""
        self.check_size(index, window)
        return self.pixels(index, window)

    def pixels(self, index: int, window: Sequence[slice]) -> Image:
        """A window along (H, W) or (D, H, W) of the images of a sample, all where it is empty."""
        where: dict[str, slice | int] = {"N": index}
        where |= zip([axis for axis in self.axes if axis in "DHW"], window, strict=False)
        images = []
        for name, hdu in self.parts(index):
            try:
                image = fits_pixels.pixels(
                    self.root / name, hdu, self.axes, where, self.planes, recent=self._recent
                )
            except Exception as error:  # damaged tiles and gzips raise whatever comes to hand
                said = str(error) if isinstance(error, UserError) else reason(error)
                raise DataError(
                    f"sample {index}, HDU {hdu.number} of {name}, cannot be read: {said}"
                ) from error
            images.append(image)
        image = images[0] if len(images) == 1 else np.concatenate(images, axis=-1)
        return image.astype(self.dtype, copy=False)

    def sides(self, index: int) -> tuple[int, ...]:
        _, hdu = self.parts(index)[0]
        return tuple(side for axis, side in zip(self.axes, hdu.shape, strict=True) if axis in "DHW")

    def chunks(self, index: int) -> tuple[int, ...] | None:
        _, hdu = self.parts(index)[0]
        if hdu.storage != "plain":
            return None
        kept = [place for place, axis in enumerate(self.axes) if axis in "DHW"]
        whole = lines(hdu.shape, hdu.stored.itemsize)
        return tuple(whole[place] for place in kept)

    def check_size(self, index: int, window: Sequence[slice] = ()) -> None:
        """Raises DataError before anything is allocated that only a header asks for."""
        parts, sides = self.parts(index), self.sides(index)
        window = window or [slice(None)] * len(sides)
        size = math.prod(len(range(side)[one]) for side, one in zip(sides, window, strict=True))
        size *= self.channels * max(self.dtype.itemsize, parts[0][1].stored.itemsize)
        if size > self.max_sample_bytes:
            raise DataError(
                f"sample {index} of {self.name} would take {size:,} bytes, more than "
                f"{self.max_sample_bytes:,}. Cut it into tiles: --set data.tile=256; or, if it is "
                f"meant whole: --set data.max_sample_bytes={size}"
            )

    def read_column(self, name: str) -> NDArray[Any]:
        """A header keyword in lower case, (N,).

        Numbers are float64, NaN where a file has none, or int64; RA and DEC are degrees.
        """
        return self.columns[name] if name in self.columns else super().read_column(name)

    def file_names(self) -> Sequence[str] | None:
        return self.names

    def content_key(self) -> str:
        """The content of the files, of many their names, and what is read of them."""
        parts = [part for one in self.objects if not isinstance(one, DataError) for part in one]
        names = list(dict.fromkeys(name for name, _ in parts))
        chosen = f"{self.axes} {self.planes} {[hdu.number for _, hdu in parts[:16]]}"
        if len(names) == 1:
            return f"{content_digest(self.root / names[0])} {chosen}"
        return f"{files_digest(self.root, names)} {chosen}"


def as_column(name: str, cards: Sequence[Any]) -> NDArray[Any]:
    """Values of one keyword, None where there is none -> int64, float64, or strings."""
    told = [card for card in cards if card is not None]
    if all(isinstance(card, int | float) for card in told):
        if len(told) == len(cards) and all(isinstance(card, int) for card in told):
            return np.array(cards, np.int64)
        return np.array([np.nan if card is None else card for card in cards], np.float64)
    if name in ("RA", "DEC"):
        return np.array([_degrees(name, card) for card in cards], np.float64)
    return np.array(["" if card is None else str(card) for card in cards])


def _degrees(name: str, card: Any) -> float:
    """An angle as observatories write it: a number of degrees, or 12:34:56.7 (of RA, in hours)."""
    from astropy.coordinates import Angle

    if card is None or isinstance(card, int | float):
        return np.nan if card is None else float(card)
    try:
        return float(Angle(card, unit="hourangle" if name == "RA" else "deg").deg)
    except ValueError:
        return np.nan
