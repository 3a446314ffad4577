"""A folder of JPEG, PNG or TIFF files: the sub-folder is the class, `train/ val/ test/` a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ImageFile import ImageFile

from domainjepa.data.damage import reason
from domainjepa.data.folder import FilesSource, read_folders, warn_of_links
from domainjepa.data.listing import ends_in, list_files
from domainjepa.data.source import Image, Loader, OpenOptions, Source, spread
from domainjepa.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "TIFF")
"""Of Pillow's decoders only these are let near a file."""
MOST_HEADERS = 64
"""Files that are looked at when a folder is opened; the others are checked as they are read."""


class Kind(NamedTuple):
    """What the pixels of a file become."""

    mode: str
    dtype: str
    channels: int


GREY, COLOUR = Kind("L", "uint8", 1), Kind("RGB", "uint8", 3)
KINDS = {
    **dict.fromkeys(("1", "L", "LA", "La"), GREY),
    **dict.fromkeys(
        ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"), COLOUR
    ),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), Kind("I;16", "uint16", 1)),
    "I": Kind("I", "int32", 1),
    "F": Kind("F", "float32", 1),
}
"""Pillow's mode -> kind."""


@dataclass(kw_only=True)
class ImagesSource(FilesSource):
    """Image files below a folder, in the order of their names."""

    kind: Kind

    def read(self, path: Path) -> Image:
        with path.open("rb") as file:
            return _decode(file, self.kind, self.max_sample_bytes)


class ImagesLoader(Loader):
    """Opens folders of image files."""

    name = "images"
    title = "a folder of JPEG, PNG or TIFF"

    def sniff(self, path: Path, head: bytes) -> bool:
        return False

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        return any(ends_in(name, SUFFIXES) for name in names)

    def open(self, path: Path, options: OpenOptions) -> Source:
        for role in ("labels", "groups", "split"):
            if getattr(options, role) is not None:
                raise DataError(f"data.{role} names an array in a file; {path.name} is a folder.")
        found = list_files(path, SUFFIXES, options)
        source = self.open_files(found.root, found.files, options)
        warn_of_links(source, found.links)
        read_folders(source, found.files)
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
            max_sample_bytes=options.max_sample_bytes,
        )
        _look_at_headers(source)
        return source


def _look_at_headers(source: ImagesSource) -> None:
    """Sets shape, dtype and kind by the first file; says how others of a selection differ."""
    kinds: Counter[Kind] = Counter()
    sizes: set[tuple[int, int]] = set()
    modes: set[str] = set()
    selection = spread(len(source), MOST_HEADERS)
    for index in selection:
        name = source.files[index]
        try:
            with (
                source.root.joinpath(name).open("rb") as file,
                _opened(file) as image,
            ):
                kind = _kind(image)
                if image.tile and ";16" in str(image.tile[0].args) and kind == COLOUR:
                    modes.add("16-bit colour")
                modes.add(image.mode)
                size = (image.height, image.width)
        except Exception as error:
            raise DataError(f"sample {index}, {name}, cannot be read: {reason(error)}") from error
        if index == 0:
            source.kind, source.dtype = kind, np.dtype(kind.dtype)
            source.shape = (*size, kind.channels)
        kinds[kind] += 1
        sizes.add(size)
    source.decisions.append(f"images: {len(source):,} files, {source.kind.dtype}")
    if len(sizes) > 1:
        source.decisions.append(
            f"sizes differ: {len(sizes)} among {len(selection)} files; the shape is the first's"
        )
    if len(kinds) > 1:
        word = "colour" if source.kind == COLOUR else source.kind.mode
        source.decisions.append(f"grey and colour are mixed: all become {word}, as the first is")
    if modes & {"RGBA", "RGBa", "LA", "La", "PA"}:
        source.decisions.append("transparency is left out")
    if "16-bit colour" in modes:
        source.warnings.append(
            "16-bit colour files are read as 8 bits; keep 16 bits as .npy, HDF5 or grey files"
        )


def _decode(file: IO[bytes], kind: Kind, most: int) -> NDArray[Any]:
    """(H, W, C) of one file; raises DataError and whatever the decoder raises."""
    with _opened(file) as image:
        own = _kind(image)
        if own != kind and {own, kind} != {GREY, COLOUR}:
            raise DataError(f"it is {own.dtype}, the first file is {kind.dtype}")
        size = image.width * image.height * kind.channels * np.dtype(kind.dtype).itemsize
        if size > most:
            raise DataError(
                f"it would take {size:,} bytes, more than {most:,}; "
                f"if that is meant: --set data.max_sample_bytes={size}"
            )
        if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
            raise DataError("it has several pages; store one image a file")
        pixels = image.convert(kind.mode) if kind in (GREY, COLOUR) else image
        array = np.asarray(pixels)
    array = array.astype(kind.dtype, copy=False)
    return array.reshape(*array.shape[:2], kind.channels)


def _opened(file: IO[bytes]) -> ImageFile:
    try:
        return Pillow.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise DataError("it is no JPEG, PNG or TIFF") from error


def _kind(image: Pillow.Image) -> Kind:
    if image.mode not in KINDS:
        raise DataError(f"pixels of the kind {image.mode!r} are not read")
    return KINDS[image.mode]
