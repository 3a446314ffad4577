from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from domainjepa.data.storage import uncompressed
from domainjepa.data.storage.uncompressed import Stored
from domainjepa.errors import DataError

PARTS = [
    (),
    3,
    -1,
    slice(2, 5),
    slice(4, 4),
    (2, slice(1, 3)),
    (slice(None), slice(1, 3), 0),
    (slice(1, 6), slice(0, 9), slice(5, 9), 1),
    (5, 3, 2, 1),
    (slice(-2, None), slice(None, -1)),
]


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("page", [1, 64, 4096])
@pytest.mark.parametrize("where", PARTS, ids=str)
def test_parts_are_those_of_the_array(
    where: uncompressed.Where,
    page: int,
    fortran: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uncompressed, "PAGE", page)
    values = np.arange(7 * 4 * 11 * 2, dtype=">i2").reshape(7, 4, 11, 2)
    path = tmp_path / "a.raw"
    path.write_bytes(b"header" + values.tobytes("F" if fortran else "C"))
    array = Stored(path, values.dtype, values.shape, 6, fortran=fortran)
    np.testing.assert_array_equal(array[where], values[where])
    assert array[where].dtype == values[where].dtype
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[where], values[where])  # noqa: S301
    assert len(array) == 7


def test_a_file_that_is_cut_short_is_an_error_and_no_bus_error(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(100_000))
    array = Stored(path, np.dtype("u1"), (10, 10_000))
    assert not array[9].any()
    with path.open("r+b") as file:
        file.truncate(95_000)
    assert not array[8].any()
    with pytest.raises(DataError, match=r"a\.raw has become shorter .* before byte 100,000"):
        array[9]
    path.unlink()
    assert not array[8].any()  # what is open stays


CUT = """
import sys
from pathlib import Path
import h5py
import numpy as np
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from domainjepa import cli
path = Path(sys.argv[1])
source = open_source(path)
source[0]
for file in [path, *path.glob("*.bin")]:
    if file.is_file():
        with file.open("r+b") as raw:
            raw.truncate(file.stat().st_size // 2)
try:
    source[len(source) - 1]
except DataError as error:
    print("typed:", error)
"""


def fits_table(path: Path, images: np.ndarray) -> None:
    from astropy.io import fits

    column = fits.Column("image", f"{images[0].size}B", dim="(32,32,3)", array=images)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])]).writeto(path)


def fits_cube(path: Path, images: np.ndarray) -> None:
    from astropy.io import fits

    fits.HDUList([fits.PrimaryHDU(images[..., 0].astype(np.float32))]).writeto(path)


def tiff(path: Path, images: np.ndarray) -> None:
    import tifffile

    tifffile.imwrite(path, images, photometric="rgb")


@pytest.mark.parametrize("name", ["a.npy", "f.npy", "a.npz", "t.fits", "c.fits", "a.tif"])
def test_every_format_says_it(name: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (64, 32, 32, 3), np.uint8)
    path = tmp_path / name
    write = {
        "a.npy": np.save,
        "f.npy": lambda path, images: np.save(path, np.asfortranarray(images)),
        "a.npz": lambda path, images: np.savez(path, images=images),
        "t.fits": fits_table,
        "c.fits": fits_cube,
        "a.tif": tiff,
    }[name]
    write(path, images)
    # In a process of its own: a bus error is the end of it.
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("typed: "), done.stdout
