"""A folder of JPEG, PNG or TIFF files: the sub-folder is the class, `train/ val/ test/` a split."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ImageFile import ImageFile

from domainjepa.data.columns import SPLITS, counts
from domainjepa.data.damage import reason
from domainjepa.data.source import Image, Loader, OpenOptions, Source, spread
from domainjepa.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "TIFF")
"""Of Pillow's decoders only these are let near a file."""
MOST_HEADERS = 64
"""Files that are looked at when a folder is opened; the others are checked as they are read."""
MOST_TIMES = 10_000
"""Files whose size and time go into the content key."""


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
class ImagesSource(Source):
    """Image files below a folder, in the order of their names; opened as they are read."""

    root: Path = field(repr=False)
    files: list[str] = field(repr=False)
    kind: Kind
    max_sample_bytes: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [self._read(int(index)) for index in indices]

    def _read(self, index: int) -> Image:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        name = self.files[index]
        try:
            with self.root.joinpath(name).open("rb") as file:
                return _decode(file, self.kind, self.max_sample_bytes)
        except Exception as error:  # decoders raise whatever comes to hand on damaged files
            raise DataError(f"sample {index}, {name}, cannot be read: {reason(error)}") from error

    def content_key(self) -> str:
        """All names, size and time of at most 10,000 files."""
        digest = hashlib.sha256("\0".join(self.files).encode("utf-8", "surrogateescape"))
        for index in spread(len(self), MOST_TIMES):
            status = self.root.joinpath(self.files[index]).stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


class ImagesLoader(Loader):
    """Opens folders of image files."""

    name = "images"
    title = "a folder of JPEG, PNG or TIFF"

    def sniff(self, path: Path, head: bytes) -> bool:
        return path.is_dir() and next(_image_files(path), None) is not None

    def open(self, path: Path, options: OpenOptions) -> Source:
        for role in ("images", "labels", "groups", "split"):
            if getattr(options, role) is not None:
                raise DataError(f"data.{role} names an array in a file; {path.name} is a folder.")
        root = path.resolve()
        files: list[str] = []
        links = 0
        for file in _image_files(root):
            linked = root.joinpath(file).is_symlink()
            inside = linked and root.joinpath(file).resolve().is_relative_to(root)
            if linked and not (inside and options.follow_links):
                links += 1
            else:
                files.append(file)
        if not files:
            raise DataError(
                f"{root.name} holds no images: no file ends in {', '.join(SUFFIXES)}"
                + (f"; {links:,} symbolic links are not followed." if links else ".")
            )
        files.sort()
        source = ImagesSource(
            name=root.name,
            loader=self.name,
            shape=(0, 0, 0),
            dtype=np.dtype("uint8"),
            root=root,
            files=files,
            kind=GREY,
            max_sample_bytes=options.max_sample_bytes,
        )
        if links:
            source.warnings.append(
                f"{links:,} symbolic links are not followed; copy the files into the folder"
            )
        _look_at_headers(source)
        _read_folders(source)
        return source


def _image_files(root: Path) -> Iterator[str]:
    """Relative names of what ends like an image; no hidden file, no link to a folder."""
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(folder).relative_to(root)
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield inside.joinpath(name).as_posix()


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


def _read_folders(source: ImagesSource) -> None:
    """Sets split, labels and classes by the names of the folders."""
    folders = [name.split("/")[:-1] for name in source.files]
    parts = [SPLITS.get(folder[0].lower()) if folder else None for folder in folders]
    known = [part for part in parts if part]
    if len(known) == len(parts):
        source.split = np.array(known)
        source.decisions.append(f"split: by folder, {counts(source.split)}")
        folders = [folder[1:] for folder in folders]
    names = {folder[0] if folder else "" for folder in folders}
    if "" in names or len(names) < 2:
        source.decisions.append("labels: none; the images do not all lie in sub-folders of classes")
    elif len(names) > max(20, len(source) // 2):
        source.decisions.append(f"labels: none; {len(names):,} sub-folders are no classes")
    else:
        source.classes = tuple(sorted(names))
        number = {name: index for index, name in enumerate(source.classes)}
        source.labels = np.array([number[folder[0]] for folder in folders], dtype=np.int64)
        source.decisions.append(f"labels: by folder, {len(names)} classes")


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
