"""The centre of frames: the same pixels, whether a format reads parts or not."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from domainjepa.data.opening import open_source

PIXELS = np.random.default_rng(0).integers(0, 255, (5, 40, 51, 3), dtype=np.uint8)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = PIXELS
        file["labels"] = np.arange(5) % 2
        file["z"] = np.arange(5.0)
    return tmp_path / "a.h5"


def test_the_centre_stays_with_all_that_belongs_to_it(packed: Path) -> None:
    source = open_source(packed, crop=20)
    assert source.shape == (20, 20, 3)
    assert source.sides(2) == (20, 20)
    np.testing.assert_array_equal(np.stack(list(source)), PIXELS[:, 10:30, 15:35])
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 0, 1, 0]
    assert source.column("z").tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(source.region(1, (2, 3), (9, 50)), source[1][2:9, 3:50])
    assert source.fingerprint() != open_source(packed).fingerprint()
    assert any("centre of 20x20 px of 40x51" in told for told in source.decisions)


def test_small_frames_stay_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    Image.fromarray(PIXELS[1, :16, :12]).save(tmp_path / "b.png")
    source = open_source(tmp_path, crop=30)
    np.testing.assert_array_equal(source[0], PIXELS[0, 5:35, 10:40])
    np.testing.assert_array_equal(source[1], PIXELS[1, :16, :12])
    assert source.sides(1) == (16, 12)


def test_tiles_are_cut_from_the_centre(tmp_path: Path) -> None:
    mosaic = np.random.default_rng(1).integers(1, 2**16, (90, 100), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", mosaic, tile=(16, 16))
    tiles = open_source(tmp_path, crop=64, tile=32)
    centre = mosaic[13:77, 18:82]
    blocks = centre.reshape(2, 32, 2, 32).swapaxes(1, 2).reshape(4, 32, 32, 1)
    np.testing.assert_array_equal(np.stack(list(tiles)), blocks)


def test_the_depth_of_volumes_stays(tmp_path: Path) -> None:
    volumes = np.random.default_rng(2).integers(0, 255, (2, 9, 20, 24, 1), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=volumes)
    source = open_source(tmp_path / "a.npz", dimensions=3, crop=10)
    assert source.shape == (9, 10, 10, 1)
    np.testing.assert_array_equal(source[1], volumes[1, :, 5:15, 7:17])
