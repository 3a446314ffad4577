"""A folder or a list of NumPy files: one `.npy` or `.npz` file is one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from domainjepa.data.files.damage import unreadable, unreadable_seen
from domainjepa.data.files.folder import FilesSource
from domainjepa.data.formats.arrays.members import (
    MAGIC,
    UNREADABLE,
    Member,
    in_archive,
    in_array,
    size_of,
    verify,
)
from domainjepa.data.source import Image, OpenOptions, Source, spread
from domainjepa.data.storage.layout import Array, Layout, dimensions_of, pick_images
from domainjepa.errors import DataError

MOST_HEADERS = 64
"""Files that are looked at when a folder is opened; the others are checked as they are read."""


class Sample(NamedTuple):
    """The array of one file, by its header."""

    member: Member
    layout: Layout

    @property
    def kind(self) -> tuple[str, int, int]:
        """What all files must have in common."""
        dtype = self.member.dtype.newbyteorder("=").name
        return dtype, len(self.layout.shape), self.layout.shape[-1]

    def read(self, window: tuple[slice, ...] = ()) -> Image:
        """The sample, or a part of it."""
        if not window:
            verify(self.member)
        stored = self.member.open()[self.layout.within(*window) if window else ()]
        native = np.array(stored[None], self.member.dtype.newbyteorder("="))
        image: Image = self.layout.images(native)[0]
        return image


@dataclass(kw_only=True)
class ArrayFilesSource(FilesSource):
    """Arrays (H, W), (H, W, C), (C, H, W), or the same with D before H, one a file."""

    dimensions: int

    def read(self, path: Path) -> Image:
        return self._checked(path).read()

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        window = tuple(map(slice, start, stop))
        return self._told(index, lambda path: self._checked(path).read(window))

    def sides(self, index: int) -> tuple[int, ...]:
        return self._checked(self.root / self.files[index]).layout.shape[:-1]

    def _checked(self, path: Path) -> Sample:
        sample = look(path, self.dimensions, self.max_sample_bytes)
        self.check(sample)
        return sample

    def check(self, sample: Sample) -> None:
        """Raises DataError where a sample is not like the first."""
        first = (self.dtype.name, len(self.shape), self.channels)
        if sample.kind != first:
            raise DataError(
                f"it is {sample.member.shape} {sample.kind[0]} with {sample.kind[2]} channels, the "
                f"first file is {first[0]} with {first[2]}"
            )


def look(path: Path, dimensions: int, most: int) -> Sample:
    """The array in a file that is one image, or one volume, by the headers.

    Raises:
        DataError: damaged, none or several arrays of that shape, or larger than `most` bytes.
    """
    with unreadable(UNREADABLE, path.name):
        with path.open("rb") as file:
            is_array = file.read(len(MAGIC)) == MAGIC
        members = in_array(path) if is_array else in_archive(path)
    arrays = {name: Array((1, *one.shape), one.dtype) for name, one in members.items()}
    dimensions = dimensions_of(arrays, None, dimensions)
    name, layout = pick_images(arrays, None, path.name, dimensions)
    size = size_of(members[name].shape, members[name].dtype)
    if size > most:
        raise DataError(
            f"{path.name} would take {size:,} bytes, more than {most:,}. If that is meant: "
            f"--set data.max_sample_bytes={size}"
        )
    return Sample(members[name], layout)


def open_array_files(root: Path, files: Sequence[str], options: OpenOptions) -> Source:
    """One sample a file, in this order; some of the headers are looked at.

    Raises:
        DataError: none of them can be read, or they differ in dtype or channels.
    """
    seen, bad, selection = {}, [], spread(len(files), MOST_HEADERS)
    for at in selection:
        try:
            seen[at] = look(root / files[at], options.dimensions, options.max_sample_bytes)
        except DataError as error:
            bad.append(error)
    if not seen:
        raise bad[0]
    first = next(iter(seen.values()))
    source = ArrayFilesSource(
        name=root.name,
        loader="arrays",
        shape=first.layout.shape,
        dtype=first.member.dtype.newbyteorder("="),
        root=root,
        files=list(files),
        dimensions=options.dimensions,
        max_sample_bytes=options.max_sample_bytes,
    )
    for sample in seen.values():
        source.check(sample)
    sizes = {sample.layout.shape[:-1] for sample in seen.values()}
    source.decisions.append(f"images: {len(source):,} files, {source.dtype} ({first.layout})")
    if len(sizes) > 1:
        source.decisions.append(f"sizes differ: {len(sizes)} seen; the shape is the first's")
    if bad:
        source.warnings.append(unreadable_seen(len(bad), len(selection)))
    return source
