from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from domainjepa.data.opening import open_source
from domainjepa.data.parts.tiles import corners, tiled
from domainjepa.errors import DataError
from tests.data.toys import Arrays, Lazy, toy

DRAW = np.random.default_rng(0)


def test_tiles_cover_a_sample_and_are_all_whole() -> None:
    covered = np.zeros((50, 32, 7), int)
    for start, stop in corners((50, 32, 7), 16):
        where = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
        assert covered[where].shape == (16, 16, 7)
        covered[where] += 1
    assert covered.min() == 1
    assert (
        covered.max(axis=(1, 2)) == np.where((np.arange(50) >= 34) & (np.arange(50) < 48), 2, 1)
    ).all()


@pytest.mark.parametrize("kind", [Arrays, Lazy])
@pytest.mark.parametrize("shape", [(40, 50, 2), (20, 33, 40, 1)])
def test_a_tile_is_a_cut_of_its_sample(kind: type[Arrays], shape: tuple[int, ...]) -> None:
    arrays = [DRAW.normal(size=shape).astype(np.float32) for _ in range(3)]
    source = tiled(toy(kind, arrays), 16)
    regions = corners(shape[:-1], 16)
    assert len(source) == 3 * len(regions)
    assert source.shape == (16,) * (len(shape) - 1) + shape[-1:]
    for index, tile in enumerate(source.__getitems__(range(len(source)))):
        sample, number = divmod(index, len(regions))
        where = tuple(slice(*ends) for ends in zip(*regions[number], strict=True))
        np.testing.assert_array_equal(tile, arrays[sample][where])
    assert "none is empty" in source.decisions[-1]


def test_empty_tiles_are_left_out_and_counted() -> None:
    mosaic = DRAW.normal(size=(64, 96, 3)).astype(np.float32)
    mosaic[:32] = np.nan
    mosaic[32:, :32] = 0
    source = tiled(toy(Lazy, [mosaic]), 32)
    assert len(source) == 2
    assert "4 empty ones are left out" in source.decisions[-1]
    np.testing.assert_array_equal(source[1], mosaic[32:, 64:])
    with pytest.raises(DataError, match="nothing on it"):
        tiled(toy(Lazy, [np.zeros((64, 64, 1))]), 32)


def test_tiles_inherit_what_is_known_of_their_sample() -> None:
    arrays = [DRAW.normal(size=(size, 32, 1)) for size in (32, 64, 48)]
    source = tiled(
        toy(
            Arrays,
            arrays,
            labels=np.array([2, 0, 1]),
            classes=("a", "b", "c"),
            split=np.array(["train", "val", "test"]),
            ids=np.array(["x", "y", "z"]),
            spacings=np.array([[1.0, 2], [3, 4], [5, 6]]),
            modality="US",
            origin="dicom",
            card={"name": "a-card"},
            keys=("tens",),
        ),
        32,
    )
    of = [0, 1, 1, 2, 2]
    assert source.labels is not None
    assert source.groups is not None
    assert source.split is not None
    assert source.ids is not None
    assert source.spacings is not None
    assert source.labels.tolist() == [2, 0, 0, 1, 1]
    assert source.classes == ("a", "b", "c")
    assert source.groups.tolist() == of
    assert source.split.tolist() == ["train", "val", "val", "test", "test"]
    assert source.ids.tolist() == ["x:0,0", "y:0,0", "y:32,0", "z:0,0", "z:16,0"]
    assert source.spacings[:, 1].tolist() == [2, 4, 4, 6, 6]
    assert source.column("tens").tolist() == [0, 10, 10, 20, 20]
    assert (source.modality, source.public_name, source.keys) == ("US", "a-card", ("tens",))
    assert source.origin == "dicom"  # or `prepare` would take it for no medical data


def test_tiles_keep_the_groups_of_their_samples() -> None:
    arrays = [DRAW.normal(size=(32, 64, 1)) for _ in range(3)]
    source = tiled(toy(Arrays, arrays, groups=np.array([5, 5, 1])), 32)
    assert source.groups is not None
    assert source.groups.tolist() == [5, 5, 5, 5, 1, 1]


def test_a_sample_that_is_read_whole_is_read_once() -> None:
    source = toy(Arrays, [DRAW.normal(size=(64, 64, 1)) for _ in range(2)])
    tiles = tiled(source, 16)
    source.reads.clear()
    tiles.__getitems__(list(range(len(tiles))))
    assert source.reads == [0, 1]


def test_the_second_opening_looks_at_nothing() -> None:
    source = toy(Arrays, [DRAW.normal(size=(64, 64, 1))])
    first = tiled(source, 16)
    source.reads.clear()
    assert len(tiled(source, 16)) == len(first)
    assert not source.reads
    assert len(tiled(source, 32)) == 4  # another division has its own facts
    assert source.reads == [0]


def test_tiles_of_an_unreadable_sample_fail_when_they_are_read() -> None:
    arrays = [DRAW.normal(size=(32, 16 * count, 1)) for count in (2, 3, 2)]
    source = tiled(toy(Lazy, arrays, broken=(1,)), 16)
    assert len(source) == 4 + 6 + 4
    assert "1 samples cannot be read" in source.warnings[-1]
    with pytest.raises(DataError, match="sample 1"):
        source[9]
    np.testing.assert_array_equal(source[10], arrays[2][:16, :16])
    whole = tiled(toy(Arrays, arrays, broken=(1,)), 16)  # of whose size nothing is known
    assert len(whole) == 4 + 4 + 4
    with pytest.raises(DataError, match="sample 0"):
        tiled(toy(Lazy, arrays, broken=(0, 1, 2)), 16)


def test_pickled_tiles_read_the_same() -> None:
    source = tiled(toy(Arrays, [DRAW.normal(size=(64, 64, 1))]), 32)
    expected = source[3]
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    np.testing.assert_array_equal(copy[3], expected)


def test_content_and_fingerprint_depend_on_the_tile() -> None:
    source = toy(Arrays, [DRAW.normal(size=(64, 64, 1))])
    assert tiled(source, 16).content_key() != tiled(source, 32).content_key()


def test_a_mosaic_in_a_file_opens_as_tiles(tmp_path: Path) -> None:
    mosaic = DRAW.normal(size=(1, 64, 96, 3)).astype(np.float32)
    np.save(tmp_path / "mosaic.npy", mosaic)
    source = open_source(tmp_path / "mosaic.npy", tile=32)
    assert (len(source), source.shape) == (6, (32, 32, 3))
    np.testing.assert_array_equal(source[5], mosaic[0, 32:, 64:])
    assert "groups: the parts of a sample are one group" in source.decisions


def test_a_mosaic_is_not_cut_into_crumbs() -> None:
    with pytest.raises(DataError, match="take larger ones"):
        corners((10**6, 10**6), 16)


def test_an_index_out_of_range_is_an_index_error() -> None:
    source = tiled(toy(Arrays, [DRAW.normal(size=(64, 64, 1))]), 32)
    with pytest.raises(IndexError):
        source.__getitems__([4])
