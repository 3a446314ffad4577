from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from domainjepa.data.formats.archives import loader as archives
from domainjepa.data.opening import open_source
from domainjepa.data.source import Source
from domainjepa.errors import DataError
from tests.data.fuzz import flip_bits

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 20, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def saved(array: np.ndarray, **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


def tar(path: Path, files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def samples(start: int, stop: int) -> dict[str, bytes]:
    """WebDataset's members of rows of PIXELS, the class row % 3, a patient for each two rows."""
    files: dict[str, bytes] = {}
    for row in range(start, stop):
        told = {"patient_id": f"p{row // 2}", "camera": {"gain": row / 4}, "tags": ["x"]}
        files[f"{row:04}.cls"] = str(row % 3).encode()
        files[f"{row:04}.json"] = json.dumps(told).encode()
        files[f"{row:04}.png"] = encoded(PIXELS[row])
    return files


def check(source: Source, order: list[int]) -> None:
    asked = [len(order) - 1, 0, 3, 3, *range(len(order))]
    for place, image in zip(asked, source.__getitems__(asked), strict=True):
        np.testing.assert_array_equal(image, PIXELS[order[place]])


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_shards_of_webdataset(tmp_path: Path, form: int) -> None:
    tar(tmp_path / "set/train-000000.tar", samples(0, 5), form)
    tar(tmp_path / "set/train-000001.tar", samples(5, 8), form)
    tar(tmp_path / "set/val-000000.tar", samples(8, 12), form)
    source = open_source(tmp_path / "set")
    assert (source.name, source.loader, source.shape) == ("set", "archive", (16, 20, 3))
    check(source, list(range(12)))
    assert source.labels is not None
    assert source.labels.tolist() == [row % 3 for row in range(12)]
    assert source.groups is not None
    assert source.groups.tolist() == [row // 2 for row in range(12)]
    assert source.split is not None
    assert source.split.tolist() == ["train"] * 8 + ["val"] * 4
    assert source.ids is not None
    assert source.ids.tolist() == [f"{row:04}" for row in range(12)]
    np.testing.assert_array_equal(source.column("camera.gain"), np.arange(12) / 4)
    assert set(source.keys) == {"cls", "patient_id", "camera.gain"}


def test_the_second_opening_reads_the_index_and_it_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(cache))
    picture = encoded(PIXELS[0])
    files = {f"meier_{row:04}.png": picture for row in range(600)}
    files |= {f"meier_{row:04}.json": b'{"town": "Zagreb"}' for row in range(600)}
    tar(tmp_path / "a.tar", files)
    first = open_source(tmp_path / "a.tar")
    (kept,) = cache.rglob("*.sealed")
    assert b"meier" not in kept.read_bytes()
    with pytest.raises(zlib.error):  # nor is it merely compressed
        zlib.decompress(kept.read_bytes()[16:])
    monkeypatch.setattr(archives, "_contents", None)  # would be called without the index
    second = open_source(tmp_path / "a.tar")
    assert second.ids is not None
    assert first.ids is not None
    assert second.ids.tolist() == first.ids.tolist()
    assert set(second.column("town").tolist()) == {"Zagreb"}
    np.testing.assert_array_equal(second[599], PIXELS[0])
    monkeypatch.undo()
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(cache))
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    assert len(open_source(tmp_path / "a.tar")) == 600  # a damaged index is read anew


def test_webdataset_in_a_zip(tmp_path: Path) -> None:
    source = open_source(zipped(tmp_path / "a.zip", samples(0, 12)))
    check(source, list(range(12)))
    assert source.labels is not None
    assert source.labels.tolist() == [row % 3 for row in range(12)]


def test_folders_inside_are_classes_and_a_split(tmp_path: Path) -> None:
    names = ["train/cat/a.v2.png", "train/dog/a.png", "test/cat/a.png", "test/dog/b.v3.png"]
    files = {name: encoded(PIXELS[row]) for row, name in enumerate(names)}
    files |= {"__MACOSX/train/cat/._a.png": b"x", "README.txt": b"hello"}
    for path in (zipped(tmp_path / "a.zip", files), tar(tmp_path / "b.tar", files)):
        source = open_source(path)
        check(source, [0, 1, 2, 3])
        assert source.classes == ("cat", "dog")
        assert source.labels is not None
        assert source.labels.tolist() == [0, 1, 0, 1]
        assert source.split is not None
        assert source.split.tolist() == ["train", "train", "test", "test"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_of_deep_pictures_and_arrays(tmp_path: Path, method: int) -> None:
    deep = np.arange(16 * 20, dtype=np.uint16).reshape(16, 20) * 200
    files = {"a.tif": encoded(deep, "TIFF"), "b.png": encoded(deep + 1)}
    for name, kept in (("one.zip", files), ("two.zip", {"a.npy": saved(deep)})):
        source = open_source(zipped(tmp_path / name, kept, method))
        assert (source.shape, source.dtype) == ((16, 20, 1), np.dtype("uint16"))
        np.testing.assert_array_equal(source[0][..., 0], deep)


def test_arrays_in_a_tar_may_be_volumes(tmp_path: Path) -> None:
    volumes = np.random.default_rng(1).normal(size=(2, 20, 18, 24)).astype(">f4")
    files = {f"{row}.npy": saved(np.asfortranarray(one)) for row, one in enumerate(volumes)}
    source = open_source(tar(tmp_path / "a.tar", files), dimensions=3)
    assert (source.shape, source.dtype) == ((20, 18, 24, 1), np.dtype("float32"))
    np.testing.assert_array_equal(source[1][..., 0], volumes[1])
    assert len(open_source(tmp_path / "a.tar")) == 40  # slices


def test_several_pictures_a_sample_are_a_choice(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    for row in range(3):
        files[f"{row}.image.png"] = encoded(PIXELS[row])
        files[f"{row}.seg.png"] = encoded(PIXELS[row + 6])
    tar(tmp_path / "a.tar", files)
    with pytest.raises(DataError, match=r"image\.png and seg\.png.*--set data\.images=image\.png"):
        open_source(tmp_path / "a.tar")
    np.testing.assert_array_equal(open_source(tmp_path / "a.tar", images="image.png")[1], PIXELS[1])
    source = open_source(tmp_path / "a.tar", images="seg.png")
    np.testing.assert_array_equal(source[2], PIXELS[8])


def test_keys_of_two_shards_may_be_the_same(tmp_path: Path) -> None:
    for number in range(2):
        tar(tmp_path / f"{number}.tar", {"0.png": encoded(PIXELS[number]), "0.cls": b"1"})
    source = open_source(tmp_path)
    assert source.ids is not None
    assert source.ids.tolist() == ["0/0", "1/0"]
    np.testing.assert_array_equal(source[1], PIXELS[1])


def _read(source: Source) -> list[np.ndarray]:
    return source.__getitems__([9, 3])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it(tmp_path: Path, method: str) -> None:
    source = open_source(tar(tmp_path / "a.tar", samples(0, 12)))
    source[0]
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        images = pool.submit(_read, source).result()
    np.testing.assert_array_equal(images[0], PIXELS[9])
    np.testing.assert_array_equal(source[3], PIXELS[3])  # the child closed nothing of this one
    assert pickle.loads(pickle.dumps(source))[4].shape == (16, 20, 3)  # noqa: S301  (our own)


@pytest.mark.parametrize(
    "name", ["/etc/a.png", "../a.png", "x/../../a.png", "C:/a.png", "..\\a.png"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    for path in (
        tar(tmp_path / "a.tar", {name: encoded(PIXELS[0])}),
        zipped(tmp_path / "a.zip", {name: encoded(PIXELS[0])}),
    ):
        with pytest.raises(DataError, match="leads out of the archive"):
            open_source(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_never_followed(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(PIXELS[0]))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = kind, str(tmp_path / "secret.png")
        archive.addfile(link)
    with pytest.raises(DataError, match="1 links, which are not followed"):
        open_source(tmp_path / "a.tar")


def _claiming(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo("a.png")
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT) + encoded(PIXELS[0]).ljust(4096, b"\0")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (_claiming(2**60), "ends after 4,096 of them: it is cut short"),
        (_claiming(2**60, tarfile.XHDTYPE), "cut short|extended header"),
        (_claiming(2**60, tarfile.GNUTYPE_LONGNAME), "cut short|extended header"),
        (_claiming(4096, tarfile.GNUTYPE_SPARSE), "holds no pictures"),
        (_claiming(4096, b"V"), "holds no pictures"),
        (_claiming(4096)[:-100], "cut short"),
        (_claiming(512) + b"\1" * 512, "damaged at byte"),
    ],
)
def test_hostile_tars_are_refused_at_once(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(DataError, match=says):
        open_source(tmp_path / "a.tar")
    assert time.process_time() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_negative_size_is_no_endless_loop(tmp_path: Path) -> None:
    block = bytearray(_claiming(512))
    block[124:136] = b"\xff" * 12  # -1 in base 256
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:512]))
    (tmp_path / "a.tar").write_bytes(block)
    with pytest.raises(DataError, match="damaged"):
        open_source(tmp_path / "a.tar")


def test_zip_bombs_are_refused_by_their_claims(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"a.png": encoded(PIXELS[0]) + bytes(30_000_000)})
    assert (tmp_path / "a.zip").stat().st_size < 2**16
    tracemalloc.start()
    with pytest.raises(DataError, match=r"it takes 30,\d+,\d+ bytes, more than"):
        open_source(tmp_path / "a.zip", max_sample_bytes=10_000_000)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_zip_that_unpacks_to_more_than_it_claims_is_refused(tmp_path: Path) -> None:
    picture = encoded(PIXELS[0])
    path = zipped(tmp_path / "a.zip", {"a.png": picture + bytes(20_000_000)})
    content = path.read_bytes()
    size = struct.pack("<I", len(picture) + 20_000_000)
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<I", len(picture))))
    tracemalloc.start()
    with pytest.raises(DataError, match="does not unpack to the"):
        open_source(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_damaged_member_is_told_by_its_checksum(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": encoded(PIXELS[0])}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"sample 0, a, in a\.zip.*checksum"):
        open_source(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    trap = pickle.dumps(Trap())
    objects = saved(np.array([Trap()], dtype=object), allow_pickle=True)
    files = {"0.png": encoded(PIXELS[0]), "0.pyd": trap, "0.pth": trap, "0.cls": b"1"}
    assert len(open_source(tar(tmp_path / "a.tar", files))) == 1
    with pytest.raises(DataError, match="pickled Python objects, which are never loaded"):
        open_source(tar(tmp_path / "b.tar", {"0.npy": objects}))
    with pytest.raises(DataError, match=r"holds no pictures; it has 1 \.pyd"):
        open_source(tar(tmp_path / "c.tar", {"0.pyd": trap}))
    assert not (tmp_path / "sprung").exists()


def test_what_cannot_be_read_in_place_says_what_to_do(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(DataError, match=r"packed as a whole.*gunzip it"):
        open_source(tmp_path / "a.tar.gz")
    with pytest.raises(DataError, match=r"packed by method 14.*unpack it"):
        open_source(zipped(tmp_path / "a.zip", {"a.png": b"x"}, zipfile.ZIP_LZMA))
    with pytest.raises(DataError, match=r"holds no pictures; it has 1 \.dcm.*unpack"):
        open_source(zipped(tmp_path / "b.zip", {"a.dcm": b"x"}))


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_bit_flips_give_pictures_or_messages(tmp_path: Path, form: str) -> None:
    write = tar if form == "tar" else zipped
    beside = {"notes.bin": np.random.default_rng(0).bytes(9_000)}  # where flips do no harm
    file = write(tmp_path / f"a.{form}", samples(0, 2) | beside)
    flip_bits(file, 60)
