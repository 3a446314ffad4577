"""Which codecs of a Zarr array may run, and on what."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from domainjepa.data.formats.zarr.expansion import EXPANDING, expands_beyond

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
"""Files of a store that are no chunks."""
CODECS = {
    *("bytes", "transpose", "sharding_indexed", "crc32c", "vlen-utf8"),
    *("blosc", "zstd", "gzip", "zlib", "lz4", "shuffle", "delta", "packbits"),
    *("fixedscaleoffset", "quantize", "bitround", "astype", "crc32", "adler32", "fletcher32"),
}
"""None of them loads objects, and of none is it unknown how large its output becomes.

v3 writes those of numcodecs as `numcodecs.NAME`."""
MOST_IN_SHARD = 10_000_000
"""Chunks of a shard, whose index is read whole."""


def unsafe(array: zarr.Array[Any]) -> str | None:
    """Why an array must not be read, or None."""
    named = _codec_names(array)
    strange = [name for name in named if name not in CODECS]
    packed = [name for name in named if name in EXPANDING]
    behind = named[named.index(packed[0]) + 1 :] if packed else []
    if strange:
        return f"uses the codec {strange[0]!r}, which is not among those that are safe to run"
    if len(packed) > 1 or set(behind) - {"crc32c", "bytes", "sharding_indexed"}:
        return f"has its codecs in an order that is not read: {', '.join(named)}"
    if array.dtype.hasobject and array.dtype.kind != "T":
        return "holds Python objects, which are never loaded"
    if array.shards and prod(array.shards) > MOST_IN_SHARD * max(prod(array.chunks), 1):
        return f"has shards of more than {MOST_IN_SHARD:,} chunks"
    return None


def _codec_names(array: zarr.Array[Any]) -> list[str]:
    """In the order in which they are applied; those within shards first."""
    told: dict[str, Any] = dict(array.metadata.to_dict())
    named = [*_codecs(told.get("codecs") or ())]
    named += [codec["id"] for codec in (told.get("filters") or ()) if codec]
    named += [told["compressor"]["id"]] if told.get("compressor") else []
    return [str(name).removeprefix("numcodecs.") for name in named]


def _codecs(codecs: Any) -> Iterator[str]:
    for codec in codecs:
        inner = codec.get("configuration", {})
        yield from _codecs(inner.get("codecs", ()))
        yield from _codecs(inner.get("index_codecs", ()))
        yield codec["name"]


class Guarded(WrapperStore[Store]):
    """A store whose chunks are looked at before they are unpacked: none may become too large."""

    codec: str
    most: int

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes behind a key, or a part of them.

        Raises:
            ValueError: they would become more than a chunk holds.
        """
        content = await self._store.get(key, prototype, byte_range)
        index = isinstance(byte_range, SuffixByteRequest)  # of a shard
        if content is None or index or key.rpartition("/")[2] in METADATA:
            return content
        if expands_beyond(self.codec, content.to_bytes(), self.most):
            raise ValueError(f"the chunk {key!r} would become more than {self.most:,} bytes")
        return content


def guarded(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """The same array, whose chunks are looked at before they are unpacked, where that is needed."""
    packed = [name for name in _codec_names(array) if name in EXPANDING]
    if not packed or isinstance(array.store, Guarded):
        return array
    store = Guarded(array.store)
    store.codec, store.most = packed[0], prod(array.chunks) * array.dtype.itemsize + 2**16
    if array.dtype.kind == "T":  # texts of any length
        store.most = 2**28
    return zarr.open_array(store, path=array.path, mode="r")
