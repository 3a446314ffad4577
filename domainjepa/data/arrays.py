"""NumPy's own files: one array (`.npy`), or an archive of named arrays (`.npz`).

What is stored uncompressed is memory-mapped; a compressed member is loaded once in each process.
Pickled objects are never loaded, and a header is believed only as far as the file can hold it.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.columns import SPLITS, Array, Layout, counts, find_columns, pick_images
from domainjepa.data.source import Image, Loader, OpenOptions, Source
from domainjepa.errors import DataError

UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
"""What zipfile and numpy raise on damaged files."""

MAGIC = b"\x93NUMPY"
MOST_LOADED = 4 * 2**30
"""Bytes of a compressed member, which has to be in memory whole."""
MOST_DEFLATED = 1_100
"""Deflate makes nothing smaller than 1/1032 of its size."""

_PART = re.compile(rf"({'|'.join(SPLITS)})_(.+)|(.+)_({'|'.join(SPLITS)})", re.IGNORECASE)


@dataclass(frozen=True)
class Member:
    """An array in a file, before it is read.

    Attributes:
        path: of the file.
        name: inside the archive; empty for `.npy`.
        offset: of the first value in the file where it can be mapped, else None.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int | None

    def open(self) -> NDArray[Any]:
        """The array, mapped where possible.

        Raises:
            DataError: the bytes are damaged.
        """
        try:
            if self.offset is not None:
                mapped: NDArray[Any] = np.memmap(
                    self.path,
                    dtype=self.dtype,
                    mode="r",
                    offset=self.offset,
                    shape=self.shape,
                    order="F" if self.fortran else "C",
                )
                return mapped
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as stream:
                values: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
                stream.read()  # to the end: only then is the checksum compared
                return values
        except UNREADABLE as error:
            raise DataError(
                f"{self.name or 'the array'} in {self.path.name} cannot be read: "
                f"{str(error).rstrip('.') or type(error).__name__}. Copy or download it again."
            ) from error


@dataclass(kw_only=True)
class ArraysSource(Source):
    """Images in one array, or in one for each part of the split."""

    path: Path
    members: dict[str, tuple[Member, ...]] = field(repr=False)
    images: str
    layout: Layout
    _opened: list[NDArray[Any]] | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return sum(member.shape[0] for member in self.members[self.images])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        if self._opened is None:
            self._opened = [member.open() for member in self.members[self.images]]
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"samples {wanted.min()} to {wanted.max()} of {len(self)}")
        ends = np.cumsum([len(part) for part in self._opened])
        part_of = np.searchsorted(ends, wanted, side="right").tolist()
        buffer = np.empty((len(wanted), *self._opened[0].shape[1:]), self.dtype)
        for place, (index, part) in enumerate(zip(wanted.tolist(), part_of, strict=True)):
            buffer[place] = self._opened[part][index - ends[part]]
        return list(self.layout.images(buffer))

    def column(self, name: str) -> NDArray[Any]:
        if name not in self.members:
            return super().column(name)
        return _read_column(self.members[name])

    def content_key(self) -> str:
        """Size and time of the file, names of what is read, and 16 samples."""
        status = self.path.stat()
        digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns} {self.images}".encode())
        some = np.unique(np.linspace(0, len(self) - 1, 16).astype(int)).tolist()
        for image in self.__getitems__(some):
            digest.update(image.tobytes())
        return digest.hexdigest()


class ArraysLoader(Loader):
    """Opens `.npy` and `.npz`."""

    name = "arrays"
    title = "NumPy"
    suffixes = (".npy", ".npz")

    def sniff(self, path: Path, head: bytes) -> bool:
        if head.startswith(MAGIC):
            return True
        return head.startswith(b"PK\x03\x04") and b".npy" in head[:512]

    def open(self, path: Path, options: OpenOptions) -> Source:
        where = path.name
        try:
            with path.open("rb") as file:
                is_array = file.read(len(MAGIC)) == MAGIC
            found = _in_array(path) if is_array else _in_archive(path)
        except UNREADABLE as error:
            raise DataError(
                f"{where} cannot be read as NumPy's: {str(error).rstrip('.')}. Is it complete? "
                "Copy or download it again."
            ) from error
        members, parts = _joined(found)
        arrays = _as_arrays(members)
        chosen = {
            "images": options.images,
            "labels": options.labels,
            "groups": options.groups,
            "split": options.split,
        }
        name, layout = pick_images(arrays, options.images, where)
        array = arrays[name]
        _check_size(members[name], layout, options.max_sample_bytes, where)
        columns = find_columns(arrays, lambda one: _read_column(members[one]), name, chosen, where)
        found_images = f"images: {name!r}, {array.shape[0]:,} of {array} ({layout})"
        if columns.split is None and len(members[name]) > 1:
            sizes = [member.shape[0] for member in members[name]]
            columns.split = np.repeat(np.array(parts), sizes)
            columns.decisions.append(f"split: by the arrays' names, {counts(columns.split)}")
        return ArraysSource(
            name=path.stem,
            loader=self.name,
            shape=layout.shape,
            dtype=array.dtype.newbyteorder("="),
            labels=columns.labels,
            classes=columns.classes,
            groups=columns.groups,
            ids=columns.ids,
            split=columns.split,
            keys=tuple(sorted(members)),
            decisions=[found_images, *columns.decisions],
            warnings=columns.warnings,
            path=path,
            members=members,
            images=name,
            layout=layout,
        )


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, Fortran order, dtype) of an array; the stream is left at its first value."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the format holds no plain numbers")
    if min(header[0], default=0) < 0:
        raise ValueError(f"the shape {header[0]} is impossible")
    return header


def _size(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def _in_array(path: Path) -> dict[str, Member]:
    with path.open("rb") as file:
        shape, fortran, dtype = _header(file)
        offset = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path.name} holds pickled Python objects, which are never loaded.")
    missing = offset + _size(shape, dtype) - path.stat().st_size
    if missing > 0:
        raise DataError(f"{path.name} is {missing:,} bytes shorter than its header says.")
    return {"images": Member(path, "", shape, dtype, fortran, offset)}


def _in_archive(path: Path) -> dict[str, Member]:
    where = path.name
    members: dict[str, Member] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                continue
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{name!r} in {where} is compressed in a way numpy never writes.")
            with archive.open(info) as stream:
                shape, fortran, dtype = _header(stream)
                begin = stream.tell()
            if dtype.hasobject:
                continue  # pickled: never loaded, so never offered
            size = begin + _size(shape, dtype)
            stored = info.compress_type == zipfile.ZIP_STORED
            fits = info.compress_size if stored else info.compress_size * MOST_DEFLATED
            if size != info.file_size or size > fits + 2**16 * (not stored):
                raise DataError(
                    f"{name!r} in {where} claims {size:,} bytes that the file does not hold: it is "
                    "damaged, or made to exhaust memory."
                )
            offset = _data_offset(path, info) + begin if stored else None
            members[name] = Member(path, name, shape, dtype, fortran, offset)
    if not members:
        raise DataError(f"{where} holds no arrays of numbers (pickled objects are never loaded).")
    return members


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: after its local header, which has lengths of its own.

    PKWARE's APPNOTE 4.3.7.
    """
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(30)
    name_length, extra_length = struct.unpack("<HH", local[26:30])
    offset: int = info.header_offset + 30 + name_length + extra_length
    if offset + info.compress_size > path.stat().st_size:
        raise ValueError("a member reaches beyond the end of the file")
    return offset


def _joined(found: dict[str, Member]) -> tuple[dict[str, tuple[Member, ...]], list[str]]:
    """`train_images`, `test_images`, … become the parts of one `images` (MedMNIST, Keras).

    Returns:
        name -> its members in the order of the parts, and the parts' names.
    """
    parts: dict[str, dict[str, Member]] = {}
    for name, member in found.items():
        match = _PART.fullmatch(name)
        if match:
            part = SPLITS[(match[1] or match[4]).lower()]
            parts.setdefault(part, {})[match[2] or match[3]] = member
    order: list[str] = [part for part in ("train", "val", "test") if part in parts]
    common = set.intersection(*(set(parts[part]) for part in order)) if len(order) > 1 else set()
    joined: dict[str, tuple[Member, ...]] = {
        name: tuple(parts[part][name] for part in order) for name in sorted(common)
    }
    joined = {
        name: members
        for name, members in joined.items()
        if len({(member.shape[1:], member.dtype) for member in members}) == 1
    }
    if not joined:
        return {name: (member,) for name, member in found.items()}, []
    rest = {
        name: (member,)
        for name, member in found.items()
        if not any(member in members for members in joined.values()) and name not in joined
    }
    return joined | rest, order


def _as_arrays(members: Mapping[str, tuple[Member, ...]]) -> dict[str, Array]:
    told = None
    for name in ("class_names", "classes"):
        one = members.get(name, ())
        if len(one) == 1 and told is None and len(one[0].shape) == 1 and one[0].dtype.kind in "SU":
            values = _read_column(one)
            told = tuple(
                value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                for value in values.tolist()
            )
    return {
        name: Array(
            (sum(one.shape[0] for one in parts), *parts[0].shape[1:]) if parts[0].shape else (),
            parts[0].dtype,
            class_names=told,
        )
        for name, parts in members.items()
    }


def _check_size(members: tuple[Member, ...], layout: Layout, most: int, where: str) -> None:
    size = _size(layout.shape, members[0].dtype)
    if size > most:
        raise DataError(
            f"one sample of {where} would take {size:,} bytes, more than {most:,}. If that is "
            f"meant: --set data.max_sample_bytes={size}"
        )
    if 0 in members[0].shape[1:] or not any(member.shape[0] for member in members):
        raise DataError(f"{where} is empty: its images are {members[0].shape}.")
    loaded = sum(_size(one.shape, one.dtype) for one in members if one.offset is None)
    if loaded > MOST_LOADED:
        raise DataError(
            f"{where} unpacks to {loaded / 2**30:.1f} GB in memory. Save it with numpy.savez, "
            "which does not compress and is memory-mapped, or as HDF5."
        )


def _read_column(members: tuple[Member, ...]) -> NDArray[Any]:
    """A whole small array, in native byte order."""
    size = sum(_size(member.shape, member.dtype) for member in members)
    if size > MOST_LOADED // 4:
        raise DataError(f"{members[0].name!r} would take {size:,} bytes to read.")
    values = np.concatenate([np.atleast_1d(member.open()) for member in members])
    return values.astype(values.dtype.newbyteorder("="), copy=False)
