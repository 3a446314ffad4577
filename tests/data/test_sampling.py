from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from domainjepa.data.sampling import KeyedBatches, epoch_order, key

ROWS = np.arange(100, 137)


def flat(batches: KeyedBatches) -> list[tuple[int, int]]:
    return list(itertools.chain.from_iterable(batches))


def test_a_key_is_blake2b_of_its_parts() -> None:
    digest = hashlib.blake2b(b"i7\x1fsviews\x1fi3", digest_size=8).digest()
    assert key(7, "views", 3) == int.from_bytes(digest, "little")


def test_keys_tell_parts_types_and_order_apart() -> None:
    keys = [key(1, 23), key(12, 3), key(3, 12), key("1", 23), key(1, "23"), key(123), key(1, 2, 3)]
    assert len(set(keys)) == len(keys)


def test_keys_are_the_same_in_another_process() -> None:
    code = "from domainjepa.data.sampling import key; print(key(0, 'order', 5))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert int(run.stdout) == key(0, "order", 5)


def test_keys_spread_over_64_bits() -> None:
    bits = np.unpackbits(
        np.array([key(0, n) for n in range(2000)], dtype="<u8").view(np.uint8).reshape(-1, 8),
        axis=1,
    )
    # A fair bit is 1 in 1000 +- 22 of 2000 keys; 5 sigma over 64 bits.
    assert np.abs(bits.sum(axis=0, dtype=np.int64) - 1000).max() < 112


def test_an_epoch_is_a_permutation_that_differs_from_the_next() -> None:
    orders = [epoch_order(ROWS, seed=0, epoch=epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == sorted(ROWS)
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], epoch_order(ROWS, seed=1, epoch=0))


def test_batches_of_an_epoch_are_whole_and_hold_no_row_twice() -> None:
    batches = list(KeyedBatches(ROWS, batch_size=8, seed=0, steps=range(9)))
    assert len(batches) == 9
    assert all(len(batch) == 8 for batch in batches)
    for epoch in (0, 1):
        rows = [row for batch in batches for at, row in batch if at == epoch]
        assert len(rows) == len(set(rows))
        assert set(rows) <= set(ROWS.tolist())
    # 37 // 8 = 4 batches an epoch.
    assert [batch[0][0] for batch in batches] == [0, 0, 0, 0, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_resumed_run_sees_the_rest_of_the_batches(stop: int) -> None:
    whole = flat(KeyedBatches(ROWS, batch_size=8, seed=3, steps=range(11)))
    parts = flat(KeyedBatches(ROWS, batch_size=8, seed=3, steps=range(stop)))
    parts += flat(KeyedBatches(ROWS, batch_size=8, seed=3, steps=range(stop, 11)))
    assert whole == parts


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_ranks_share_every_global_batch_in_order(world_size: int) -> None:
    whole = list(KeyedBatches(ROWS, batch_size=8, seed=0, steps=range(6)))
    ranks = [
        list(
            KeyedBatches(
                ROWS, batch_size=8, seed=0, steps=range(6), rank=rank, world_size=world_size
            )
        )
        for rank in range(world_size)
    ]
    for step in range(6):
        assert list(itertools.chain.from_iterable(rank[step] for rank in ranks)) == whole[step]


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="37"):
        KeyedBatches(ROWS, batch_size=38, seed=0, steps=range(1))
