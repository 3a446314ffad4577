"""A DICOM file, opened safely.

pydicom parses. This module sees to it that nothing is allocated that a length field alone asks
for, that a deflated file is never inflated, that neither values of a header nor messages with them
get out, and that a patient leaves as a hash.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import struct
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from domainjepa.errors import DataError, MissingExtra

DICOM = "1.2.840.10008.1.2"
"""What the transfer syntaxes of the standard begin with."""
NATIVE = {(True, True): DICOM, (False, True): f"{DICOM}.1", (False, False): f"{DICOM}.2"}
"""(implicit, little endian) -> the transfer syntax of pixels that are not compressed."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Float, double and integer pixel data."""


@lru_cache(maxsize=1)
def pydicom() -> Any:
    """The library, made quiet: its warnings repeat the values of headers.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        library = importlib.import_module("pydicom")
    except ImportError as error:
        raise MissingExtra("pydicom", "dicom", "reading DICOM") from error
    library.config.settings.reading_validation_mode = library.config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").disabled = True
    return library


class BoundedFile(io.BufferedReader):
    """A file from which no more is asked for than it holds: lengths in a header may be anything."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.length = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            # Inflating is the one thing for which pydicom reads all there is, 1000 times as much
            # when it is done, even if it was asked for the header alone.
            raise DataError(
                "it is deflated as a whole (transfer syntax 1.2.840.10008.1.2.1.99), which cannot "
                "be bounded. Convert it once with dcmtk: dcmconv +te in.dcm out.dcm"
            )
        if size > 2**16:
            size = max(0, min(size, self.length - self.tell()))
        return super().read(size)


def parse(file: BoundedFile, tags: Sequence[str | int], preamble: bool = True) -> Any:
    """These elements as a pydicom data set; the file stands at its pixel data afterwards.

    Raises:
        DataError: it is no DICOM, damaged, or deflated.
    """
    library = pydicom()
    try:
        return library.dcmread(
            file, stop_before_pixels=True, force=not preamble, specific_tags=_numbers(*tags)
        )
    except DataError:
        raise
    except Exception as error:  # whatever comes to hand; its words may hold values of the header
        raise DataError(f"its header is damaged ({type(error).__name__})") from error


@lru_cache(maxsize=8)
def _numbers(*keywords: str | int) -> list[int]:
    """Looking keywords up takes as long as half a header."""
    return [pydicom().tag.Tag(keyword) for keyword in keywords]


def begins_like_dicom(head: bytes) -> bool:
    """Whether the prefix of PS3.10 stands where it has to."""
    return head[128:132] == b"DICM"


def bare(head: bytes) -> bool:
    """Whether a file without the preamble begins with a group of DICOM's own, in either order."""
    return head[:2] in (b"\2\0", b"\x08\0", b"\0\x08")


def pixel_tag(file: BoundedFile, found: Any) -> int:
    """The tag at which the file stands, 0 at its end."""
    place = file.tell()
    four = file.read(4)
    file.seek(place)
    if len(four) < 4:
        return 0
    group, element = struct.unpack("<HH" if found.original_encoding[1] else ">HH", four)
    return int(group << 16 | element)
