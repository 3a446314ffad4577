from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import chisquare

from domainjepa.data.storage.large import Grid, Large, Places, lines

GRID = Grid((4, 6), (1, 5))
SIDES = (19, 23)
SIZE = np.array([4, 6, 2])


def touched(start: tuple[int, ...], stop: tuple[int, ...]) -> int:
    """Chunks one by one: the numbers of the chunk that each pixel of a part is in."""
    spans = zip(start, stop, GRID.chunks, GRID.first, strict=True)
    along = [{(place + first) // chunk for place in range(a, b)} for a, b, chunk, first in spans]
    return len(along[0]) * len(along[1]) * 4 * 6


@pytest.mark.parametrize("length", [(1, 1), (3, 7), (4, 6), (5, 6), (10, 13)])
def test_what_is_read_and_the_shift_to_fewest_chunks_are_those_of_brute_force(
    length: tuple[int, int],
) -> None:
    places = [range(side - one + 1) for side, one in zip(SIDES, length, strict=True)]
    every = {start: touched(start, np.add(start, length)) for start in product(*places)}
    starts = np.array(list(every))
    np.testing.assert_array_equal(GRID.read(starts, starts + length), list(every.values()))
    moved = starts + GRID.to_fewest(starts, starts + length, SIDES)
    assert (moved >= 0).all()
    assert (moved + length <= SIDES).all()
    # No way is left out: the fewest of all are reached from wherever a part may go there.
    reached = [every[tuple(one)] for one in moved.tolist()]
    assert set(reached) == {min(every.values())}
    # The shorter way: no place that costs as little lies nearer, along either axis.
    best = [one for one, cost in every.items() if cost == min(every.values())]
    for before, after in zip(starts.tolist(), moved.tolist(), strict=True):
        for axis in (0, 1):
            nearest = min(abs(one[axis] - before[axis]) for one in best)
            assert abs(after[axis] - before[axis]) == nearest
    np.testing.assert_allclose(
        GRID.cost(starts, starts + length), np.mean(list(every.values())) / np.prod(length)
    )


def test_a_part_that_fits_nowhere_better_stays() -> None:
    grid = Grid((8,), (4,))  # chunks end at 4 and 12; a sample of 9 cannot hold 5 to 12
    assert grid.to_fewest((2,), (8,), (9,)).tolist() == [0]
    assert grid.within((5,)).first == (1,)


def test_places_are_drawn_as_often_as_there_is_something() -> None:
    corners = np.array([[0, 0, 0], [10, 0, 0], [0, 30, 5]], float)
    places = Places(corners, corners + SIZE, np.array([1.0, 3.0, 0.5]))
    drawn = places.draw(np.random.default_rng(0), 9_000)
    box = [np.flatnonzero(((one >= corners) & (one < corners + SIZE)).all(1)) for one in drawn]
    counts = np.bincount(np.concatenate(box), minlength=3)
    assert counts.sum() == 9_000
    assert chisquare(counts, 9_000 * np.array([1, 3, 0.5]) / 4.5).pvalue > 1e-3
    assert places.total == 4.5
    # The number of a draw alone decides it.
    np.testing.assert_array_equal(drawn[:7], places.draw(np.random.default_rng(0), 7))


def test_parts_lie_within_and_on_few_chunks() -> None:
    everywhere = Places(np.zeros((1, 2)), np.array([SIDES], float), np.ones(1))
    large = Large(SIDES, GRID, everywhere)
    centres = everywhere.draw(np.random.default_rng(0), 500)
    start, stop = large.at(centres, (4, 40))
    assert (start >= 0).all()
    assert (stop <= SIDES).all()
    assert np.unique(stop - start, axis=0).tolist() == [[4, 23]]  # shorter axes whole
    assert np.unique(GRID.read(start, stop)).tolist() == [4 * 30]
    plain, _ = Large(SIDES, None, everywhere).at(centres, (4, 6))
    np.testing.assert_allclose(plain, (centres - (2, 3)).clip(0, (15, 17)), atol=0.5001)


def test_lines_stand_for_chunks_of_what_lies_in_one_piece() -> None:
    assert lines((30, 40, 9000), 2) == (1, 1, 2048)
    assert lines((30, 40, 100), 4) == (1, 1, 100)
