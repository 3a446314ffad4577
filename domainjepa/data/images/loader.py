"""Files of pictures: JPEG, PNG, TIFF. In a folder each file is one sample, the sub-folder is its
class and `train/ val/ test/` a split; a single TIFF file is a stack of samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from domainjepa.data.damage import reason
from domainjepa.data.folder import FilesSource, read_folders, refuse_names, warn_of_links
from domainjepa.data.images import tiff
from domainjepa.data.images.plain import COLOUR, GREY, Kind, kind_of, plain
from domainjepa.data.images.stack import open_stack
from domainjepa.data.listing import ends_in, list_files
from domainjepa.data.source import Image, Loader, OpenOptions, Source, spread
from domainjepa.errors import DataError, MissingExtra, UserError

TIFF = (".tif", ".tiff", ".svs")
SUFFIXES = (".jpg", ".jpeg", ".png", *TIFF)
MOST_HEADERS = 64
"""Files that are looked at when a folder is opened; the others are checked as they are read."""
DEEP = "16-bit colour PNG files are read as 8 bits; keep 16 bits as TIFF, .npy or HDF5"


@dataclass(kw_only=True)
class ImagesSource(FilesSource):
    """Image files below a folder, in the order of their names."""

    kind: Kind
    options: OpenOptions = field(repr=False)

    def read(self, path: Path) -> Image:
        image = _decode(path, self.kind, self.options)
        if image.ndim != len(self.shape):
            raise DataError("it is an image, and the first file a volume, or the other way round")
        return image

    def sides(self, index: int) -> tuple[int, ...]:
        try:
            return _header(self.root / self.files[index], self.options)[0][:-1]
        except Exception:  # reading it tells why
            return super().sides(index)

    @property
    def reads_parts(self) -> bool:
        """TIFF that is cut into tiles is read by its own tiles or strips."""
        return self.options.tile is not None and ends_in(self.files[0], TIFF)

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        if not (self.options.tile and ends_in(self.files[index], TIFF)):
            return super().region(index, start, stop)
        window = tuple(map(slice, start, stop))
        return self._told(index, lambda path: _decode(path, self.kind, self.options, window))


class ImagesLoader(Loader):
    """Opens folders and lists of image files, and a single TIFF file."""

    name = "images"
    title = "JPEG, PNG or TIFF"
    suffixes = SUFFIXES

    def sniff(self, path: Path, head: bytes) -> bool:
        # A DICOM file may begin like a TIFF: both are found at their own places.
        is_tiff = head.startswith(tiff.MAGIC) and head[128:132] != b"DICM"
        return is_tiff or head.startswith((b"\xff\xd8\xff", b"\x89PNG"))

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        return any(ends_in(name, SUFFIXES) for name in names)

    def open(self, path: Path, options: OpenOptions) -> Source:
        refuse_names(path, options)
        if path.is_file():
            return self._open_one(path, options)
        found = list_files(path, SUFFIXES, options)
        source = self.open_files(found.root, found.files, options)
        warn_of_links(source, found.links)
        read_folders(source, found.files)
        return source

    def _open_one(self, path: Path, options: OpenOptions) -> Source:
        with path.open("rb") as file:
            if file.read(4) in tiff.MAGIC:
                return open_stack(path, options)
        if options.tile is None:
            raise DataError(
                f"{path.name} is one image; give the folder of the images, or cut it into samples: "
                "--set data.tile=256"
            )
        source = self.open_files(path.resolve().parent, [path.resolve().name], options)
        source.name = path.stem
        return source

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        source = ImagesSource(
            name=root.name,
            loader=self.name,
            shape=(0, 0, 0),
            dtype=np.dtype("uint8"),
            root=root,
            files=list(files),
            kind=GREY,
            options=options,
            max_sample_bytes=options.max_sample_bytes,
        )
        _look_at_headers(source)
        return source


def _look_at_headers(source: ImagesSource) -> None:
    """Sets shape, dtype and kind by the first file; says how others of a selection differ."""
    kinds: Counter[Kind] = Counter()
    sizes: set[tuple[int, ...]] = set()
    remarks: set[str] = set()
    selection = spread(len(source), MOST_HEADERS)
    for index in selection:
        name = source.files[index]
        try:
            shape, dtype, remark = _header(source.root / name, source.options)
        except MissingExtra:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, UserError) else reason(error)
            raise DataError(f"sample {index}, {name}, cannot be read: {said}") from error
        if index == 0:
            source.kind, source.dtype, source.shape = Kind(dtype, shape[-1]), np.dtype(dtype), shape
        kinds[Kind(dtype, shape[-1])] += 1
        sizes.add(shape[:-1])
        remarks.add(remark)
    source.decisions.append(f"images: {len(source):,} files, {source.kind.dtype}")
    if len(sizes) > 1:
        source.decisions.append(
            f"sizes differ: {len(sizes)} among {len(selection)} files; the shape is the first's"
        )
    if len(kinds) > 1:
        word = "colour" if source.kind == COLOUR else "grey"
        source.decisions.append(f"grey and colour are mixed: all become {word}, as the first is")
    for remark in sorted(remarks - {"", DEEP}):
        source.decisions.append(remark)
    if DEEP in remarks:
        source.warnings.append(DEEP)


def _header(path: Path, options: OpenOptions) -> tuple[tuple[int, ...], str, str]:
    """Shape and dtype of one file, and what there is to say about it."""
    with path.open("rb") as file:
        image = plain(file, options)
        if image is not None:
            if options.axis:
                raise DataError(
                    f"data.axis={options.axis} says what the pages of a TIFF are, and this is "
                    f"{image.format}: leave data.axis out"
                )
            kind = kind_of(image)
            remark = ""
            if ";16" in str(image.tile[:1]) and kind == COLOUR:
                remark = DEEP
            elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
                remark = "transparency is left out"
            return (image.height, image.width, kind.channels), kind.dtype, remark
    with tiff.opened(path, options) as series:
        return series.shape, series.dtype.name, str(series)


def _decode(path: Path, kind: Kind, options: OpenOptions, window: tuple[slice, ...] = ()) -> Image:
    """(H, W, C) of one file; raises DataError and whatever the decoder raises."""
    with path.open("rb") as file:
        image = plain(file, options)
        if image is not None:
            if {kind_of(image), kind} != {GREY, COLOUR}:
                _check_kind(kind_of(image), kind)
            size = image.width * image.height * kind.channels * np.dtype(kind.dtype).itemsize
            if size > options.max_sample_bytes:
                raise DataError(
                    f"it would take {size:,} bytes, more than {options.max_sample_bytes:,}; "
                    f"if that is meant: --set data.max_sample_bytes={size}"
                )
            if kind in (GREY, COLOUR):
                array = np.asarray(image.convert("L" if kind == GREY else "RGB"))
            else:
                array = np.asarray(image).astype(kind.dtype, copy=False)
            return array.reshape(*array.shape[:2], kind.channels)
    with tiff.opened(path, options) as series:
        _check_kind(Kind(series.dtype.name, series.shape[-1]), kind)
        return series.read(0, window)


def _check_kind(own: Kind, first: Kind) -> None:
    if own.dtype != first.dtype:
        raise DataError(f"it is {own.dtype}, the first file is {first.dtype}")
    if own.channels != first.channels:
        raise DataError(f"it has {own.channels} channels, the first file has {first.channels}")
