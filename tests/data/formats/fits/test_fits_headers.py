from __future__ import annotations

import bz2
import gzip
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from domainjepa.data.formats.fits.images import contents
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

MOST = 2**24


def header(**cards: object) -> bytes:
    """One header block."""
    lines = []
    for key, value in cards.items():
        told = "T" if value is True else f"'{value}'" if isinstance(value, str) else str(value)
        lines.append(f"{key:8}= {told:>20}".ljust(80))
    return "".join([*lines, "END"]).ljust(2880).encode()


PRIMARY = header(SIMPLE=True, BITPIX=8, NAXIS=0)


def test_hdus_are_those_that_astropy_finds(tmp_path: Path) -> None:
    path = tmp_path / "many.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("a", "PE()", array=[[1], [2, 3]])])
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            table,
            fits.ImageHDU(np.zeros((1, 5, 7), "f8"), name="sci"),
            fits.CompImageHDU(np.zeros((6, 8), "i2"), name="sci"),
            fits.ImageHDU(np.zeros(9)),
            fits.ImageHDU(np.zeros((3, 4), "u1"), name="dq"),
        ]
    )
    hdus[3].header["EXTVER"] = 2
    hdus[2].header["RA"] = 1.5
    hdus[5].header["RA"] = 2.5
    for number in range(60):
        hdus[0].header[f"CARD{number}"] = number  # a header of several blocks
    hdus.writeto(path)
    found = contents(path, MOST, ("RA", "DEC"))
    assert [(hdu.number, hdu.name, hdu.shape) for hdu in found.hdus] == [
        (2, "SCI", (5, 7)),
        (3, "SCI,2", (6, 8)),
        (5, "DQ", (3, 4)),
    ]
    assert found.cards == {"RA": 1.5}
    with fits.open(path) as opened:
        offsets = [opened[hdu.number].fileinfo()["datLoc"] for hdu in found.hdus[::2]]
    assert [hdu.offset for hdu in found.hdus[::2]] == offsets


BAD = {
    "petabytes": (header(SIMPLE=True, BITPIX=-64, NAXIS=2, NAXIS1=10**7, NAXIS2=10**8), "truncat"),
    "beyond 64 bits": (
        header(SIMPLE=True, BITPIX=8, NAXIS=3, **{f"NAXIS{n}": 10**15 for n in (1, 2, 3)}),
        "truncated or damaged",
    ),
    "bits": (header(SIMPLE=True, BITPIX=7, NAXIS=2, NAXIS1=4, NAXIS2=4), "BITPIX is 7"),
    "sides": (header(SIMPLE=True, BITPIX=8, NAXIS=2, NAXIS1=-4, NAXIS2=4), "NAXIS1 is -4"),
    "no sides": (header(SIMPLE=True, BITPIX=8, NAXIS=2, NAXIS1=4), "NAXIS2 is None"),
    "many axes": (header(SIMPLE=True, BITPIX=8, NAXIS=10**6), "NAXIS is 1000000"),
    "no END": (b"SIMPLE  =                    T".ljust(2880) * 2, "no END"),
    "endless": (b"SIMPLE  =                    T".ljust(80) * 36 * 3000, "no END"),
    "nothing but a header": (PRIMARY, "no image"),
    "an empty image": (header(SIMPLE=True, BITPIX=8, NAXIS=2, NAXIS1=0, NAXIS2=5), "no image"),
    "a spectrum": (header(SIMPLE=True, BITPIX=8, NAXIS=1, NAXIS1=5).ljust(5760, b"\0"), "no image"),
    "a scale of words": (
        header(SIMPLE=True, BITPIX=8, NAXIS=2, NAXIS1=4, NAXIS2=4, BSCALE="x").ljust(5760, b"\0"),
        "BSCALE is 'x'",
    ),
    "tiles of petabytes": (
        PRIMARY
        + header(
            XTENSION="BINTABLE",
            BITPIX=8,
            NAXIS=2,
            NAXIS1=8,
            NAXIS2=1,
            PCOUNT=0,
            GCOUNT=1,
            TFIELDS=1,
            ZIMAGE=True,
            ZBITPIX=16,
            ZNAXIS=2,
            ZNAXIS1=10**7,
            ZNAXIS2=10**8,
        ).ljust(5760, b"\0"),
        "exhaust memory",
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_what_cannot_be_is_refused_at_once(tmp_path: Path, name: str, suffix: str) -> None:
    content, message = BAD[name]
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    if suffix.endswith("gz") and message.startswith("truncat"):
        message = "would unpack to"
    tracemalloc.start()
    with pytest.raises(DataError, match=message) as error:
        open_source(path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_bzip2_is_read_as_gzip_is(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(12, 16)).astype(">f4")
    fits.PrimaryHDU(image).writeto(tmp_path / "plain.fits")
    content = (tmp_path / "plain.fits").read_bytes()
    (tmp_path / "sdss").mkdir()
    path = tmp_path / "sdss" / "frame-g.fits.bz2"
    path.write_bytes(bz2.compress(content))
    folder = open_source(tmp_path / "sdss")
    for source in (folder, open_source(path)):
        np.testing.assert_array_equal(source[0][..., 0], image)
        np.testing.assert_array_equal(source.region(0, (2, 3), (5, 9))[..., 0], image[2:5, 3:9])
    assert folder.ids is not None
    assert folder.ids.tolist() == ["frame-g"]
    path.write_bytes(bz2.compress(content)[:-30])
    with pytest.raises(DataError, match="cannot be read"):
        open_source(path)[0]


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.fits.gz"
    side = 2**15
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header(SIMPLE=True, BITPIX=8, NAXIS=2, NAXIS1=side, NAXIS2=side))
        file.write(bytes(2**24))  # of the GiB that it claims
    started = time.process_time()
    with pytest.raises(DataError, match=r"would unpack to 1,073,744,704 bytes.*gunzip"):
        open_source(path)
    assert time.process_time() - started < 5


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.zeros((50, 50))).writeto(path)
    content = path.read_bytes()
    path.write_bytes(content[:-4000])
    with pytest.raises(DataError, match=r"claims 22,880 bytes and the file has 19,040"):
        open_source(path)
    path.write_bytes(content[:22_880])  # without the fill of the last block: all is there
    assert open_source(path)[0].shape == (50, 50, 1)
    packed = tmp_path / "image.fits.gz"
    packed.write_bytes(gzip.compress(np.random.default_rng(0).bytes(99) + content)[:200])
    with pytest.raises(DataError, match="format"):
        open_source(packed)
    packed.write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        open_source(packed)
