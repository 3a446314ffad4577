"""What is too large to be read whole, and train and test inside of one volume."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from astropy.io import fits

from domainjepa.config import ViewsConfig
from domainjepa.data.formats.hdf5.datasets import DatasetsSource
from domainjepa.data.formats.nifti import loader as nifti
from domainjepa.data.opening import open_source
from domainjepa.data.parts import occupancy
from domainjepa.data.parts.drawn import DrawnSource
from domainjepa.data.parts.regions import in_regions
from domainjepa.data.source import Source
from domainjepa.domains.intensity import Linear
from domainjepa.domains.microscopy import Microscopy
from domainjepa.errors import DataError
from domainjepa.views.views import ViewMaker
from domainjepa.views.volume_views import VolumeViews

SIDES = (90, 80, 70)
LIMIT = 100_000
"""Bytes: less than the volume takes."""


def body() -> np.ndarray[Any, Any]:
    """(90, 80, 70) uint16, zero but for two bodies, one of them four times as large."""
    volume = np.zeros(SIDES, np.uint16)
    draw = np.random.default_rng(0)
    volume[8:48, 8:48, 8:40] = draw.integers(100, 1000, (40, 40, 32))
    volume[60:84, 50:74, 40:62] = draw.integers(100, 1000, (24, 24, 22))
    return volume


BODY = body()


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=BODY, chunks=(16, 16, 16), compression="gzip")
    return tmp_path / "a.h5"


def large(path: Path, **options: Any) -> Source:
    return open_source(path, **{"max_sample_bytes": LIMIT, "dimensions": 3} | options)


def test_what_is_too_large_is_read_in_parts(packed: Path) -> None:
    source = large(packed)
    assert (len(source), source.shape, source.split) == (1, (*SIDES, 1), None)
    assert source.chunks(0) == (16, 16, 16)
    np.testing.assert_array_equal(
        source.region(0, (3, 70, 5), (30, 95, 99)), BODY[3:30, 70:, 5:, None]
    )
    with pytest.raises(DataError, match=r"sample 0 of a, 90x80x70, would take .* in parts"):
        _ = source[0]
    assert any("read in parts" in told for told in source.decisions)
    assert pickle.loads(pickle.dumps(source)).fingerprint() == source.fingerprint()  # noqa: S301
    # Another content, another fingerprint, though no sample is read whole.
    with h5py.File(packed.with_name("b.h5"), "w") as file:
        file["raw"] = BODY + 1
    assert large(packed.with_name("b.h5")).fingerprint() != source.fingerprint()
    # What fits stays as it was.
    assert open_source(packed, dimensions=3).large(0) is None


def test_places_are_where_something_is_and_are_looked_for_once(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = large(packed).large(0)
    assert known is not None
    drawn = known.places.draw(np.random.default_rng(0), 2_000)
    inside = (BODY > 0)[tuple(drawn.astype(int).T)]
    assert inside.mean() > 3 * (BODY > 0).mean()
    left = ((drawn < 52).all(axis=1)).mean()
    parts = [int((BODY[:50] > 0).sum()), int((BODY[50:] > 0).sum())]
    assert left == pytest.approx(parts[0] / sum(parts), abs=0.08)
    assert known.places.total == pytest.approx(sum(parts), rel=0.25)

    def never(*_: object) -> None:
        raise AssertionError("looked again")

    monkeypatch.setattr(occupancy, "by_pieces", never)
    assert large(packed).fingerprint()


def test_boxes_are_a_split(packed: Path) -> None:
    boxes = ("train=:50%,:,10:", "val=50:58", "test=64:,0:79")
    source = large(packed, split_boxes=boxes, split_margin=4)
    assert source.split is not None
    assert source.split.tolist() == ["train", "val", "test"]
    assert [source.sides(row) for row in range(3)] == [(45, 80, 60), (8, 80, 70), (26, 79, 70)]
    np.testing.assert_array_equal(
        source.region(2, (0, 5, 0), (4, 99, 7)), BODY[64:68, 5:79, :7, None]
    )
    np.testing.assert_array_equal(source[1], BODY[50:58, ..., None])  # small enough
    assert source.groups is not None
    assert len(set(source.groups.tolist())) == 3
    assert source.fingerprint() != large(packed, split_boxes=boxes[:1]).fingerprint()


def test_boxes_of_a_volume_that_fits_are_volumes_and_slices(packed: Path) -> None:
    boxes = ("train=:40,:,:", "test=60:,:,:")
    volumes = open_source(packed, dimensions=3, split_boxes=boxes, split_margin=20)
    np.testing.assert_array_equal(volumes[0], BODY[:40, ..., None])
    slices = open_source(packed, split_boxes=boxes, split_margin=20)
    assert slices.split is not None
    np.testing.assert_array_equal(slices[0], BODY[8, ..., None])  # the first that is not empty
    assert slices.split.tolist() == ["train"] * 32 + ["test"] * 24


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        (["train=:50", "test=52:"], r"lie 2 apart, and data\.split_margin asks for 4"),
        (["train=:50", "test=40:"], "lie on each other"),
        (["train=50:40"], r"'50:40' is no from:to within 0 and 90"),
        (["train=:91"], r"no from:to within 0 and 90"),
        (["train=:1.5"], r"no from:to"),
        (["learn=:50"], r"write train, val or test, =, and from:to along D,H,W"),
        (["train=1:2,1:2,1:2,1:2"], "write train"),
        (["train"], "write train"),
    ],
)
def test_boxes_that_cannot_be_are_told(packed: Path, boxes: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        large(packed, split_boxes=tuple(boxes), split_margin=4)


def test_boxes_of_one_part_may_touch_and_those_of_several_volumes_may_not_be(
    packed: Path, tmp_path: Path
) -> None:
    assert len(large(packed, split_boxes=("train=:50", "train=50:"))) == 2
    np.savez(tmp_path / "b.npz", images=np.ones((2, 20, 30, 40), np.uint8))
    with pytest.raises(DataError, match="boxes of one volume or mosaic, and b has 2"):
        open_source(tmp_path / "b.npz", dimensions=3, split_boxes=("train=:50%",))


@pytest.mark.parametrize("axis", ["0", "1", "2", "all"])
def test_tiles_lie_in_planes_where_something_is(packed: Path, axis: str) -> None:
    tiles = open_source(
        packed, max_sample_bytes=LIMIT, axis=axis, tile=16, regions=300,
        split_boxes=("train=:50,:,:", "test=54:,:,:"), split_margin=4,
    )  # fmt: skip
    assert isinstance(tiles, DrawnSource)
    assert tiles.split is not None
    assert abs(len(tiles) - 300) <= 1
    assert tiles.shape == (16, 16, 1)
    across = set(tiles.across.tolist())
    assert across == ({0, 1, 2} if axis == "all" else {int(axis)})
    for row in range(0, len(tiles), 17):
        where = tuple(map(slice, tiles.start[row] + tiles.whole.start[tiles.of[row]],
                          tiles.stop[row] + tiles.whole.start[tiles.of[row]]))  # fmt: skip
        stored = BODY[where].squeeze(int(tiles.across[row]))
        np.testing.assert_array_equal(tiles[row], stored[..., None])
    # One plane of a chunk of 16 is used, and tiles lie on as few chunks as can be.
    assert tiles.cost == pytest.approx(16, rel=0.3)
    assert any("bytes of chunks (16x16x16) for each" in told for told in tiles.warnings)
    filled = np.mean([(tile > 0).mean() > 0.1 for tile in tiles.__getitems__(range(len(tiles)))])
    assert filled > 0.6  # of places at random about 0.4
    assert 0.55 < (tiles.split == "train").mean() < 0.9  # as much as is there
    again = open_source(packed, max_sample_bytes=LIMIT, axis=axis, tile=16, regions=300,
                        split_boxes=("train=:50,:,:", "test=54:,:,:"), split_margin=4)  # fmt: skip
    assert again.fingerprint() == tiles.fingerprint()


def test_tiles_that_chunks_fit_cost_what_they_hold(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=BODY, chunks=(1, 16, 16))
    tiles = open_source(tmp_path / "a.h5", max_sample_bytes=LIMIT, axis="0", tile=32,
                        split_boxes=("train=:,:,:",))  # fmt: skip
    assert isinstance(tiles, DrawnSource)
    assert 1 <= tiles.cost < 2
    assert not tiles.warnings


def test_mosaics_become_drawn_tiles_or_all_of_them(tmp_path: Path) -> None:
    mosaic = np.random.default_rng(0).integers(1, 2**16, (300, 400), dtype=np.uint16)
    mosaic[:, :200] = 0
    tifffile.imwrite(tmp_path / "a.tif", mosaic, tile=(32, 32))
    fits.PrimaryHDU(mosaic).writeto(tmp_path / "a.fits")
    for name in ("a.tif", "a.fits"):
        with pytest.raises(DataError, match="240,000"):
            open_source(tmp_path / name, axis="bands", max_sample_bytes=LIMIT)
        drawn = open_source(tmp_path / name, regions=50, tile=64, max_sample_bytes=LIMIT)
        assert isinstance(drawn, DrawnSource)
        assert (len(drawn), drawn.shape) == (50, (64, 64, 1))
        for row in (0, 49):
            top, left = drawn.start[row].tolist()
            np.testing.assert_array_equal(
                drawn[row][..., 0], mosaic[top : top + 64, left : left + 64]
            )
        assert np.mean([(tile > 0).mean() > 0.2 for tile in drawn]) > 0.9
        every = open_source(tmp_path / name, tile=100, max_sample_bytes=LIMIT)
        assert len(every) == 6  # of 12, the other half is empty
        parts = open_source(tmp_path / name, regions=40, tile=64, max_sample_bytes=LIMIT,
                            split_boxes=("train=:,:75%", "test=:,320:"),
                            split_margin=20)  # fmt: skip
        assert parts.split is not None
        assert set(parts.split.tolist()) == {"train", "test"}


def test_an_overview_tells_where_something_is(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.create_group(tmp_path / "a.zarr")
    whole = BODY[:80, :80, :64]
    for name, step in (("0", 1), ("1", 4), ("2", 8)):
        values = whole[::step, ::step, ::step]
        group.create_array(name, shape=values.shape, chunks=(16, 16, 16), dtype="u2")[...] = values
    group.attrs["ome"] = {"multiscales": [{
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
        "datasets": [
            {"path": name, "coordinateTransformations": [{"type": "scale", "scale": [step] * 3}]}
            for name, step in (("0", 1), ("1", 4), ("2", 8))
        ],
    }]}  # fmt: skip
    source = large(tmp_path / "a.zarr")
    known = source.large(0)
    assert known is not None
    assert any("its resolution of 20x20x16" in told for told in source.decisions)
    drawn = known.places.draw(np.random.default_rng(0), 1_000).astype(int)
    assert (whole > 0)[tuple(drawn.T)].mean() > 0.85  # up to cells at the edges
    np.testing.assert_array_equal(source.region(0, (1, 2, 3), (40, 50, 60)),
                                  whole[1:40, 2:50, 3:60, None])  # fmt: skip
    boxes = ("train=:30", "test=40:60,80%:,:25%")
    with pytest.raises(DataError, match="the box test 40:60,64:80,0:16 of a: there is nothing"):
        large(tmp_path / "a.zarr", split_boxes=boxes, split_margin=4)


def test_other_formats_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes of TIFF, FITS and plain NIfTI, of which no more is read than is asked for."""
    nibabel = pytest.importorskip("nibabel")
    monkeypatch.setattr(nifti, "MOST_BYTES", LIMIT)  # from which on not even planes are read whole
    tifffile.imwrite(tmp_path / "a.tif", BODY, tile=(32, 16))
    fits.PrimaryHDU(BODY).writeto(tmp_path / "a.fits")
    # NIfTI's x, y, z lead right, anterior, superior; W and H run against them.
    turned = BODY.transpose(2, 1, 0)[::-1, ::-1]
    nibabel.save(nibabel.Nifti1Image(turned, np.eye(4)), tmp_path / "a.nii")
    chunks = {"a.tif": (1, 32, 16), "a.fits": (1, 1, 70), "a.nii": (1, 1, 70)}
    for name, chunk in chunks.items():
        source = large(tmp_path / name)
        assert source.chunks(0) == chunk
        assert source.large(0) is not None
        part = source.region(0, (3, 20, 5), (80, 41, 33))
        np.testing.assert_array_equal(part, BODY[3:80, 20:41, 5:33, None])
        tiles = open_source(
            tmp_path / name, max_sample_bytes=LIMIT, axis="all", tile=16, regions=30
        )
        assert isinstance(tiles, DrawnSource)
        for row in range(6):
            where = tuple(map(slice, tiles.start[row], tiles.stop[row]))
            stored = BODY[where].squeeze(int(tiles.across[row]))
            np.testing.assert_array_equal(tiles[row][..., 0], stored)


def test_a_small_volume_beside_a_large_one_is_read_as_ever(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("scan_1", data=BODY[:8, :20, :20] + 1)
        file.create_dataset("scan_2", data=BODY, chunks=(16, 16, 16))
    source = large(tmp_path / "a.h5")
    assert (source.large(0) is None, source.large(1) is None) == (True, False)
    np.testing.assert_array_equal(source[0][..., 0], BODY[:8, :20, :20] + 1)
    assert source.fingerprint() == large(tmp_path / "a.h5").fingerprint()


def test_a_card_holds_boxes(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(packed.parent)
    Path("em.toml").write_text(
        'name = "em"\ntitle = "EM"\ndomain = "microscopy"\nlicence = "CC BY"\n'
        'citation = "We"\nfiles = ["a.h5"]\nmatch = { keys = [] }\n'
        'split_boxes = ["train=:40", "test=60%:"]\n'
    )
    source = open_source("em.toml", dimensions=3, split_margin=10)
    assert source.split is not None
    assert source.split.tolist() == ["train", "test"]


Read = tuple[tuple[int, ...], tuple[int, ...]]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Read]]:
    """Start and stop of everything that is read of the file."""
    found: list[Read] = []
    region = DatasetsSource.region

    def noting(self: DatasetsSource, index: int, start: Any, stop: Any) -> Any:
        found.append((tuple(start), tuple(stop)))
        return region(self, index, start, stop)

    monkeypatch.setattr(DatasetsSource, "region", noting)
    return iter([found])  # type: ignore[return-value]


@pytest.mark.parametrize("limit", [LIMIT, 2**28])
def test_no_region_leaves_its_box(packed: Path, reads: Iterator[list[Read]], limit: int) -> None:
    """Everything that is read for views of the training box lies in it, whatever is drawn."""
    noted = next(reads)
    boxes = ("train=6:56,:,5:60", "test=60:,:,:")
    source = large(packed, split_boxes=boxes, split_margin=4, max_sample_bytes=limit)
    assert (source.large(0) is not None) == (limit == LIMIT)
    regions = in_regions(source, 40)
    assert regions.split is not None
    views = ViewsConfig(global_size=16, local_size=8, num_local=2, spacing=1.0)
    maker = ViewMaker(Microscopy(), Linear(low=(0.0,), high=(1000.0,)), views, 0)
    for part, (low, high) in (
        ("train", ((6, 0, 5), (56, 80, 60))),
        ("test", ((60, 0, 0), SIDES)),
    ):
        made = VolumeViews(maker)
        noted.clear()
        for epoch in range(2):
            for row in np.flatnonzero(regions.split == part).tolist():
                made.drawn(made.volume(regions, row), epoch, row)
        assert len(noted) >= 80
        assert (np.array([start for start, _ in noted]) >= low).all()
        assert (np.array([stop for _, stop in noted]) <= high).all()


def test_regions_are_read_from_few_chunks(packed: Path) -> None:
    """A block of less than a chunk and a half touches two chunks along each axis, not three."""
    source = large(packed)
    views = ViewsConfig(global_size=16, local_size=8, num_local=0, spacing=1.0)
    maker = ViewMaker(Microscopy(), Linear(low=(0.0,), high=(1000.0,)), views, 0)
    made, known = VolumeViews(maker), source.large(0)
    assert known is not None
    assert known.grid is not None
    for epoch in range(60):
        volume = made.volume(source, 0)
        start, stop = volume.needed(made.looks(volume, epoch, 0)[1])
        fewest = np.prod(-(-(stop - start) // 16)) * 16**3
        # At the edges a block is cut off, and grows by a voxel where it is shifted away.
        assert known.grid.read(start, stop) <= fewest * 1.5 + 1
