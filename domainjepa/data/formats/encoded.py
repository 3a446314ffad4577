"""Pictures that lie encoded in a larger file: rows of a Parquet file, members of a tar or a ZIP."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from domainjepa.data.files.damage import reason
from domainjepa.data.formats.arrays import stream
from domainjepa.data.formats.images import picture
from domainjepa.data.formats.images.picture import Header
from domainjepa.data.formats.images.plain import Kind
from domainjepa.data.source import Image, OpenOptions, Source, spread
from domainjepa.errors import DataError, MissingExtra, UserError


@dataclass(kw_only=True)
class EncodedSource(Source):
    """Encoded pictures by index: JPEG, PNG, TIFF and the like, or NumPy's `.npy`."""

    kind: Kind = field(default_factory=lambda: Kind("uint8", 1))
    shape: tuple[int, ...] = (0, 0, 0)
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("uint8"))
    options: OpenOptions = field(repr=False)

    @abstractmethod
    def stored(self, rows: Sequence[int]) -> list[bytes | DataError]:
        """The encoded pictures of these rows, each in range; in place of one that is not there,
        why. Rows may come in any order, and twice."""

    @abstractmethod
    def called(self, row: int) -> str:
        """What to call the picture of a row in a message."""

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        self._check(indices)
        contents = self.stored(indices)
        return [self._decoded(*one) for one in zip(indices, contents, strict=True)]

    def try_each(self, rows: Sequence[int]) -> list[Image | DataError]:
        self._check(rows)
        found: list[Image | DataError] = []
        for row, content in zip(rows, self.stored(rows), strict=True):
            try:
                found.append(self._decoded(row, content))
            except DataError as error:
                found.append(error)
        return found

    def sides(self, index: int) -> tuple[int, ...]:
        self._check([index])
        (content,) = self.stored([index])
        try:
            return header(_there(content), self.options).shape[:-1]
        except Exception:  # reading it tells why
            return super().sides(index)

    def look_at_headers(self, what: str) -> None:
        """Sets shape, dtype and kind by the first picture; says how others of a selection differ.

        Args:
            what: the pictures are, such as "rows of 4 Parquet files".
        """
        rows = spread(len(self), picture.MOST_HEADERS)
        contents = dict(zip(rows, self.stored(rows), strict=True))
        found = picture.survey(
            len(self), lambda row: header(_there(contents[row]), self.options), self.called, what
        )
        self.kind, self.shape = found.first.kind, found.first.shape
        self.dtype = np.dtype(found.first.dtype)
        self.decisions += found.decisions
        self.warnings += found.warnings

    def _check(self, rows: Sequence[int]) -> None:
        for row in rows:
            if not 0 <= row < len(self):
                raise IndexError(f"sample {row} of {self.name}, which has {len(self)}")

    def _decoded(self, row: int, content: bytes | DataError) -> Image:
        try:
            image = decode(_there(content), self.kind, self.options)
            if image.ndim != len(self.shape):
                raise DataError("it is an image, and the first a volume, or the other way round")
        except MissingExtra:
            raise
        except Exception as error:  # decoders raise whatever comes to hand on damaged bytes
            said = str(error) if isinstance(error, UserError) else reason(error)
            raise DataError(f"sample {row}, {self.called(row)}, cannot be read: {said}") from error
        return image


def header(content: bytes, options: OpenOptions) -> Header:
    """What one encoded picture is."""
    if content.startswith(stream.MAGIC):
        return stream.header(content, options)
    return picture.header(io.BytesIO(content), options)


def decode(content: bytes, kind: Kind, options: OpenOptions) -> Image:
    """(H, W, C) of one encoded picture, or (D, H, W, C)."""
    if content.startswith(stream.MAGIC):
        picture.check_kind(stream.header(content, options).kind, kind)
        return stream.decode(content, options)
    return picture.decode(io.BytesIO(content), kind, options)


def _there(content: bytes | DataError) -> bytes:
    if isinstance(content, DataError):
        raise content
    return content
