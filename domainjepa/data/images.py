"""Files of pictures: JPEG, PNG, TIFF. In a folder each file is one sample, the sub-folder is its
class and `train/ val/ test/` a split; a single TIFF file is a stack of samples.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from domainjepa.data import tiff
from domainjepa.data.damage import reason
from domainjepa.data.folder import FilesSource, read_folders, refuse_names, warn_of_links
from domainjepa.data.listing import ends_in, list_files
from domainjepa.data.source import Image, Loader, OpenOptions, Source, spread
from domainjepa.data.stack import open_stack
from domainjepa.errors import DataError, MissingExtra

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "TIFF")
"""Of Pillow's decoders only these are let near a file."""
MOST_HEADERS = 64
"""Files that are looked at when a folder is opened; the others are checked as they are read."""


class Kind(NamedTuple):
    """What the pixels of a file become."""

    dtype: str
    channels: int


GREY, COLOUR = Kind("uint8", 1), Kind("uint8", 3)
KINDS = {
    **dict.fromkeys(("1", "L", "LA", "La"), GREY),
    **dict.fromkeys(
        ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"), COLOUR
    ),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), Kind("uint16", 1)),
    "I": Kind("int32", 1),
    "F": Kind("float32", 1),
}
"""Pillow's mode -> kind."""
BITS, PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 338, 339
"""Tags of TIFF."""
BLACK_IS_ZERO = 1
DEEP = "16-bit colour PNG files are read as 8 bits; keep 16 bits as TIFF, .npy or HDF5"


@dataclass(kw_only=True)
class ImagesSource(FilesSource):
    """Image files below a folder, in the order of their names."""

    kind: Kind
    options: OpenOptions = field(repr=False)

    def read(self, path: Path) -> Image:
        return _decode(path, self.kind, self.options)

    def sides(self, index: int) -> tuple[int, ...]:
        try:
            return _header(self.root / self.files[index], self.options)[0][:-1]
        except Exception:  # reading it tells why
            return super().sides(index)


class ImagesLoader(Loader):
    """Opens folders and lists of image files, and a single TIFF file."""

    name = "images"
    title = "a folder of JPEG, PNG or TIFF"
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
        return self.open_files(path.parent, [path.name], options)

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
            raise DataError(f"sample {index}, {name}, cannot be read: {reason(error)}") from error
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
        image = _plain(file)
        if image is not None:
            kind = _kind(image)
            remark = ""
            if ";16" in str(image.tile[:1]) and kind == COLOUR:
                remark = DEEP
            elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
                remark = "transparency is left out"
            return (image.height, image.width, kind.channels), kind.dtype, remark
    with tiff.opened(path, options) as series:
        return series.shape, series.dtype.name, str(series)


def _decode(path: Path, kind: Kind, options: OpenOptions) -> Image:
    """(H, W, C) of one file; raises DataError and whatever the decoder raises."""
    with path.open("rb") as file:
        image = _plain(file)
        if image is not None:
            _check_kind(_kind(image), kind)
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
        return series.read()


def _check_kind(own: Kind, first: Kind) -> None:
    if own == first or {own, first} == {GREY, COLOUR}:
        return
    if own.dtype != first.dtype:
        raise DataError(f"it is {own.dtype}, the first file is {first.dtype}")
    raise DataError(f"it has {own.channels} channels, the first file has {first.channels}")


def _plain(file: IO[bytes]) -> ImageFile | None:
    """The image by Pillow, its pixels not yet read; None for a TIFF that tifffile has to read.

    Raises:
        DataError: it is of none of the formats.
    """
    is_tiff = file.read(4) in tiff.MAGIC
    file.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):  # of damaged EXIF, which is not read
            image = Pillow.open(file, formats=FORMATS)
    except (UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        if is_tiff:  # tifffile reads more, and sizes are checked
            return None
        if isinstance(error, Pillow.DecompressionBombError):
            raise
        raise DataError("it is no JPEG, PNG or TIFF") from error
    return image if not isinstance(image, TiffImageFile) or _pillow_reads(image) else None


def _pillow_reads(image: TiffImageFile) -> bool:
    """Whether Pillow reads a TIFF in full: one page of 8 bits, or grey of 16 bits or float32.

    It makes 16-bit colour 8-bit, leaves a fourth band out, and does not turn deep white-is-zero.
    """
    if image.n_frames > 1 or image.mode not in KINDS or 0 in image.tag_v2.get(EXTRA_SAMPLES, ()):
        return False
    if max(image.tag_v2.get(BITS, (1,))) <= 8:
        return set(image.tag_v2.get(SAMPLE_FORMAT, (1,))) == {1}
    deep = image.mode in ("I;16", "I;16B", "F")
    return deep and image.tag_v2.get(PHOTOMETRIC) == BLACK_IS_ZERO


def _kind(image: Pillow.Image) -> Kind:
    if image.mode not in KINDS:
        raise DataError(f"pixels of the kind {image.mode!r} are not read")
    return KINDS[image.mode]
