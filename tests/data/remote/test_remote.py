"""Data far away are what they are near: every format, in every weather."""

from __future__ import annotations

import io
import multiprocessing
import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from PIL import Image

from domainjepa.data.files.identity import Identity
from domainjepa.data.opening import open_source
from domainjepa.data.packing.prepare import prepare
from domainjepa.data.remote import addresses, checksums, mirror, objects, transfer
from domainjepa.data.remote.listing import _entry
from domainjepa.data.remote.mirror import mirrored
from domainjepa.data.remote.path import RemoteFile, RemotePath
from domainjepa.data.source import Source
from domainjepa.errors import DataError, UserError
from tests.object_server import Store, serving

pytest.importorskip("aiohttp")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 40, 48, 3), dtype=np.uint8)
FLOATS = RNG.normal(size=(24, 40, 48)).astype("f4")
KEPT, PASSING = 2**30, 0


def test_a_rank_that_waits_for_another_does_not_list_again(far: Store, tmp_path: Path) -> None:
    folder(far.root / "bucket")
    url = at(far, "set/")
    told = mirrored(url, KEPT)
    manifest = told.path.parents[1] / mirror.MANIFEST
    later = time.time_ns() + 60 * 10**9
    os.utime(manifest, ns=(later, later))  # written after this process began to wait
    asked = far.asked.total()
    assert mirrored(url, KEPT) == told
    assert far.asked.total() == asked


def png(image: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def folder(root: Path) -> str:
    for row, image in enumerate(IMAGES):
        place = root / "set" / "ab"[row % 2] / f"{row:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(image))
    return "set"


def chunked(root: Path) -> str:
    with h5py.File(root / "chunked.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=(1, 20, 48, 3), compression="gzip")
        file["labels"] = np.arange(24) % 3
    return "chunked.h5"


def contiguous(root: Path) -> str:
    with h5py.File(root / "contiguous.h5", "w") as file:
        file["images"] = np.tile(IMAGES, (10, 1, 1, 1))  # more than a block
    return "contiguous.h5"


def npz(root: Path) -> str:
    np.savez(root / "set.npz", images=IMAGES, labels=np.arange(24) % 3)
    return "set.npz"


def npy(root: Path) -> str:
    np.save(root / "set.npy", IMAGES)
    return "set.npy"


def tar(root: Path) -> str:
    with tarfile.open(root / "set.tar", "w") as archive:
        for row, image in enumerate(IMAGES):
            for ending, content in ((".png", png(image)), (".cls", str(row % 3).encode())):
                member = tarfile.TarInfo(f"{row:02}{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return "set.tar"


def shards(root: Path) -> str:
    (root / "shards").mkdir()
    for shard in range(3):
        with tarfile.open(root / "shards" / f"train-{shard}.tar", "w") as archive:
            for row, image in enumerate(IMAGES[8 * shard : 8 * shard + 8]):
                member = tarfile.TarInfo(f"{shard}_{row:02}.png")
                content = png(image)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return "shards"


def zipped(root: Path) -> str:
    with zipfile.ZipFile(root / "set.zip", "w") as archive:
        for row, image in enumerate(IMAGES):
            archive.writestr(f"{'ab'[row % 2]}/{row:02}.png", png(image))
    return "set.zip"


def cube(root: Path) -> str:
    fits.PrimaryHDU(FLOATS).writeto(root / "cube.fits")
    return "cube.fits"


def cutouts(root: Path) -> str:
    (root / "cutouts").mkdir()
    for row, image in enumerate(FLOATS):
        fits.PrimaryHDU(image).writeto(root / "cutouts" / f"{row:02}.fits")
    return "cutouts"


def tiff(root: Path) -> str:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(root / "stack.tif", FLOATS)
    return "stack.tif"


def nifti(root: Path) -> str:
    nibabel = pytest.importorskip("nibabel")
    (root / "scans").mkdir()
    for row in range(3):
        scan = nibabel.Nifti1Image(FLOATS[: 8 + row], np.eye(4))
        nibabel.save(scan, root / "scans" / f"{row}{'.nii.gz' if row % 2 else '.nii'}")
    return "scans"


def parquet(root: Path) -> str:
    rows = [{"bytes": png(image), "path": None} for image in IMAGES]
    pq.write_table(pa.table({"image": rows, "label": np.arange(24) % 3}), root / "set.parquet")
    return "set.parquet"


def table(root: Path) -> str:
    folder(root)
    lines = [f"set/{'ab'[row % 2]}/{row:02}.png,{row % 4}" for row in range(24)]
    (root / "table.csv").write_text("\n".join(["path,label", *lines]))
    return "table.csv"


def stores(root: Path) -> str:
    zarr = pytest.importorskip("zarr")
    for row in range(4):
        zarr.create_array(root / "stores" / f"{row}.zarr", data=IMAGES[row], chunks=(20, 48, 3))
    return "stores"


def store(root: Path) -> str:
    zarr = pytest.importorskip("zarr")
    zarr.create_array(root / "set.zarr", data=IMAGES, chunks=(1, 40, 48, 3))
    return "set.zarr"


FORMATS = [
    *(folder, chunked, contiguous, npz, npy, tar, shards, zipped, cube, cutouts, tiff, nifti),
    *(parquet, table, stores, store),
]


@pytest.fixture(autouse=True)
def _connections_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(addresses, "_connected", {})
    monkeypatch.setattr(objects, "_manifests", {})
    monkeypatch.setattr(objects, "_waiting", objects.Waiting())
    monkeypatch.setattr(checksums, "_without_md5", set())


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "served" / "bucket").mkdir(parents=True)
    with serving(tmp_path / "served") as server:
        yield server


def at(far: Store, name: str) -> str:
    return f"{far.http}/bucket/{name}"


def forget(source: Any) -> None:
    """As if nothing of a folder had been read."""
    objects._waiting.contents.clear()
    for name in source.files:
        path = source.root / name
        mirror.empty(str(path), path.stat().st_size, path.stat().st_mtime_ns)


def same(one: Source, other: Source) -> None:
    assert (one.name, one.loader, one.shape) == (other.name, other.loader, other.shape)
    assert (one.dtype, one.classes, one.warnings) == (other.dtype, other.classes, other.warnings)
    for name in ("labels", "groups", "ids", "split"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    rows = np.random.default_rng(1).permutation(len(other)).tolist()
    for ours, theirs in zip(one.__getitems__(rows), other.__getitems__(rows), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("room", [KEPT, PASSING])
@pytest.mark.parametrize("make", FORMATS)
def test_every_format_is_what_it_is_near(
    make: Callable[[Path], str], room: int, far: Store
) -> None:
    bucket = far.root / "bucket"
    name = make(bucket)
    near = open_source(bucket / name)
    url = at(far, name + "/" * (bucket / name).is_dir())
    if make is store:
        url = f"file://{bucket}/{name}"  # a web server cannot list its arrays
    same(open_source(url, cache_bytes=room), near)
    same(open_source(url, cache_bytes=room), near)  # out of what the first time has left


def test_s3(far: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    for name, value in (("ENDPOINT_URL", far.http), ("ACCESS_KEY_ID", "a")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    bucket = far.root / "bucket"
    for make in (folder, shards, chunked, store):
        name = make(bucket)
        same(open_source(f"s3://bucket/{name}"), open_source(bucket / name))
    source = open_source("s3://bucket/set")
    forget(source)
    far.damaged["bucket/set/a/00.png"] = 1
    same(source, open_source(bucket / "set"))
    assert not far.damaged["bucket/set/a/00.png"]
    # Another object of the same size, after it was listed.
    forget(source)
    content = bytearray((bucket / "set/a/00.png").read_bytes())
    content[-20] ^= 1
    (bucket / "set/a/00.png").write_bytes(content)
    with pytest.raises(DataError, match="has changed since it was listed"):
        source[0]


def test_credentials_that_lack_are_named(far: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    npz(far.root / "bucket")
    far.secret = "the key"
    for told in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(told, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", far.http)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    for url, how in (
        ("s3://bucket/set.npz", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (f"{at(far, 'set.npz')}?signature=abc", "FSSPEC_HTTP"),
    ):
        with pytest.raises(UserError, match=how) as caught:
            open_source(url)
        assert "\n" not in str(caught.value)
        assert "abc" not in str(caught.value)


def test_what_is_not_there_is_told_at_once(far: Store) -> None:
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"nothing\.h5 is not there"):
        open_source(at(far, "nothing.h5?signature=abc"))
    with pytest.raises(DataError, match="nothing behind bucket"):
        open_source(f"{far.http}/bucket/")
    with pytest.raises(DataError, match="no protocol that fsspec knows"):
        open_source("nowhere://bucket/set.h5")
    assert time.monotonic() - begun < 30  # no waiting for what will not come


def test_a_store_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", 0.5)
    with pytest.raises(DataError, match=r"set\.npz cannot be reached"):
        open_source("http://127.0.0.1:9/set.npz")


@pytest.mark.parametrize("room", [KEPT, PASSING])
def test_an_outage_loses_nothing(far: Store, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = far.root / "bucket"
    source = open_source(at(far, folder(bucket) + "/"), cache_bytes=room)
    forget(source)
    far.failures = 7
    source.__getitems__(range(5))
    forget(source)
    told = []

    def tell(line: str) -> None:
        told.append(line)
        if "does not answer" in line:
            far.start()

    monkeypatch.setattr(transfer, "_tell", tell)
    far.stop()
    same(source, open_source(bucket / "set"))
    assert [line.partition(" ")[2][:13] for line in told] == ["does not answ", "answers again"]


def test_a_byte_is_fetched_once_and_kept(far: Store) -> None:
    bucket = far.root / "bucket"
    contiguous(bucket)
    size = (bucket / "contiguous.h5").stat().st_size
    for _ in range(2):
        source = open_source(at(far, "contiguous.h5"))
        source.__getitems__(range(len(source)))
    assert far.sent == size
    far.stop()
    same(source, open_source(bucket / "contiguous.h5"))  # nothing is asked for any more


def test_of_a_passing_tar_the_samples_alone_are_read(far: Store) -> None:
    bucket = far.root / "bucket"
    with tarfile.open(bucket / "set.tar", "w") as archive:
        for row, image in enumerate(np.tile(IMAGES, (40, 1, 1, 1))):
            member = tarfile.TarInfo(f"{row:04}.png")
            content = png(image)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    source = open_source(at(far, "set.tar"), cache_bytes=PASSING)
    far.sent, far.asked = 0, type(far.asked)()
    rows = [900, 3, 500, 3]
    for image, row in zip(source.__getitems__(rows), rows, strict=True):
        np.testing.assert_array_equal(image, IMAGES[row % 24])
    assert far.sent < 4 * (len(png(IMAGES[0])) + 512)
    assert far.asked.total() == 3


def test_a_download_goes_on_where_it_was(far: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    content = RNG.bytes(5 * 2**20 + 17)
    (far.root / "bucket" / "large.bin").write_bytes(content)
    path = mirrored(at(far, "large.bin"), KEPT).path
    with RemotePath(path).open("rb") as file:
        file.seek(3 * 2**20 - 5)
        assert file.read(10) == content[3 * 2**20 - 5 : 3 * 2**20 + 5]
    sent = far.sent
    assert 2 * 2**20 <= sent <= 3 * 2**20
    # Another process, after a power cut that has spoilt one of the blocks.
    (parts,) = (one for one in (path.parents[2] / "parts").iterdir() if not one.suffix)
    with parts.open("r+b") as spoilt:
        spoilt.seek(2 * 2**20 + 1000)
        spoilt.write(b"spoilt")
    assert Path(os.fspath(RemotePath(path))).read_bytes() == content
    assert far.sent == len(content) + 2**20
    assert [one.name for one in (path.parents[2] / "parts").iterdir()] == []


def test_what_changed_at_the_store_is_read_anew(far: Store) -> None:
    bucket = far.root / "bucket"
    folder(bucket)
    before = open_source(at(far, "set/"))
    before.__getitems__(range(24))
    fingerprint = before.fingerprint()
    changed = png(IMAGES[5][::-1])
    (bucket / "set/a/00.png").write_bytes(changed)
    (bucket / "set/a/02.png").unlink()
    after = open_source(at(far, "set/"))
    same(after, open_source(bucket / "set"))
    assert len(after) == 23
    assert after.fingerprint() != fingerprint
    begun = Identity.of(after)
    assert begun.stands_far()
    (bucket / "set/b/23.png").unlink()
    with pytest.raises(OSError, match="is not there"):
        begun.stands_far()
    for name in after.file_names() or ():
        (bucket / "set" / name).write_bytes(changed)
    assert not begun.stands_far()


def test_another_object_than_was_listed_is_no_sample(far: Store) -> None:
    bucket = far.root / "bucket"
    folder(bucket)
    source = open_source(at(far, "set/"), cache_bytes=PASSING)
    objects._waiting.contents.clear()
    (bucket / "set/a/00.png").write_bytes(b"short")
    with pytest.raises(DataError, match=r"00\.png.*has changed since it was listed"):
        source[0]


def test_the_cache_is_bounded(far: Store) -> None:
    bucket = far.root / "bucket"
    for name in ("one", "two", "three"):
        (bucket / name).mkdir()
        for number in range(4):
            (bucket / name / f"{number}.bin").write_bytes(RNG.bytes(10_000))

    def held(name: str) -> int:
        return mirrored(at(far, f"{name}/"), 75_000).kept

    def sets() -> int:
        return sum(one.is_dir() for one in mirror.base().iterdir())

    assert [held("one"), sets()] == [4, 1]
    assert [held("two"), sets()] == [4, 1]  # the one before had to go
    told = mirrored(at(far, "three/"), 25_000)
    assert (told.kept, told.kept_size, sets()) == (2, 20_000, 1)
    assert "2 of them" in told.decision()
    for file in sorted(told.path.iterdir()):
        assert os.fspath(RemotePath(file))
    stored = [one for one in told.path.iterdir() if objects.is_here(str(one))]
    assert len(stored) == 2
    # A set that is being read is not removed.
    assert (held("one"), sets()) == (4, 2)


def test_names_that_lead_away_are_left_out() -> None:
    assert all(map(mirror._is_safe, ("a", "a/b.png", "ü/..b")))
    assert not any(map(mirror._is_safe, ("../a", "a/../b", "/a", "a//b", "a\0", "./a", "a" * 300)))


def test_what_stores_tell_of_objects() -> None:
    md5 = "d41d8cd98f00b204e9800998ecf8427e"
    entry = _entry(
        {"size": 3, "ETag": f'"{md5}"', "LastModified": "2026-01-02T03:04:05Z"}, "s3://b"
    )
    assert entry == (3, f"md5:{md5}", 1767323045 * 10**9)
    assert _entry({"size": 3, "ETag": f'W/"{md5}"'}, "https://x").etag == md5
    assert _entry({"size": 3, "ETag": f'"{md5}-4"'}, "s3://b").etag == f"{md5}-4"
    assert _entry({"size": 3, "md5Hash": "1B2M2Y8AsgTpgAmY7PhCfg=="}, "gs://b").etag == f"md5:{md5}"
    with pytest.raises(DataError, match="does not tell its size"):
        _entry({"size": None}, "https://x/y")


def _read(source: Source, rows: list[int], answer: Any) -> None:
    answer.put([image.tolist() for image in source.__getitems__(rows)])


def test_forked_workers_have_connections_of_their_own(far: Store) -> None:
    bucket = far.root / "bucket"
    source = open_source(at(far, folder(bucket) + "/"), cache_bytes=PASSING)
    source.__getitems__([0])  # this process has an event loop and a socket by now
    objects._waiting.contents.clear()
    context: Any = multiprocessing.get_context("fork")
    answer = context.Queue()
    workers = [
        context.Process(target=_read, args=(source, [row, row + 3], answer)) for row in range(2)
    ]
    for one in workers:
        one.start()
    found = [answer.get(timeout=60) for _ in workers]
    for one in workers:
        one.join(60)
        assert one.exitcode == 0
    near = open_source(bucket / "set")
    expected = [[near[row].tolist(), near[row + 3].tolist()] for row in range(2)]
    assert sorted(found) == sorted(expected)


def test_prepare_packs_what_lies_far_away(far: Store, tmp_path: Path) -> None:
    source = open_source(at(far, tar(far.root / "bucket")))
    prepare(source, tmp_path / "out.h5", workers=0)
    packed = open_source(tmp_path / "out.h5")
    np.testing.assert_array_equal(np.stack(packed.__getitems__(range(24))), IMAGES)
    assert packed.labels is not None
    assert packed.labels.tolist() == [row % 3 for row in range(24)]


def test_a_file_far_away_reads_as_any(far: Store) -> None:
    content = RNG.bytes(3 * 2**20 + 5)
    (far.root / "bucket" / "x.bin").write_bytes(content)
    for room in (KEPT, PASSING):
        path = RemotePath(mirrored(at(far, "x.bin"), room).path)
        file = RemoteFile(path)
        for start, count in ((0, 10), (2**20 - 3, 7), (len(content) - 4, 99), (500, 2**21)):
            assert file.pread(count, start) == content[start : start + count]
        assert file.seek(-5, os.SEEK_END) == len(content) - 5
        assert file.read() == content[-5:]
        with path.open("rb") as whole:
            assert whole.read() == content
