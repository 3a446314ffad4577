"""Where a file lies in an archive, and its bytes: read in place, never unpacked to disk."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from domainjepa.data.remote.path import RemoteFile, openable
from domainjepa.errors import DataError

STORED, DEFLATED = 0, 8
MOST_DEFLATED = 1_100
"""Deflate makes nothing smaller than 1/1032 of its size."""
_LOCAL_HEADER = 30
MOST_HEADER = 512
"""Bytes of the name and the extra field in a ZIP, of all but the oddest members."""


class Member(NamedTuple):
    """A regular file in an archive.

    Attributes:
        name: with `/`, below the archive's root.
        offset: of its bytes in a tar, of its local header in a ZIP.
        packed, size: bytes in the archive, and unpacked.
        method: STORED or DEFLATED in a ZIP; -1 in a tar.
        checksum: CRC-32 of its bytes in a ZIP; 0 in a tar, which has none.
    """

    name: str
    offset: int
    packed: int
    size: int
    method: int = -1
    checksum: int = 0


@dataclass
class Contents:
    """What an archive holds.

    Attributes:
        members: its regular files.
        links, sparse: how many others there are, which are not read.
        texts: of small members beside the pictures, name -> text.
    """

    members: list[Member]
    links: int = 0
    sparse: int = 0
    texts: dict[str, str] | None = None


def check_name(name: str, where: str) -> str:
    """A name without a leading `./`.

    Raises:
        DataError: it leads out of the folder that the archive would unpack to.
    """
    plain = name.replace("\\", "/")
    while plain.startswith("./"):
        plain = plain[2:]
    if plain.startswith("/") or ":" in plain[1:2] or ".." in plain.split("/") or "\0" in plain:
        raise DataError(
            f"{where} has a member {name[:100]!r}, which leads out of the archive: it is made to "
            "overwrite files, or was packed with absolute names. Pack it again with names below "
            "one folder."
        )
    return plain


def is_hidden(name: str) -> bool:
    """Whether a member is none of the data: hidden files, and what macOS adds to a ZIP."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def read(descriptor: int | RemoteFile, member: Member, most: int) -> bytes:
    """The bytes of a member.

    Args:
        descriptor: of the open archive.
        most: bytes that it may take.

    Raises:
        DataError: larger, cut short, damaged, or it unpacks to more than it claims.
    """
    if max(member.size, member.packed) > most:
        raise DataError(
            f"it takes {max(member.size, member.packed):,} bytes, more than {most:,}; if that is "
            f"meant: --set data.max_sample_bytes={max(member.size, member.packed)}"
        )
    offset = member.offset
    if member.method >= 0:
        offset += _local_header(descriptor, offset)
    content = pread(descriptor, member.packed, offset)
    if len(content) < member.packed:
        raise DataError("the archive ends before it does: copy or download it again")
    if member.method == DEFLATED:
        content = _inflated(content, member.size)
    if member.method >= 0 and zlib.crc32(content) != member.checksum:
        raise DataError("its checksum is wrong: the archive is damaged. Download it again")
    return content


def _local_header(descriptor: int | RemoteFile, offset: int) -> int:
    """Bytes of a ZIP's local header, which has lengths of its own (APPNOTE 4.3.7)."""
    local = pread(descriptor, _LOCAL_HEADER, offset)
    if len(local) < _LOCAL_HEADER or not local.startswith(b"PK\x03\x04"):
        raise DataError("its header is not where the archive says: the archive is damaged")
    name_length, extra_length = struct.unpack("<HH", local[26:30])
    return int(_LOCAL_HEADER + name_length + extra_length)


def _inflated(content: bytes, size: int) -> bytes:
    if size > MOST_DEFLATED * len(content) + 2**16:
        raise DataError(f"it claims {size:,} bytes in {len(content):,}: made to exhaust memory")
    try:
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
    except zlib.error as error:
        raise DataError(f"it cannot be unpacked: {error}") from error
    if len(unpacked) != size:
        raise DataError(f"it does not unpack to the {size:,} bytes that the archive tells")
    return unpacked


def opened(path: Path) -> int | RemoteFile:
    """An open archive, for `read`: a descriptor, or of one that lies far away what reads it."""
    far = openable(path)
    if isinstance(far, Path):
        return os.open(far, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    return RemoteFile(path)


def close(descriptor: int | RemoteFile) -> None:
    """Closes what `opened` gave."""
    if isinstance(descriptor, int):
        os.close(descriptor)


def pread(descriptor: int | RemoteFile, count: int, offset: int) -> bytes:
    """Bytes at a place of an open archive."""
    if isinstance(descriptor, int):
        return os.pread(descriptor, count, offset)
    return descriptor.pread(count, offset)


def extent(member: Member) -> tuple[int, int]:
    """Where a member lies, (start, stop); of a ZIP with a header of the usual length."""
    header = _LOCAL_HEADER + MOST_HEADER if member.method >= 0 else 0
    return member.offset, member.offset + header + member.packed
