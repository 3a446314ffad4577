"""Slices and volumes of DICOM files, read as they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.identity import files_digest
from domainjepa.data.formats.dicom.pixels import read_frames
from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError


@dataclass(kw_only=True)
class DicomSource(Source):
    """Slices, or single images and frames, in the order of their stacks.

    Attributes:
        where: (N, 2) which file, and which of its frames.
        scales: (N, 2) slope and intercept; NaN where a table takes their place.
        sizes: (N, 2) rows and columns.
        damaged: file -> why it cannot be read, of files that stay in their place.
    """

    root: Path = field(repr=False)
    files: list[str] = field(repr=False)
    where: NDArray[np.int32] = field(repr=False)
    scales: NDArray[np.float64] = field(repr=False)
    sizes: NDArray[np.int32] = field(repr=False)
    max_sample_bytes: int
    damaged: dict[int, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.where)

    def sides(self, index: int) -> tuple[int, ...]:
        return tuple(self.sizes[index].tolist())

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return list(self.images(indices))

    def images(self, indices: Iterable[int]) -> Iterator[Image]:
        """One by one; neighbours out of one file take one opening of it."""
        for file, rows in groupby(map(int, indices), key=self._file):
            yield from self._read(file, list(rows))

    def _file(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"sample {row} of {self.name}, which has {len(self)}")
        return int(self.where[row, 0])

    def _read(self, file: int, rows: list[int]) -> Iterator[Image]:
        name = self.files[file]
        if file in self.damaged:
            leaf = name.rpartition("/")[2]
            raise DataError(f"sample {rows[0]}, {leaf}{self.damaged[file]}")
        scales = [
            [] if np.isnan(self.scales[row, 0]) else self.scales[row].tolist() for row in rows
        ]
        frames = self.where[rows, 1].tolist()
        done = 0
        try:
            for image in read_frames(self.root / name, frames, scales, self.max_sample_bytes):
                expected = (*self.sizes[rows[done]].tolist(), self.channels)
                if image.shape != expected:
                    raise DataError(f"its size is {image.shape}, not {expected} any more")
                yield image.astype(self.dtype, copy=False)
                done += 1
        except (DataError, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            leaf = name.rpartition("/")[2]
            raise DataError(f"sample {rows[done]}, {leaf}, cannot be read: {said}.") from error

    def file_names(self) -> Sequence[str]:
        return [self.files[file] for file in self.where[:, 0].tolist()]

    def content_key(self) -> str:
        """The names and the content of the files, and what is read of them."""
        chosen = hashlib.sha256(self.where.tobytes() + self.scales.tobytes()).hexdigest()
        return f"{files_digest(self.root, self.files)} {chosen}"


@dataclass(kw_only=True)
class DicomVolumes(Source):
    """Stacks of slices as volumes (D, H, W, C), from the foot of the normal upwards.

    Attributes:
        slices: of all volumes, one after the other.
        edges: (N, 2) first slice of each volume, and the one behind its last.
        affines: (N, 4, 4) voxel (d, h, w, 1) -> millimetres in the patient.
        axes: names of D, H, W by the slices that each counts, such as axial; None where volumes
            differ in it.
        directions: where D, H, W lead in the patient, such as S, P, L; None likewise.
    """

    slices: DicomSource = field(repr=False)
    edges: NDArray[np.int64] = field(repr=False)
    affines: NDArray[np.float64] = field(repr=False)
    axes: tuple[str, str, str] | None = None
    directions: tuple[str, str, str] | None = None

    def __len__(self) -> int:
        return len(self.edges)

    def sides(self, index: int) -> tuple[int, ...]:
        first, last = self.edges[index].tolist()
        return (last - first, *self.slices.sides(first))

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [self.region(int(index), (0, 0, 0), self._whole(int(index))) for index in indices]

    def file_names(self) -> Sequence[str]:
        """The first slice's of each volume."""
        names = self.slices.file_names()
        return [names[first] for first in self.edges[:, 0].tolist()]

    def _whole(self, index: int) -> tuple[int, ...]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        return self.sides(index)

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        """A part of one volume; slices outside of it are not read."""
        (_, *first), (_, *last) = start, stop
        inside = tuple(slice(one, other) for one, other in zip(first, last, strict=True))
        rows = range(*self.edges[index].tolist())[start[0] : stop[0]]
        sides = np.empty(self.sides(index)[1:])[inside].shape if rows else (0, 0)
        block = np.empty((len(rows), *sides, self.channels), self.dtype)
        for place, image in enumerate(self.slices.images(rows)):
            block[place] = image[inside]
        return block

    def content_key(self) -> str:
        return f"{self.slices.content_key()} {self.edges.tolist()}"
