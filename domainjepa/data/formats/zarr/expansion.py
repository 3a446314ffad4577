"""How large packed bytes will become, told before they are unpacked.

Thirty kilobytes of zstd can hold a gigabyte of zeros, and a decoder that is asked for it allocates
it. What says its size is asked; what does not is unpacked to nowhere, as far as the limit.
"""

from __future__ import annotations

import struct
import zlib

EXPANDING = ("zstd", "gzip", "zlib", "blosc", "lz4")
"""Codecs whose output can be many times their input."""
DEFLATE_MOST = 1032
"""Deflate makes nothing smaller than this share of its size."""
HARMLESS = 2**30
"""Bytes that deflated data may at most become without being looked at."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def expands_beyond(codec: str, packed: bytes, most: int) -> bool:
    """Whether packed bytes become more than so many, or do not say how many.

    Args:
        codec: one of `EXPANDING`.
        packed: one chunk, perhaps with a checksum behind it.
        most: bytes that are expected.
    """
    if codec == "zstd":
        size = _zstd_size(packed)
        return packed.startswith(_ZSTD_MAGIC) and (size is None or size > most)
    if codec == "blosc":
        # Blosc 1 header: versions and flags, then nbytes, blocksize, cbytes (README_CHUNK_FORMAT).
        if len(packed) < 16:
            return False
        size, _, held = struct.unpack_from("<III", packed, 4)
        return held in (len(packed), len(packed) - 4) and size > most
    if codec == "lz4":  # numcodecs writes the size before the block
        return len(packed) >= 4 and int.from_bytes(packed[:4], "little") > most
    if len(packed) * DEFLATE_MOST <= HARMLESS:
        return False
    return _deflated_beyond(packed, most)


def _zstd_size(packed: bytes) -> int | None:
    """The content size of a zstd frame (RFC 8878, 3.1.1.1); None where it is not told."""
    if len(packed) < 5:
        return None
    descriptor = packed[4]
    single = descriptor >> 5 & 1
    width = (single, 2, 4, 8)[descriptor >> 6]
    begin = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    if not width or len(packed) < begin + width:
        return None
    return int.from_bytes(packed[begin : begin + width], "little") + (256 if width == 2 else 0)


def _deflated_beyond(packed: bytes, most: int) -> bool:
    unpacking = zlib.decompressobj(wbits=47)  # zlib or gzip, whichever it is
    size, step = 0, 2**20
    try:
        while packed and not unpacking.eof:
            size += len(unpacking.decompress(packed, step))
            if size > most:
                return True
            packed = unpacking.unconsumed_tail
    except zlib.error:
        return False  # damaged: the decoder says so
    return len(unpacking.unused_data) > 8  # a further member behind a checksum
