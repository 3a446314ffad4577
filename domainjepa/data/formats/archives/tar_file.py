"""The members of a tar by their headers, block by block: nothing but headers is read.

References: POSIX.1-2017, pax interchange format; GNU tar manual, "Basic Tar Format". Each header is
parsed by the standard library, which checks its sum.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import IO

from domainjepa.data.formats.archives.member import Contents, Member, check_name
from domainjepa.errors import DataError

BLOCK = tarfile.BLOCKSIZE
MOST_NAME = 2**16
"""Bytes of an extended header."""
MOST_MEMBERS = 10_000_000
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)


def is_tar(head: bytes) -> bool:
    """Whether a file of these first bytes is a tar: its first header has the right sum."""
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def contents(path: Path) -> Contents:
    """The regular files of a tar.

    Raises:
        DataError: damaged, cut short, or a member's name leads out of it.
    """
    found, where, held = Contents([]), path.name, path.stat().st_size
    extended: dict[str, str] = {}
    start = 0
    with path.open("rb") as file:
        while (header := _header(file, start, where)) is not None:
            begin = start + BLOCK
            size = _size(header, extended, where)
            if begin + size > held:
                raise DataError(
                    f"{where} has a member of {size:,} bytes, {header.name[:100]!r}, and ends "
                    f"after {max(held - begin, 0):,} of them: it is cut short, or damaged. "
                    "Download it again."
                )
            start = begin + -(-size // BLOCK) * BLOCK
            if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                extended |= _extended(file, header, begin, size, where)
                continue
            if header.type in _REGULAR and not any(
                key.startswith("GNU.sparse") for key in extended
            ):
                name = check_name(extended.get("path", header.name), where)
                if not name.endswith("/"):  # a folder in the oldest format
                    found.members.append(Member(name, begin, size, size))
            elif header.type in _LINKS:
                found.links += 1
            elif header.type in (tarfile.GNUTYPE_SPARSE, *_REGULAR):
                found.sparse += 1
                start = _past_sparse(file, header, begin, size)
            if header.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                extended = {}
            if len(found.members) > MOST_MEMBERS:
                raise DataError(f"{where} has more than {MOST_MEMBERS:,} members: cut it up.")
    return found


def _header(file: IO[bytes], start: int, where: str) -> tarfile.TarInfo | None:
    """The header at a place; None at the end of the archive."""
    file.seek(start)
    block = file.read(BLOCK)
    if not block.strip(b"\0"):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise DataError(
            f"{where} is damaged at byte {start:,}: {error}. Download it again."
        ) from error


def _size(header: tarfile.TarInfo, extended: dict[str, str], where: str) -> int:
    if header.type in (*_LINKS, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE):
        return 0
    told = extended.get("size", str(header.size))
    if not told.isdigit() or len(told) > 19:
        raise DataError(f"{where} has a member of {told[:20]} bytes: it is damaged.")
    return int(told)


def _extended(
    file: IO[bytes], header: tarfile.TarInfo, begin: int, size: int, where: str
) -> dict[str, str]:
    """What a header that comes before a member says of it."""
    if size > MOST_NAME:
        raise DataError(f"{where} has an extended header of {size:,} bytes: it is damaged.")
    file.seek(begin)
    content = file.read(size)
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.split(b"\0")[0].decode("utf-8", "surrogateescape")}
    told: dict[str, str] = {}
    while content.strip(b"\0"):
        length, _, rest = content.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content):
            raise DataError(f"{where} has an extended header that makes no sense: it is damaged.")
        record, content = rest[: int(length) - len(length) - 2], content[int(length) :]
        key, _, value = record.partition(b"=")
        told[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
    return told


def _past_sparse(file: IO[bytes], header: tarfile.TarInfo, begin: int, size: int) -> int:
    """Where the header after a sparse file begins: its map may take further blocks (GNU format)."""
    if header.type == tarfile.GNUTYPE_SPARSE:
        file.seek(begin - BLOCK)
        continued = file.read(BLOCK)[482:483] == b"\1"
        while continued:
            file.seek(begin)
            block = file.read(BLOCK)
            continued = len(block) == BLOCK and block[504:505] == b"\1"
            begin += BLOCK
    return begin + -(-size // BLOCK) * BLOCK
