"""Samples out of FITS images: one a file, one an HDU, or the planes of a cube."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.damage import reason
from domainjepa.data.fits_headers import ImageHDU
from domainjepa.data.fits_pixels import pixels
from domainjepa.data.folder import MOST_TIMES
from domainjepa.data.source import Image, Source, content_digest, spread
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
    """

    root: Path = field(repr=False)
    objects: list[Object] = field(repr=False)
    axes: str
    planes: tuple[int, ...] | None = None
    cards: dict[str, list[Any]] = field(default_factory=dict, repr=False)
    max_sample_bytes: int

    def __len__(self) -> int:
        first = self.objects[0]
        if "N" in self.axes and not isinstance(first, DataError):
            return first[0][1].shape[0]
        return len(self.objects)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [self._read(int(index)) for index in indices]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self._read(index, [slice(*ends) for ends in zip(start, stop, strict=True)])

    def _read(self, index: int, window: Sequence[slice] = ()) -> Image:
        """A sample, or the window along (H, W) or (D, H, W) of it."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        parts = self.objects[0 if "N" in self.axes else index]
        if isinstance(parts, DataError):
            raise DataError(f"sample {index}: {parts}")
        where: dict[str, slice | int] = {"N": index}
        where |= zip([axis for axis in self.axes if axis in "DHW"], window, strict=False)
        images = []
        for name, hdu in parts:
            try:
                self._check_size(hdu, where)
                image = pixels(self.root / name, hdu, self.axes, where, self.planes)
            except Exception as error:  # damaged tiles and gzips raise whatever comes to hand
                said = str(error) if isinstance(error, UserError) else reason(error)
                raise DataError(
                    f"sample {index}, HDU {hdu.number} of {name}, cannot be read: {said}"
                ) from error
            images.append(image)
        image = images[0] if len(images) == 1 else np.concatenate(images, axis=-1)
        return image.astype(self.dtype, copy=False)

    def _check_size(self, hdu: ImageHDU, where: dict[str, slice | int]) -> None:
        """Raises DataError before anything is allocated that only a header asks for."""
        size = hdu.dtype.itemsize
        for axis, side in zip(self.axes, hdu.shape, strict=True):
            part = where.get(axis, slice(None))
            size *= len(range(side)[part]) if isinstance(part, slice) else 1
        if size > self.max_sample_bytes:
            raise DataError(
                f"it would take {size:,} bytes, more than {self.max_sample_bytes:,}. Cut it into "
                "tiles: --set data.tile=256; or, if it is meant whole: "
                f"--set data.max_sample_bytes={size}"
            )

    def column(self, name: str) -> NDArray[Any]:
        """A header keyword of each sample's first file, in lower case.

        Numbers are float64, NaN where a file has none; RA and DEC are degrees.
        """
        if name not in self.cards:
            return super().column(name)
        return as_column(name, self.cards[name])

    def content_key(self) -> str:
        """One file's content, or all names and size and time of at most 10,000; and what is read."""
        parts = [part for one in self.objects if not isinstance(one, DataError) for part in one]
        names = list(dict.fromkeys(name for name, _ in parts))
        chosen = f"{self.axes} {self.planes} {[hdu.number for _, hdu in parts[:16]]}"
        if len(names) == 1:
            return f"{content_digest(self.root / names[0])} {chosen}"
        digest = hashlib.sha256("\0".join([chosen, *names]).encode("utf-8", "surrogateescape"))
        for index in spread(len(names), MOST_TIMES):
            status = self.root.joinpath(names[index]).stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


def as_column(name: str, cards: list[Any]) -> NDArray[Any]:
    """Values of one keyword -> float64, or strings where one of them is no number."""
    numbers = [card for card in cards if card is not None]
    if all(isinstance(card, int | float) for card in numbers):
        return np.array([np.nan if card is None else card for card in cards], np.float64)
    if name in ("ra", "dec"):
        return np.array([_degrees(name, card) for card in cards], np.float64)
    return np.array(["" if card is None else str(card) for card in cards])


def _degrees(name: str, card: Any) -> float:
    """An angle as observatories write it: a number of degrees, or 12:34:56.7 (of RA, in hours)."""
    from astropy.coordinates import Angle

    if card is None or isinstance(card, int | float):
        return np.nan if card is None else float(card)
    try:
        return float(Angle(card, unit="hourangle" if name == "ra" else "deg").deg)
    except ValueError:
        return float("nan")
