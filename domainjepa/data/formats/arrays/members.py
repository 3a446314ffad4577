"""The arrays in a `.npy` or `.npz` file, listed by their headers before anything is loaded.

What is stored uncompressed is read by parts; a compressed member is loaded whole. Pickled objects
are never loaded, and a header is believed only as far as the file can hold what it claims.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.storage.uncompressed import Stored
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
    tokenize.TokenError,
)
"""What zipfile and numpy raise on damaged files."""

MAGIC = b"\x93NUMPY"
MOST_LOADED = 4 * 2**30
"""Bytes of a compressed member, which has to be in memory whole."""
MOST_DEFLATED = 1_100
"""Deflate makes nothing smaller than 1/1032 of its size."""


@dataclass(frozen=True)
class Member:
    """An array in a file, before it is read.

    Attributes:
        path: of the file.
        name: inside the archive; empty for `.npy`.
        offset: of the first value in the file where parts can be read, else None.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int | None

    def open(self) -> Stored | NDArray[Any]:
        """The array, of which parts are read where possible.

        Raises:
            DataError: the bytes are damaged.
        """
        what = f"{self.name or 'the array'} in {self.path.name}"
        with unreadable(UNREADABLE, what):
            if self.offset is not None:
                return Stored(self.path, self.dtype, self.shape, self.offset, fortran=self.fortran)
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as stream:
                values: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
                stream.read()  # to the end: only then is the checksum compared
                return values.reshape(self.shape)


def npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
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


def verify(member: Member) -> None:
    """Compares a stored member of an archive with its checksum, once as long as the file stays.

    Raises:
        DataError: it is damaged.
    """
    if member.name and member.offset is not None:
        status = member.path.stat()
        _verify(member.path, member.name, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2**16)
def _verify(path: Path, name: str, size: int, written: int) -> None:
    with (
        unreadable(UNREADABLE, f"{name} in {path.name}"),
        zipfile.ZipFile(path) as archive,
        archive.open(f"{name}.npy") as stream,
    ):
        while stream.read(2**20):  # to the end: only then is the checksum compared
            pass


def size_of(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    """Bytes; exact, however large."""
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def in_array(path: Path) -> dict[str, Member]:
    """The one array of a `.npy` file, called "images".

    Raises:
        DataError: pickled, or shorter than the header says.
        Others in `UNREADABLE`: damaged.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = npy_header(file)
        offset = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path.name} holds pickled Python objects, which are never loaded.")
    missing = offset + size_of(shape, dtype) - path.stat().st_size
    if missing > 0:
        raise DataError(f"{path.name} is {missing:,} bytes shorter than its header says.")
    return {"images": Member(path, "", shape, dtype, fortran, offset)}


def in_archive(path: Path) -> dict[str, Member]:
    """The arrays of a `.npz` file by their names.

    Raises:
        DataError: a member claims more than the file can hold, or none is left.
        Others in `UNREADABLE`: damaged.
    """
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
                shape, fortran, dtype = npy_header(stream)
                begin = stream.tell()
            if dtype.hasobject:
                continue  # pickled: never loaded, so never offered
            size = begin + size_of(shape, dtype)
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


def read_column(members: tuple[Member, ...]) -> NDArray[Any]:
    """A whole small array, in native byte order."""
    size = sum(size_of(member.shape, member.dtype) for member in members)
    if size > MOST_LOADED // 4:
        raise DataError(f"{members[0].name!r} would take {size:,} bytes to read.")
    for member in members:
        verify(member)
    values = np.concatenate([np.atleast_1d(member.open()[()]) for member in members])
    return values.astype(values.dtype.newbyteorder("="), copy=False)
