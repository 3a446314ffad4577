"""Where a file lies in an archive, and its bytes: read in place, never unpacked to disk."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from domainjepa.errors import DataError

STORED, DEFLATED = 0, 8
MOST_DEFLATED = 1_100
"""Deflate makes nothing smaller than 1/1032 of its size."""
_LOCAL_HEADER = 30


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


def read(descriptor: int, member: Member, most: int) -> bytes:
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
    content = os.pread(descriptor, member.packed, offset)
    if len(content) < member.packed:
        raise DataError("the archive ends before it does: copy or download it again")
    if member.method == DEFLATED:
        content = _inflated(content, member.size)
    if member.method >= 0 and zlib.crc32(content) != member.checksum:
        raise DataError("its checksum is wrong: the archive is damaged. Download it again")
    return content


def _local_header(descriptor: int, offset: int) -> int:
    """Bytes of a ZIP's local header, which has lengths of its own (APPNOTE 4.3.7)."""
    local = os.pread(descriptor, _LOCAL_HEADER, offset)
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


def opened(path: Path) -> int:
    """A descriptor of an archive, for `read`."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
