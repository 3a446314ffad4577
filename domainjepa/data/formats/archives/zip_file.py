"""The members of a ZIP, by its central directory."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.archives.member import DEFLATED, STORED, Contents, Member, check_name
from domainjepa.data.remote.path import openable
from domainjepa.errors import DataError

MAGIC = b"PK\x03\x04"
UNREADABLE = (
    *(OSError, ValueError, KeyError, IndexError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, struct.error, MemoryError, OverflowError),
)
"""What zipfile raises on damaged files."""
_LINK = 0o120000


def contents(path: Path) -> Contents:
    """The files of a ZIP.

    Raises:
        DataError: damaged, encrypted, packed in an unusual way, or a name leads out of it.
    """
    found, where = Contents([]), path.name
    with unreadable(UNREADABLE, where), zipfile.ZipFile(openable(path)) as archive:
        for info in archive.infolist():
            name = check_name(info.filename, where)
            if info.is_dir():
                continue
            if (info.external_attr >> 16) & 0o170000 == _LINK:
                found.links += 1
                continue
            if info.flag_bits & 1:
                raise DataError(f"{where} is encrypted: unpack it, and give the folder.")
            if info.compress_type not in (STORED, DEFLATED):
                raise DataError(
                    f"{where} is packed by method {info.compress_type}, which allows no quick "
                    "reading: unpack it, and give the folder."
                )
            found.members.append(
                Member(
                    *(name, info.header_offset, info.compress_size, info.file_size),
                    *(info.compress_type, info.CRC),
                )
            )
    return found
