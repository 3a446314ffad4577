from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image as Pillow
from rich.console import Console

from domainjepa.data.opening import open_source
from domainjepa.data.packing import blocks, prepared
from domainjepa.data.packing import prepare as preparing
from domainjepa.data.packing.journal import Journal
from domainjepa.data.packing.prepare import prepare
from domainjepa.data.source import Source
from domainjepa.errors import DataError, UserError
from tests import programs

pytest.importorskip("zarr")
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (12, 16, 20, 3), dtype=np.uint8)
SUFFIXES = [".h5", ".zarr"]


def same(one: Source, other: Source, ids: bool = True) -> None:
    """All that a source says of its samples."""
    assert (len(one), one.shape, one.dtype) == (len(other), other.shape, other.dtype)
    rows = range(len(one))
    for image, copy in zip(one.__getitems__(rows), other.__getitems__(rows), strict=True):
        np.testing.assert_array_equal(image, copy)
    assert (one.classes, one.modality) == (other.classes, other.modality)
    for name in ("labels", "groups", "split", "spacings", "stack", *(["ids"] if ids else [])):
        values, copies = getattr(one, name), getattr(other, name)
        assert (values is None) == (copies is None), name
        if values is not None:
            np.testing.assert_array_equal(values, copies)
            assert values.dtype.kind == copies.dtype.kind


def hdf5(folder: Path, patients: bool = False) -> Path:
    path = folder / "set.h5"
    with h5py.File(path, "w") as file:
        file["images"] = IMAGES.astype(">u2")
        file["ans"] = np.arange(12) % 3 + 4  # class 5 of what another file may hold is missing
        file["ans"].attrs["class_names"] = [f"klass é{number}" for number in range(9)]
        file["patient" if patients else "group"] = [f"SMITH{number // 2}" for number in range(12)]
        file["iauname"] = [f"J{number}" for number in range(12)]
        part = h5py.enum_dtype({"train": 0, "test": 1}, basetype="u1")
        file.create_dataset("split", data=np.arange(12) % 2, dtype=part)
        file["catalogue/redshift"] = np.linspace(0, 1, 12)
        if patients:
            file["patient_number"] = np.arange(12) + 900_000
    return path


def npz(folder: Path) -> Path:
    parts = {"train": slice(8), "val": slice(8, 10), "test": slice(10, 12)}
    arrays: dict[str, Any] = {
        f"{name}_images": IMAGES[rows].astype("f4") for name, rows in parts.items()
    }
    arrays |= {f"{name}_labels": np.arange(12)[rows] % 2 for name, rows in parts.items()}
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def pngs(folder: Path) -> Path:
    for number, image in enumerate(IMAGES):
        place = folder / "set" / ("disc" if number % 2 else "round")
        place.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(image).save(place / f"{number}.png")
    return folder / "set"


def zarr_store(folder: Path) -> Path:
    import zarr

    group = zarr.create_group(folder / "set.zarr")
    group.create_array("images", data=IMAGES.astype("i2"), chunks=(1, 16, 20, 3))
    group.create_array("labels", data=np.arange(12) % 4)
    return folder / "set.zarr"


def fits(folder: Path) -> Path:
    from astropy.io import fits as astropy_fits

    for number in range(4):
        place = folder / "set" / f"{number}.fits"
        place.parent.mkdir(exist_ok=True)
        astropy_fits.PrimaryHDU(DRAW.normal(size=(24, 20)).astype(">f4")).writeto(place)
    return folder / "set"


def nifti(folder: Path) -> Path:
    nibabel = pytest.importorskip("nibabel")
    (folder / "set").mkdir()
    for number in range(3):
        values = DRAW.integers(1, 900, (12, 14, 16), dtype=np.int16)
        affine = np.diag([1.0, 2.0, 3.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / "set" / f"sub-{number}.nii")
    return folder / "set"


def dicom(folder: Path) -> Path:
    data = pytest.importorskip("pydicom.data")
    (folder / "set").mkdir()
    shutil.copy(data.get_testdata_file("CT_small.dcm", download=False), folder / "set" / "1.dcm")
    return folder / "set"


def table(folder: Path) -> Path:
    pngs(folder)
    rows = [f"set/{'disc' if n % 2 else 'round'}/{n}.png,{n % 3},g{n // 4}" for n in range(12)]
    (folder / "set.csv").write_text("\n".join(["path,label,group", *rows]))
    return folder / "set.csv"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("make", [hdf5, npz, pngs, zarr_store, fits, nifti, dicom, table])
def test_round_trips_are_exact(tmp_path: Path, make: Any, suffix: str) -> None:
    source = open_source(make(tmp_path))
    out = tmp_path / f"fast{suffix}"
    prepare(source, out)
    again = open_source(out)
    same(source, again, ids=make is not nifti)
    assert again.origin == (source.origin or source.loader)
    assert not again.warnings
    assert sorted(one.name for one in tmp_path.iterdir() if "fast" in one.name) == [out.name]
    if make is nifti and again.ids is not None:
        assert "sub" not in " ".join(again.ids.tolist())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_volumes(tmp_path: Path, suffix: str) -> None:
    source = open_source(nifti(tmp_path), dimensions=3)
    assert source.volumetric
    prepare(source, tmp_path / f"fast{suffix}")
    same(source, open_source(tmp_path / f"fast{suffix}", dimensions=3), ids=False)
    slices = open_source(tmp_path / f"fast{suffix}", axis="0")
    assert len(slices) == 3 * source.shape[0]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_compressions(tmp_path: Path, suffix: str, compression: str) -> None:
    pytest.importorskip("hdf5plugin")
    source = open_source(zarr_store(tmp_path))
    prepare(source, tmp_path / f"fast{suffix}", compression=compression)
    same(source, open_source(tmp_path / f"fast{suffix}"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_processes_and_many_blocks(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "MOST_IN_BLOCK", 5)
    source = open_source(hdf5(tmp_path))
    prepare(source, tmp_path / f"fast{suffix}", workers=2)
    same(source, open_source(tmp_path / f"fast{suffix}"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_are_kept_but_for_those_of_persons(tmp_path: Path, suffix: str) -> None:
    prepare(open_source(hdf5(tmp_path, patients=True)), tmp_path / f"fast{suffix}")
    again = open_source(tmp_path / f"fast{suffix}")
    expected = {"images", "labels", "groups", "split", "ids", "catalogue/redshift"}
    assert set(again.keys) == expected
    np.testing.assert_array_equal(again.column("catalogue/redshift"), np.linspace(0, 1, 12))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_further_columns_come_along_where_they_are_safe(tmp_path: Path, suffix: str) -> None:
    kept = {
        "morphology": np.array(["disc", "été", ""] * 4),
        "flags": np.arange(48).reshape(12, 4) % 3 == 0,
        "moments": DRAW.normal(size=(12, 2)),
        "target": np.linspace(0, 1, 12),
    }
    named = {
        "source_name": np.array([f"NGC {number}" for number in range(12)]),
        "mosaic": np.array(["tile.fits"] * 12),
        "comment": np.array([f"comment {number}" for number in range(12)]),
    }
    unfit = {
        "mask_path": np.array(["/data/a", "/data/b"] * 6),
        "masks": np.zeros((12, 4, 4)),
    }
    arrays = {"images": IMAGES, "labels": np.arange(12) % 3, **kept, **named, **unfit}

    def prepared(name: str, **more: np.ndarray) -> tuple[Source, str]:
        np.savez(tmp_path / f"{name}.npz", **arrays, **more)
        source, told = open_source(tmp_path / f"{name}.npz"), io.StringIO()
        if name == "scans":
            source.modality = "CT"
        out = tmp_path / "new" / "deep" / f"{name}{suffix}"
        prepare(source, out, console=Console(file=told, width=500))
        return open_source(out), told.getvalue()

    again, said = prepared("galaxies")
    assert set(again.keys) == {"images", "labels", *kept, *named}
    for name, values in (kept | named).items():
        copies = again.column(name)
        copies = np.char.decode(copies, "utf-8") if copies.dtype.kind == "S" else copies
        assert copies.dtype.kind == values.dtype.kind
        np.testing.assert_array_equal(copies, values)
    assert f"left out: {', '.join(sorted(unfit))} (too large" in said
    again, said = prepared("people", patient_age=np.arange(12))
    assert set(again.keys) == {"images", "labels", *kept}
    assert "could name persons or files" in said
    again, said = prepared("scans")
    assert set(again.keys) == {"images", "labels"}
    assert "left out: 9 columns (of medical data)" in said
    assert not any(name in said for name in arrays if name not in ("images", "labels"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ids_come_along_and_those_of_patients_as_hashes(tmp_path: Path, suffix: str) -> None:
    source = open_source(pngs(tmp_path), ids="name:([^/]+)[.]png$")
    assert source.ids is not None
    assert set(source.ids.tolist()) == set(map(str, range(12)))
    prepare(source, tmp_path / f"plain{suffix}")
    again = open_source(tmp_path / f"plain{suffix}")
    assert again.ids is not None
    assert again.ids.tolist() == source.ids.tolist()
    source.modality = "US"
    prepare(source, tmp_path / f"medical{suffix}")
    hashed = open_source(tmp_path / f"medical{suffix}").ids
    assert hashed is not None
    # The way back: whoever has the ids makes the same hashes (BLAKE2b, RFC 7693).
    expected = [
        hashlib.blake2b(one.encode(), digest_size=8, key=b"id").hexdigest()
        for one in source.ids.tolist()
    ]
    assert hashed.tolist() == expected
    assert len(set(expected)) == 12


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [2, 5_000, 12_000])
def test_any_number_of_class_names(tmp_path: Path, suffix: str, count: int) -> None:
    source = open_source(zarr_store(tmp_path))
    source.classes = tuple(f"the class of number {number}" for number in range(count))
    prepare(source, tmp_path / f"fast{suffix}")
    assert open_source(tmp_path / f"fast{suffix}").classes == source.classes


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_users_own_choice_of_columns_goes_before(tmp_path: Path, suffix: str) -> None:
    prepare(open_source(hdf5(tmp_path)), tmp_path / f"fast{suffix}")
    source = open_source(tmp_path / f"fast{suffix}", labels="groups")
    assert source.labels is not None
    assert source.labels.tolist() == [number // 2 for number in range(12)]
    assert source.rows("test").tolist() == list(range(1, 12, 2))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_card_comes_along(tmp_path: Path, suffix: str) -> None:
    source = open_source(zarr_store(tmp_path))
    source.card = {"name": "galaxy10-sdss"}
    prepare(source, tmp_path / f"fast{suffix}")
    card = open_source(tmp_path / f"fast{suffix}").card
    assert card is not None
    assert (card["name"], card["domain"]) == ("galaxy10-sdss", "astronomy")


def test_no_identifier_reaches_the_file(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    file = dicom(tmp_path).rename(tmp_path / "CANARY_FOLDER") / "1.dcm"
    dataset = pydicom.dcmread(file)
    dataset.PatientName = dataset.PatientID = dataset.AccessionNumber = "CANARY"
    dataset.add_new((0x0011, 0x0010), "LO", "CANARY")
    dataset.save_as(file.with_name("CANARY.dcm"))
    file.unlink()
    source = open_source(file.parent)
    for suffix in SUFFIXES:
        prepare(source, tmp_path / f"fast{suffix}")
    written = [tmp_path / "fast.h5", *(tmp_path / "fast.zarr").rglob("*")]
    for path in written:
        assert "CANARY" not in path.name
        assert path.is_dir() or b"CANARY" not in path.read_bytes()
        assert path.is_dir() or os.fsencode(tmp_path) not in path.read_bytes()


# Sizes.


def mixed(folder: Path) -> Path:
    for number, side in enumerate((40, 48, 64)):
        place = folder / "set" / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        Pillow.fromarray(DRAW.integers(0, 256, (side, 48, 3), dtype=np.uint8)).save(place)
    return folder / "set"


def test_mixed_sizes_need_a_size(tmp_path: Path) -> None:
    # Brings torch, which the processes of other tests do not need.
    from domainjepa.encoder.samples import framed

    source = open_source(mixed(tmp_path))
    with pytest.raises(DataError, match=r"sample 1 of set is 48x48x3, .* 40x48x3.*--size 40"):
        prepare(source, tmp_path / "fast.h5")
    prepare(source, tmp_path / "fast.h5", frame=partial(framed, size=32))
    again = open_source(tmp_path / "fast.h5")
    for index in range(3):
        np.testing.assert_array_equal(again[index], framed(source[index], 32))


def test_volumes_of_several_sizes_are_not_asked_for_a_size(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    (tmp_path / "set").mkdir()
    for number in range(2):
        values = DRAW.integers(1, 900, (12, 14, 16 + number), dtype=np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "set" / f"{number}.nii")
    source = open_source(tmp_path / "set", dimensions=3)
    with pytest.raises(DataError, match=r"one file holds one size\. .*data\.dimensions=2") as told:
        prepare(source, tmp_path / "fast.h5")
    assert "--size" not in str(told.value)


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(zarr_store(tmp_path))
    (tmp_path / "a file").touch()
    for name, compression, says in (
        ("set.zarr", "none", "exists"),
        ("fast.npz", "none", r"\.h5 or \.zarr"),
        ("fast.h5", "rar", "choose none, gzip"),
        ("a file/fast.h5", "none", "the folder of --out cannot be made"),
    ):
        with pytest.raises(UserError, match=says):
            prepare(source, tmp_path / name, compression=compression)
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"takes 23 kB and the disk has 100 bytes free"):
        prepare(source, tmp_path / "fast.h5")


# Stopped, killed, damaged.


def counted(source: Source, fail_at: int | None = None) -> list[int]:
    """The rows that are read of a source from now on."""
    rows: list[int] = []
    read = type(source).__getitems__

    def counting(self: Source, indices: Any) -> Any:
        rows.extend(indices)
        if fail_at is not None and fail_at in indices:
            raise DataError("a bad sample")
        return read(self, indices)

    type(source).__getitems__ = counting  # type: ignore[method-assign]
    return rows


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """12 samples that are read in blocks of 4."""
    monkeypatch.setattr(preparing, "MOST_IN_BLOCK", 4)
    found = open_source(hdf5(tmp_path))
    monkeypatch.setattr(type(found), "__getitems__", type(found).__getitems__)  # put back after
    monkeypatch.setattr(found, "fingerprint", lambda: "same")
    return found


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_goes_on_where_it_was(tmp_path: Path, source: Source, suffix: str) -> None:
    out = tmp_path / f"fast{suffix}"
    read = type(source).__getitems__
    counted(source, fail_at=9)
    with pytest.raises(DataError, match="bad sample"):
        prepare(source, out)
    assert not out.exists()
    type(source).__getitems__ = read  # type: ignore[method-assign]
    rows = counted(source)
    prepare(source, out)
    assert rows == [0, 8, 9, 10, 11]  # the first tells the shape
    type(source).__getitems__ = read  # type: ignore[method-assign]
    same(open_source(tmp_path / "set.h5"), open_source(out))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("what", ["data", "file", "journal"])
def test_it_begins_anew_where_it_cannot_go_on(
    tmp_path: Path, source: Source, suffix: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"fast{suffix}"
    read = type(source).__getitems__
    counted(source, fail_at=9)
    with pytest.raises(DataError, match="bad sample"):
        prepare(source, out)
    type(source).__getitems__ = read  # type: ignore[method-assign]
    part = tmp_path / f".fast{suffix}.part"
    if what == "data":
        monkeypatch.setattr(source, "fingerprint", lambda: "another")
    elif what == "journal":
        part.with_suffix(".journal").write_text("nonsense")
    elif suffix == ".h5":
        content = bytearray(part.read_bytes())
        content[content.index(IMAGES[6].astype(">u2").astype("u2").tobytes()) + 50] ^= 4
        part.write_bytes(content)
    else:
        shutil.rmtree(part / "images" / "c" / "1")
    rows = counted(source)
    prepare(source, out)
    assert rows[1:] == list(range(12))
    type(source).__getitems__ = read  # type: ignore[method-assign]
    same(open_source(tmp_path / "set.h5"), open_source(out))


KILLED = """
import sys, time
from pathlib import Path
from domainjepa.data.packing import prepare as preparing
from domainjepa.data.opening import open_source
preparing.MOST_IN_BLOCK = 2
source = open_source(sys.argv[1])
read = type(source).__getitems__
def slowly(self, indices):
    time.sleep(0.02)
    return read(self, indices)
type(source).__getitems__ = slowly

try:
    preparing.prepare(source, Path(sys.argv[2]), workers=0)
except preparing.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_status)
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_any_moment(tmp_path: Path, suffix: str, number: int) -> None:
    out = tmp_path / f"fast{suffix}"
    path = hdf5(tmp_path)
    run = programs.start("-c", KILLED, path, out)
    journal = tmp_path / f".fast{suffix}.journal"
    while run.poll() is None and not (journal.exists() and b"\n2\n" in journal.read_bytes()):
        time.sleep(0.002)
    run.send_signal(number)
    ended = run.finish()
    assert ended.returncode == (143 if number == signal.SIGTERM else -9)
    assert ("the same command goes on" in ended.stderr) == (number == signal.SIGTERM)
    assert not out.exists()
    assert programs.run("-c", KILLED, path, out).returncode == 0
    same(open_source(path), open_source(out))


def test_two_at_once_are_refused(tmp_path: Path, source: Source) -> None:
    with (
        Journal(tmp_path / ".fast.h5.journal", "other"),
        pytest.raises(UserError, match="another process"),
    ):
        prepare(source, tmp_path / "fast.h5")


def test_killed_when_all_was_done_leaves_no_notes(tmp_path: Path, source: Source) -> None:
    notes = tmp_path / ".a.h5.journal"
    (tmp_path / "a.h5").write_bytes(b"whole")
    notes.write_text("it\n48\n")
    with pytest.raises(UserError, match="exists"):
        prepare(source, tmp_path / "a.h5")
    assert not notes.exists()
    assert (tmp_path / "a.h5").read_bytes() == b"whole"


def test_a_killed_reader_is_one_message(tmp_path: Path) -> None:
    task = blocks.Task(open_source(hdf5(tmp_path)), _die)
    with pytest.raises(UserError, match=r"reading process was killed.*--workers than 1"):
        list(blocks.blocks(task, [range(4)], 1))


def _die(image: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def test_lost_shards_of_a_prepared_store_are_an_error(tmp_path: Path, source: Source) -> None:
    prepare(source, tmp_path / "fast.zarr")
    shutil.rmtree(tmp_path / "fast.zarr" / "images" / "c" / "1")
    with pytest.raises(DataError, match="1 of its files"):
        open_source(tmp_path / "fast.zarr")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"3", json.dumps({"format": 2}).encode(), b"[" * 5000]
)
def test_another_attribute_of_that_name_means_nothing(tmp_path: Path, text: bytes) -> None:
    with h5py.File(hdf5(tmp_path), "r+") as file:
        file.attrs[prepared.ATTRIBUTE] = np.bytes_(text)
    assert len(open_source(tmp_path / "set.h5")) == 12


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from domainjepa.cli import app

    path, out = hdf5(tmp_path), tmp_path / "fast.zarr"
    run = CliRunner().invoke(app, ["prepare", "--data", str(path), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "12 samples" in run.output
    small = ["prepare", "--data", str(out), "--out", str(tmp_path / "small.h5"), "--size", "8"]
    assert CliRunner().invoke(app, small).exit_code == 0
    assert open_source(tmp_path / "small.h5").shape == (8, 8, 3)
    volumes = ["--set", "data.dimensions=3", "--out", str(tmp_path / "v.h5"), "--size", "8"]
    run = CliRunner().invoke(app, ["prepare", "--data", str(nifti(tmp_path)), *volumes])
    assert isinstance(run.exception, UserError)
    assert "--size is for images" in str(run.exception)


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_masks_come_along(tmp_path: Path, suffix: str) -> None:
    draw = np.random.default_rng(5)
    images = draw.integers(0, 256, (5, 12, 14), dtype=np.uint8)
    masks = draw.integers(0, 3, (5, 12, 14), dtype=np.uint8)
    for folder, every in (("imagesTr", images), ("labelsTr", masks[:4])):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for row, one in enumerate(every):
            Pillow.fromarray(one).save(tmp_path / "set" / folder / f"{row}.png")
    names = {"labels": {"0": "background", "1": "anterior", "2": "posterior"}}
    (tmp_path / "set/dataset.json").write_text(json.dumps(names))
    source = open_source(tmp_path / "set")
    assert source.masks is not None
    said = io.StringIO()
    prepare(source, tmp_path / f"a{suffix}", workers=0, console=Console(file=said))
    packed = open_source(tmp_path / f"a{suffix}")
    prepare(packed, tmp_path / f"b{suffix}", workers=0, console=Console(file=said))
    for found in (packed, open_source(tmp_path / f"b{suffix}")):
        assert found.masks is not None
        assert found.masks.known.tolist() == [True] * 4 + [False]
        assert found.masks.classes == {0: "background", 1: "anterior", 2: "posterior"}
        for row in range(4):
            np.testing.assert_array_equal(found.masks[row], masks[row])
            np.testing.assert_array_equal(found[row][..., 0], images[row])
    assert "left out" not in said.getvalue()
    framed = Console(file=said)
    centre = lambda image: np.ascontiguousarray(image[:8, :8])  # noqa: E731
    prepare(source, tmp_path / f"c{suffix}", workers=0, frame=centre, console=framed)
    assert "masks are left out" in said.getvalue()
    assert open_source(tmp_path / f"c{suffix}").masks is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_slices_of_volumes_know_where_they_lie_afterwards(tmp_path: Path, suffix: str) -> None:
    with h5py.File(tmp_path / "scans.h5", "w") as file:
        file["images"] = DRAW.integers(0, 256, (2, 5, 12, 14, 1), dtype=np.uint8)
    source = open_source(tmp_path / "scans.h5")
    assert source.stack is not None
    out = tmp_path / f"slices{suffix}"
    prepare(source, out, workers=0)
    same(source, open_source(out))
