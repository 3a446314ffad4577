from __future__ import annotations

import pickle

import numpy as np
import pytest

from domainjepa.data.parts.regions import in_regions, spread_slices
from domainjepa.errors import ConfigError
from tests.data.toys import Arrays, Lazy, toy


def volumes(kind: type[Arrays] = Lazy, **facts: object) -> Arrays:
    draw = np.random.default_rng(0)
    arrays = [draw.integers(0, 99, (6, 5, 4, 2), dtype=np.int16) for _ in range(3)]
    return toy(kind, arrays, **facts)


def test_every_volume_counts_so_often() -> None:
    source = in_regions(
        volumes(
            labels=np.array([0, 1, 1]),
            ids=np.array(["a", "b", "c"]),
            spacings=np.arange(9.0).reshape(3, 3) + 1,
            split=np.array(["train", "test", "train"]),
        ),
        4,
    )
    assert len(source) == 12
    assert source.volumetric
    assert source.labels is not None
    assert source.labels.tolist() == [0] * 4 + [1] * 8
    assert source.rows("test").tolist() == [4, 5, 6, 7]
    assert source.spacings is not None
    assert source.spacings[5].tolist() == [4, 5, 6]
    assert source.volume_of(5) == 1
    np.testing.assert_array_equal(source[5], source.volumes[1])
    np.testing.assert_array_equal(
        source.region(5, (1, 0, 2), (3, 5, 4)), source.volumes[1][1:3, :, 2:4]
    )
    assert source.sides(11) == (6, 5, 4)
    assert source.column("tens").tolist() == np.repeat([0, 10, 20], 4).tolist()


def test_the_regions_of_a_volume_are_never_split() -> None:
    source = in_regions(volumes(), 2)
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2]
    patients = in_regions(volumes(groups=np.array([7, 7, 8])), 2)
    assert patients.groups is not None
    assert patients.groups.tolist() == [7, 7, 7, 7, 8, 8]


def test_the_data_is_the_same_however_often_it_counts() -> None:
    assert in_regions(volumes(), 3).fingerprint() == volumes().fingerprint()
    again = pickle.loads(pickle.dumps(in_regions(volumes(), 3)))  # noqa: S301
    assert again.fingerprint() == volumes().fingerprint()


def test_more_regions_than_an_epoch_can_list_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"views\.spacing"):
        in_regions(volumes(), 40_000_000)


def test_parts_are_read_where_the_volumes_can_be() -> None:
    assert in_regions(volumes(Lazy), 2).reads_parts
    assert not in_regions(volumes(Arrays), 2).reads_parts


@pytest.mark.parametrize("kind", [Arrays, Lazy])
@pytest.mark.parametrize(("most", "expected"), [(1, [3]), (3, [1, 3, 5]), (20, list(range(6)))])
def test_slices_are_spread_along_the_first_axis(
    kind: type[Arrays], most: int, expected: list[int]
) -> None:
    source = volumes(kind)
    np.testing.assert_array_equal(spread_slices(source, 2, most), source[2][expected])
