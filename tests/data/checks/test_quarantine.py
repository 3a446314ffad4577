from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from domainjepa.data.checks.quarantine import Quarantine, checked, lenient, strict
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
        return [np.full((4, 4, 1), index % 256, np.uint8) for index in indices]

    def content_key(self) -> str:
        return "torn"


ROWS = np.arange(100)


def test_the_place_of_an_unreadable_sample_is_taken_by_a_keyed_one() -> None:
    source = lenient(Torn(100, {3, 50}), ROWS, seed=0)
    seen = [int(image[0, 0, 0]) for image in source.__getitems__([1, 3, 50, 7])]
    assert seen[0] == 1
    assert seen[3] == 7
    assert not {3, 50} & set(seen)
    assert source.unreadable([1, 3, 50, 7]) == [3, 50]
    # Whatever else is in the batch, and on whatever rank, the same one stands in.
    other = lenient(Torn(100, {3, 50}), ROWS, seed=0)
    assert int(other[3][0, 0, 0]) == seen[1]
    assert int(other[50][0, 0, 0]) == seen[2]
    again = [int(image[0, 0, 0]) for image in source.__getitems__([50, 3])]
    assert again == [seen[2], seen[1]]
    assert source.fingerprint() == lenient(Torn(100, {3, 50}), ROWS, seed=0).fingerprint()


def test_only_rows_of_the_run_stand_in() -> None:
    rows = np.array([4, 5])
    for first in range(20, 40):
        source = lenient(Torn(100, {first}), rows, seed=1)
        assert int(source[first][0, 0, 0]) in (4, 5)


def test_nothing_readable_at_all_is_told() -> None:
    with pytest.raises(DataError, match="sample 3 is torn"):
        lenient(Torn(100, set(range(100))), ROWS, seed=0)[3]


def test_without_leave_the_error_says_how_to_go_on() -> None:
    source = strict(Torn(100, {3}))
    assert int(source[4][0, 0, 0]) == 4
    with pytest.raises(DataError, match=r"sample 3 is torn .*--set data\.skip_unreadable=0\.01"):
        source.__getitems__([1, 3])
    assert source.unreadable([1, 3]) == []
    assert source.fingerprint() == Torn(100, {3}).fingerprint()


def test_samples_that_cannot_be_read_are_found_beforehand_and_have_no_label() -> None:
    torn = Torn(600, {3, 500})
    torn.labels = np.arange(600) % 7
    source = checked(torn, 0.01)
    assert source.unreadable(range(600)) == [3, 500]
    assert source.labels is not None
    assert np.flatnonzero(source.labels != np.arange(600) % 7).tolist() == [3, 500]
    assert (source.labels[[3, 500]] == -1).all()
    assert source.fingerprint() == torn.fingerprint()
    assert checked(Torn(20, set()), 0.01).unreadable(range(20)) == []
    with pytest.raises(DataError, match=r"2 of 600 samples cannot be read, .* rows 3, 500"):
        checked(torn, 0.001)


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
