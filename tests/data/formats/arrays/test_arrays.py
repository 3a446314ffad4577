from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.fuzz import flip_bits

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """The first bytes of a `.npy` file that claims this shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32"])
def test_named_arrays(tmp_path: Path, save: Any, dtype: str) -> None:
    path = tmp_path / "radio.npz"
    values = IMAGES.astype(dtype)
    split = np.array(["train"] * 8 + ["test"] * 4)
    save(path, images=values, labels=np.arange(12) % 2, split=split, class_names=["FRI", "FRII"])
    source = open_source(path)
    assert (source.name, source.loader, len(source)) == ("radio", "arrays", 12)
    assert (source.shape, source.dtype) == ((16, 16, 3), np.dtype(dtype).newbyteorder("="))
    assert source.classes == ("FRI", "FRII")
    assert source.rows("test").tolist() == [8, 9, 10, 11]
    for image, index in zip(source.__getitems__([5, 0, 5]), [5, 0, 5], strict=True):
        np.testing.assert_array_equal(image, values[index])
        assert image.dtype.isnative
    np.testing.assert_array_equal(source.column("split"), split)
    with pytest.raises(DataError, match="no column"):
        source.column("mass")


def test_medmnists_parts_are_one_source_with_a_split(tmp_path: Path) -> None:
    path = tmp_path / "pathmnist.npz"
    parts = {"train": IMAGES[:7], "val": IMAGES[7:9], "test": IMAGES[9:]}
    arrays = {f"{part}_images": images for part, images in parts.items()}
    arrays |= {f"{part}_labels": np.full((len(im), 1), len(im) == 3) for part, im in parts.items()}
    np.savez(path, **arrays)
    source = open_source(path)
    assert source.split is not None
    assert source.labels is not None
    assert source.split.tolist() == ["train"] * 7 + ["val"] * 2 + ["test"] * 3
    assert source.labels.tolist() == [0] * 9 + [1] * 3
    for index in (0, 6, 7, 8, 9, 11):
        np.testing.assert_array_equal(source[index], IMAGES[index])


def test_keras_names_the_parts_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    grey = IMAGES[..., 0]
    np.savez(path, x_train=grey[:8], y_train=np.arange(8), x_test=grey[8:], y_test=np.arange(4))
    source = open_source(path)
    assert (len(source), source.shape) == (12, (16, 16, 1))
    assert source.rows("test").tolist() == [8, 9, 10, 11]


@pytest.mark.parametrize("order", ["C", "F"])
def test_one_array(tmp_path: Path, order: Any) -> None:
    path = tmp_path / "cube.npy"
    np.save(path, np.asarray(IMAGES, order=order))
    source = open_source(path)
    np.testing.assert_array_equal(source[9], IMAGES[9])
    assert len(pickle.dumps(source)) < 5_000  # the map stays behind


def test_uncompressed_members_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    np.savez(path, images=np.zeros((200, 256, 256), np.uint8), labels=np.arange(200) % 2)
    tracemalloc.start()
    source = open_source(path)
    assert source[100].shape == (256, 256, 1)
    assert tracemalloc.get_traced_memory()[1] < 5e6  # of 13 MB
    tracemalloc.stop()


# What is made to hurt.


class Canary:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["CANARY"],)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_pickles_are_never_loaded(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    path = tmp_path / f"bad.{suffix}"
    objects = np.array([Canary()] * 12, dtype=object)
    if suffix == "npy":
        np.save(path, objects, allow_pickle=True)
        with pytest.raises(DataError, match="never loaded"):
            open_source(path)
    else:
        np.savez(path, images=IMAGES, labels=objects)
        source = open_source(path)
        assert source.labels is None
        assert source.keys == ("images",)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((10**6, 60_000, 70_000), "shorter than its header"),
        ((10**12, 64, 64, 3), "shorter than its header"),
        ((-1, 64, 64, 3), "impossible"),
        ((0, 64, 64, 3), "empty"),
    ],
)
def test_headers_are_not_believed(tmp_path: Path, shape: tuple[int, ...], says: str) -> None:
    path = tmp_path / "bomb.npy"
    path.write_bytes(header(shape) + bytes(500))
    with pytest.raises(DataError, match=says):
        open_source(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_not_believed(tmp_path: Path, compression: int) -> None:
    path = archive(
        tmp_path / "bomb.npz", {"images": header((10**6, 512, 512)) + bytes(500)}, compression
    )
    tracemalloc.start()
    with pytest.raises(DataError, match="does not hold"):
        open_source(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_member_that_lies_to_zip_as_well_is_refused(tmp_path: Path) -> None:
    claimed = 10**6 * 512 * 512
    content = header((10**6, 512, 512)) + bytes(500)
    path = archive(tmp_path / "bomb.npz", {"images": content}, zipfile.ZIP_DEFLATED)
    raw = path.read_bytes()
    # The uncompressed size, in the local header and in the central directory.
    size = min(claimed + len(content) - 500, 2**32 - 2)
    path.write_bytes(raw.replace(struct.pack("<I", len(content)), struct.pack("<I", size)))
    with pytest.raises(DataError, match="does not hold"):
        open_source(path)


def test_what_unpacks_to_too_much_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domainjepa.data.formats.arrays.loader.MOST_LOADED", 5_000)
    np.savez_compressed(tmp_path / "a.npz", images=IMAGES)
    with pytest.raises(DataError, match=r"numpy\.savez"):
        open_source(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", images=IMAGES)
    assert len(open_source(tmp_path / "b.npz")) == 12


def test_a_sample_has_a_largest_size(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(DataError, match=r"data\.max_sample_bytes=768"):
        open_source(tmp_path / "a.npy", max_sample_bytes=700)


def test_a_damaged_member_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=IMAGES)
    raw = bytearray(path.read_bytes())
    raw[3000] ^= 1
    path.write_bytes(raw)
    source = open_source(path)
    with pytest.raises(DataError, match=r"images in a\.npz cannot be read") as caught:
        source[0]
    assert str(tmp_path) not in str(caught.value)


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="Copy or download"):
        open_source(path)


def test_an_archive_of_something_else_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="named like NumPy"):
        open_source(tmp_path / "a.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_flipped_bits_give_an_array_or_an_error(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "a.npz", images=IMAGES[:4] // 64, labels=np.arange(4) % 2)
    flip_bits(tmp_path / "a.npz", 200)


@pytest.mark.parametrize("what", ["images", "labels", "sample"])
def test_a_flipped_bit_in_a_stored_member_is_found(what: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3), np.uint8)
    path = tmp_path / "files" / "a.npz"
    path.parent.mkdir()
    arrays = {"sample": {"image": images[0]}}.get(what, {"images": images, "labels": [0, 1] * 10})
    np.savez(path, **arrays)
    np.savez(path.with_name("b.npz"), **arrays)
    content = bytearray(path.read_bytes())
    value = {"images": images, "labels": np.array([0, 1] * 10), "sample": images[0]}[what]
    content[content.index(value.tobytes()) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz cannot be read: .*CRC"):
        open_source(path.parent if what == "sample" else path)[0]
