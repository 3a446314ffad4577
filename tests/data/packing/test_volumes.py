"""A volume that is too large to be read whole, written anew in chunks that fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rich.console import Console

from domainjepa.data.opening import open_source
from domainjepa.data.packing import volumes
from domainjepa.data.packing.prepare import prepare
from domainjepa.data.source import Source
from domainjepa.errors import DataError, UserError

pytest.importorskip("zarr")
BODY = np.zeros((150, 70, 65), np.uint16)
BODY[3:60, 5:60, 2:63] = np.random.default_rng(0).integers(1, 999, (57, 55, 61))
BODY[140:150, 60:70, 40:65] = 7


@pytest.fixture
def slabs(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=BODY, chunks=(1, 70, 65))
    return tmp_path / "a.h5"


def large(path: Path, **options: Any) -> Source:
    return open_source(path, dimensions=3, max_sample_bytes=100_000, **options)


def write(source: Source, out: Path, **options: Any) -> None:
    prepare(source, out, workers=0, console=Console(quiet=True), **options)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_volume_is_the_same_in_cubic_chunks(
    slabs: Path, tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "BLOCK_BYTES", 2 * 64**3)
    assert volumes.side_of_blocks(2) == 64
    out = tmp_path / "b.zarr"
    write(large(slabs), out, compression=compression)
    again = large(out)
    assert (again.shape, again.dtype, again.chunks(0)) == ((*BODY.shape, 1), BODY.dtype, (32,) * 3)
    np.testing.assert_array_equal(again.region(0, (0, 0, 0), BODY.shape)[..., 0], BODY)
    # 3 x 2 x 2 blocks, of which those that hold nothing are not there, and not missed.
    starts = volumes.corners(BODY.shape, 64)
    filled = [BODY[z : z + 64, y : y + 64, x : x + 64].any() for z, y, x in starts]
    files = [one for one in (out / "images" / "c").glob("**/*") if one.is_file()]
    assert (len(starts), len(files)) == (12, sum(filled))
    assert not any("not there" in told for told in again.warnings)
    files[0].unlink()
    with pytest.raises(DataError, match=r"is damaged: .* of its files are gone"):
        large(out)


def test_a_writer_that_was_killed_goes_on(
    slabs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "BLOCK_BYTES", 2 * 32**3)
    out, read = tmp_path / "b.zarr", volumes.VolumeTask.read
    seen: list[int] = []

    def dying(self: volumes.VolumeTask, rows: range) -> Any:
        seen.append(rows.start)
        if len(seen) == 20:
            raise KeyboardInterrupt
        return read(self, rows)

    monkeypatch.setattr(volumes.VolumeTask, "read", dying)
    with pytest.raises(KeyboardInterrupt):
        write(large(slabs), out)
    assert not out.exists()
    seen[:] = [0] * 30
    write(large(slabs), out)
    blocks = len(volumes.corners(BODY.shape, 32))
    assert seen[30:] == list(range(19, blocks))  # the twentieth was being read
    np.testing.assert_array_equal(large(out).region(0, (0, 0, 0), BODY.shape)[..., 0], BODY)


def test_what_cannot_be_written_so_is_told(slabs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"block by block as Zarr: --out b\.zarr"):
        write(large(slabs), tmp_path / "b.h5")
    with pytest.raises(UserError, match=r"leave data\.split_boxes out"):
        write(large(slabs, split_boxes=("train=:50%",)), tmp_path / "b.zarr")
