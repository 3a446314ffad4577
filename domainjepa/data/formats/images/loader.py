"""Files of pictures: JPEG, PNG, TIFF and others. In a folder each file is one sample, the
sub-folder is its class and `train/ val/ test/` a split; a single TIFF file is a stack of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.folder import FilesSource, read_folders, refuse_names
from domainjepa.data.files.gathering import gather
from domainjepa.data.files.listing import ends_in
from domainjepa.data.formats.images import tiff
from domainjepa.data.formats.images.mask import read_mask
from domainjepa.data.formats.images.picture import MOST_HEADERS, Header, decode, header, survey
from domainjepa.data.formats.images.plain import Kind, is_picture
from domainjepa.data.formats.images.stack import open_stack
from domainjepa.data.remote.path import RemotePath, fetch_files
from domainjepa.data.source import Image, Loader, OpenOptions, Source, spread
from domainjepa.errors import DataError

TIFF = (".tif", ".tiff", ".svs")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif"),
    *(".jp2", ".j2k", ".jpc", ".jpx", *TIFF),
)


@dataclass(kw_only=True)
class ImagesSource(FilesSource):
    """Image files below a folder, in the order of their names."""

    kind: Kind
    options: OpenOptions = field(repr=False)

    def read(self, path: Path) -> Image:
        with path.open("rb") as file:
            image = decode(file, self.kind, self.options)
        if image.ndim != len(self.shape):
            raise DataError("it is an image, and the first file a volume, or the other way round")
        return image

    def sides(self, index: int) -> tuple[int, ...]:
        try:
            return self._header(index).shape[:-1]
        except Exception:  # reading it tells why
            return super().sides(index)

    def chunks(self, index: int) -> tuple[int, ...] | None:
        if not (self._in_parts and ends_in(self.files[index], TIFF)):
            return None
        path = self.root / self.files[index]
        with path.open("rb") as file, tiff.opened(file, self.options) as series:
            return series.chunks

    def _header(self, index: int) -> Header:
        with self.root.joinpath(self.files[index]).open("rb") as file:
            return header(file, self.options)

    @property
    def reads_parts(self) -> bool:
        """TIFF that is cut into tiles is read by its own tiles or strips."""
        return self._in_parts and ends_in(self.files[0], TIFF)

    @property
    def _in_parts(self) -> bool:
        return not self.options.read_whole(volumetric=False)

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        if not (self._in_parts and ends_in(self.files[index], TIFF)):
            return super().region(index, start, stop)
        window = tuple(map(slice, start, stop))

        def read(path: Path) -> Image:
            with path.open("rb") as file:
                return decode(file, self.kind, self.options, window)

        return self._told(index, read)


class ImagesLoader(Loader):
    """Opens folders and lists of image files, and a single TIFF file."""

    name = "images"
    title = "JPEG, PNG, TIFF, BMP, WebP, GIF or JPEG 2000"
    suffixes = SUFFIXES

    def sniff(self, path: Path, head: bytes) -> bool:
        return is_picture(head)

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        return any(ends_in(name, SUFFIXES) for name in names)

    def open(self, path: Path, options: OpenOptions) -> Source:
        refuse_names(path, options)
        if path.is_file():
            return self._open_one(path, options)
        found = gather(path, self, options)
        source = found.open(partial(self.open_files, found.root))
        read_folders(source, found.names)
        return source

    def _open_one(self, path: Path, options: OpenOptions) -> Source:
        with path.open("rb") as file:
            if file.read(4) in tiff.MAGIC:
                return open_stack(path, options)
        if options.read_whole(volumetric=False):
            raise DataError(
                f"{path.name} is one image; give the folder of the images, or cut it into samples: "
                "--set data.tile=256"
            )
        source = self.open_files(path.resolve().parent, [path.resolve().name], options)
        source.name = path.stem
        return source

    def read_mask(self, root: Path, file: str, options: OpenOptions) -> NDArray[Any]:
        return read_mask(root / file, options)

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        source = ImagesSource(
            name=root.name,
            loader=self.name,
            shape=(0, 0, 0),
            dtype=np.dtype("uint8"),
            root=root,
            files=list(files),
            kind=Kind("uint8", 1),
            options=options,
            max_sample_bytes=options.max_sample_bytes,
        )
        first = spread(len(files), MOST_HEADERS) if isinstance(root, RemotePath) else []
        fetch_files((root / files[row] for row in first), small=True)
        found = survey(len(source), source._header, source.files.__getitem__)
        source.kind, source.shape = found.first.kind, found.first.shape
        source.dtype = np.dtype(found.first.dtype)
        source.decisions += found.decisions
        source.warnings += found.warnings
        return source
