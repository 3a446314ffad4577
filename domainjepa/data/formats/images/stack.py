"""A single TIFF file whose pages are the samples: a stack of a microscope, a film, a mosaic."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainjepa.data.files.damage import reason
from domainjepa.data.files.identity import content_digest
from domainjepa.data.formats.images.tiff import Series, open_file, opened
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.errors import DataError, MissingExtra, UserError

if TYPE_CHECKING:
    from tifffile import TiffFile


@dataclass(kw_only=True)
class StackSource(Source):
    """The pages of one TIFF file."""

    path: Path = field(repr=False)
    options: OpenOptions = field(repr=False)
    samples: int
    _opened: tuple[int, TiffFile, Series] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return self.samples

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _series(self) -> Series:
        if self._opened is None or self._opened[0] != os.getpid():
            file = open_file(self.path)
            self._opened = (os.getpid(), file, Series(file, self.options, whole=False))
        return self._opened[2]

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [self._read(int(index)) for index in indices]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self._read(int(index), tuple(map(slice, start, stop)))

    def sides(self, index: int) -> tuple[int, ...]:
        return self.shape[:-1]

    def chunks(self, index: int) -> tuple[int, ...]:
        with _readable(self.path.name):
            return self._series().chunks

    def _read(self, index: int, window: tuple[slice, ...] = ()) -> Image:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        with _readable(f"page {index} of {self.path.name}"):
            return self._series().read(index, window)

    def content_key(self) -> str:
        """The file's content, and what is read of it."""
        return f"{content_digest(self.path)} {self.options.images} {self.options.axis}"


def open_stack(path: Path, options: OpenOptions) -> Source:
    """One TIFF file, each page a sample: `data.axis = "bands"` makes them channels of one sample,
    `data.dimensions = 3` the depth of a volume.

    Raises:
        DataError: damaged, of several series, or of too large pages.
    """
    with _readable(path.name), opened(path, options, whole=False) as series:
        told = f"images: {series.samples:,} of one TIFF file, {series.dtype}"
        return StackSource(
            name=path.stem,
            loader="images",
            shape=series.shape,
            dtype=series.dtype,
            samples=series.samples,
            path=path,
            options=options,
            decisions=[", ".join(filter(None, (told, str(series))))],
        )


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """Decoders raise whatever comes to hand on damaged files: told as one error."""
    try:
        yield
    except MissingExtra:
        raise
    except Exception as error:
        said = str(error) if isinstance(error, UserError) else reason(error)
        raise DataError(f"{what} cannot be read: {said}") from error
