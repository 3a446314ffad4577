from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from domainjepa.data.quarantine import Quarantine, read_or_replace
from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError


class Torn(Source):
    """Sample n is full of n; some cannot be read."""

    def __init__(self, samples: int, bad: set[int]) -> None:
        super().__init__(name="torn", loader="test", shape=(4, 4, 1), dtype=np.dtype(np.uint8))
        self.samples, self.bad = samples, bad

    def __len__(self) -> int:
        return self.samples

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        for index in indices:
            if index in self.bad:
                raise DataError(f"sample {index} is torn")
        return [np.full((4, 4, 1), index, np.uint8) for index in indices]

    def content_key(self) -> str:
        return "torn"


ROWS = np.arange(100)


def test_the_place_of_an_unreadable_sample_is_taken_by_a_keyed_one() -> None:
    source = Torn(100, {3, 50})
    rows, images, lost = read_or_replace(source, [1, 3, 50, 7], ROWS, seed=0)
    assert rows[0] == 1
    assert rows[3] == 7
    assert not {3, 50} & set(rows)
    assert [int(image[0, 0, 0]) for image in images] == rows
    assert lost == {3: "sample 3 is torn", 50: "sample 50 is torn"}
    # Whatever else is in the batch, and on whatever rank, the same one stands in.
    assert read_or_replace(source, [3], ROWS, seed=0)[0] == [rows[1]]
    assert read_or_replace(source, [50, 3], ROWS, seed=0)[0] == [rows[2], rows[1]]


def test_only_rows_of_the_run_stand_in() -> None:
    rows = np.array([4, 5])
    for first in range(20, 40):
        source = Torn(100, {first})
        assert read_or_replace(source, [first], rows, seed=1)[0][0] in (4, 5)


def test_nothing_readable_at_all_is_told() -> None:
    with pytest.raises(DataError, match="sample 3 is torn"):
        read_or_replace(Torn(100, set(range(100))), [3], ROWS, seed=0)


def test_the_cap() -> None:
    kept = Quarantine(200, 0.01)
    assert kept.add([5]) == [5]
    assert kept.add([5, 9]) == [9]
    with pytest.raises(DataError, match=r"3 of 200 samples .* rows 5, 9, 11"):
        kept.add([11])
    assert Quarantine(200, 0.01, kept.rows - {11}).add([5, 9]) == []


def test_nothing_is_allowed_by_default() -> None:
    with pytest.raises(DataError, match="1 of 10 samples"):
        Quarantine(10, 0.0).add([0])
