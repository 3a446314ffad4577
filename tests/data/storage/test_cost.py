from __future__ import annotations

import pytest

from domainjepa.data.source import OpenOptions
from domainjepa.data.storage.cost import Storage, in_bytes
from domainjepa.errors import DataError


def stored(shape: tuple[int, ...], chunks: tuple[int, ...] | None) -> Storage:
    return Storage("images", "set.h5", shape, chunks, 2)


def test_sizes_are_exact_however_large() -> None:
    one = stored((10, 60_000, 70_000, 3), (4, 512, 512, 1))
    assert one.sample_bytes == 60_000 * 70_000 * 3 * 2
    assert one.chunk_bytes == 4 * 512 * 512 * 2
    assert one.pieces == 118 * 137 * 3
    assert stored((10, 64, 64), None).pieces == 1


def test_tiles_of_a_large_sample_are_fine() -> None:
    large = stored((1, 60_000, 70_000, 3), (1, 512, 512, 3))
    with pytest.raises(DataError, match=r"one sample .* 25 GB, .*max_sample_bytes=25200000000"):
        large.check(OpenOptions())
    large.check(OpenOptions(tile=256))
    with pytest.raises(DataError, match="one chunk"):
        stored((9, 64, 64), (10**6, 64, 64)).check(OpenOptions(tile=32))


def test_claims_are_compared_with_what_is_there() -> None:
    one = stored((10**9, 64, 64), (1, 64, 64))
    with pytest.raises(DataError, match=r"claims 8 TB of images in 4 kB"):
        one.check_claim(4096)
    stored((10, 64, 64), (1, 64, 64)).check_claim(10)  # small, whatever it is packed with


@pytest.mark.parametrize(
    ("chunks", "warns"),
    [(None, False), ((1, 64, 64), False), ((3, 64, 64), False), ((8, 64, 64), True)],
)
def test_advice(chunks: tuple[int, ...] | None, warns: bool) -> None:
    advice = stored((100, 64, 64), chunks).advice()
    assert bool(advice) == warns
    assert all("prepare --data set.h5 --out set-fast.h5" in line for line in advice)


def test_sizes_as_people_read_them() -> None:
    assert [in_bytes(size) for size in (0, 999, 196_608, 10**9, 5 * 10**15)] == [
        "0 bytes",
        "999 bytes",
        "196 kB",
        "1 GB",
        "5,000 TB",
    ]
