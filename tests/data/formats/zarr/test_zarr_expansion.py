from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest

from domainjepa.data.formats.zarr.expansion import expands_beyond
from domainjepa.data.remote.addresses import public

numcodecs = pytest.importorskip("numcodecs")
ZEROS = bytes(10**6)
NOISE = np.random.default_rng(0).bytes(10**6)


@pytest.mark.parametrize("content", [ZEROS, NOISE, b"a" * 300, b""])
@pytest.mark.parametrize("codec", [numcodecs.Zstd(1), numcodecs.Blosc()])
@pytest.mark.parametrize("checksum", [b"", b"1234"])
def test_the_size_in_the_header_is_read(content: bytes, codec: Any, checksum: bytes) -> None:
    packed = bytes(codec.encode(content)) + checksum
    assert not expands_beyond(codec.codec_id, packed, len(content))
    if content:
        assert expands_beyond(codec.codec_id, packed, len(content) - 1)


def test_zstd_that_tells_no_size_is_not_unpacked() -> None:
    # A frame header of RFC 8878: no content size, no single segment, a window descriptor.
    assert expands_beyond("zstd", b"\x28\xb5\x2f\xfd\x00\x58" + bytes(20), 10**9)
    assert expands_beyond("zstd", b"\x28\xb5\x2f\xfd", 10**9)


@pytest.mark.parametrize("codec", ["zstd", "blosc", "gzip"])
@pytest.mark.parametrize("packed", [b"", b"\x01", bytes(64), NOISE[:100]])
def test_what_is_of_another_kind_is_left_to_the_decoder(codec: str, packed: bytes) -> None:
    assert not expands_beyond(codec, packed, 10)


@pytest.mark.parametrize("codec", ["gzip", "zlib"])
def test_deflated_bombs_are_unpacked_to_nowhere(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domainjepa.data.formats.zarr.expansion.HARMLESS", 10**6)
    pack = {"gzip": gzip.compress, "zlib": zlib.compress}[codec]
    bomb = pack(bytes(50 * 10**6))
    tracemalloc.start()
    assert expands_beyond(codec, bomb, 10**6)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert not expands_beyond(codec, bomb, 50 * 10**6)
    assert not expands_beyond(codec, pack(NOISE) + b"1234", len(NOISE))
    assert expands_beyond(codec, pack(b"a") + bomb, 10**6)  # hidden behind a first member
    assert not expands_beyond(codec, b"nonsense" * 1000, 10)


def test_lz4_is_asked_for_the_size_that_it_claims() -> None:
    packed = numcodecs.LZ4().encode(bytes(10_000))
    assert not expands_beyond("lz4", packed, 10_000)
    assert expands_beyond("lz4", packed, 9_999)
    assert expands_beyond("lz4", (2**31 - 1).to_bytes(4, "little") + packed[4:], 10_000)


def test_a_store_is_named_without_who_opens_it() -> None:
    assert public("https://user:secret@host") == "host"
    assert public("https://user:secret@host/set.zarr?token=1") == "set.zarr"
