from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.fuzz import flip_bits

DRAW = np.random.default_rng(0)
FLOATS = DRAW.normal(size=(6, 20, 30, 3)).astype("f4")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("order", ["last", "first", "none"])
def test_a_file_is_a_sample(tmp_path: Path, suffix: str, order: str) -> None:
    stored = {
        "last": FLOATS,
        "first": np.moveaxis(FLOATS, -1, 1),
        "none": FLOATS[..., 0],
    }[order].astype(">f4")
    for number, (name, image) in enumerate(zip(["b/1", "b/0", "a/0"], stored, strict=False)):
        path = tmp_path / f"{name}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == "npy":
            np.save(path, np.asfortranarray(image) if number else image)
        elif number:
            np.savez_compressed(path, image=image, mask=image[..., 0] > 0, label=3)
        else:
            np.savez(path, image=image)
    source = open_source(tmp_path)
    channels = 1 if order == "none" else 3
    assert (source.loader, len(source), source.shape) == ("arrays", 3, (20, 30, channels))
    assert source.dtype == np.dtype("float32")
    assert source.classes == ("a", "b")
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    for image, number in zip(copy, [2, 1, 0], strict=True):
        assert image.dtype.isnative
        np.testing.assert_array_equal(image, FLOATS[number][..., :channels])
    np.testing.assert_array_equal(
        source.region(1, (2, 3), (9, 11)), FLOATS[1, 2:9, 3:11, :channels]
    )


def test_volumes_become_slices_or_stay(tmp_path: Path) -> None:
    volumes = DRAW.integers(1, 255, (2, 5, 20, 30), dtype=np.uint8)
    for number, volume in enumerate(volumes):
        np.save(tmp_path / f"{number}.npy", volume)
    assert open_source(tmp_path).shape == (20, 30, 5)  # a short axis is one of channels
    whole = open_source(tmp_path, dimensions=3)
    assert whole.shape == (5, 20, 30, 1)
    np.testing.assert_array_equal(np.stack(list(whole))[..., 0], volumes)


def test_files_must_be_of_one_kind(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", FLOATS[0])
    np.save(tmp_path / "1.npy", FLOATS[0][:10])
    assert open_source(tmp_path)[1].shape == (10, 30, 3)
    np.save(tmp_path / "2.npy", FLOATS[0].astype("f8"))
    with pytest.raises(DataError, match=r"float64 with 3 channels, the first file is float32"):
        open_source(tmp_path)
    np.save(tmp_path / "2.npy", FLOATS[0][..., 0])
    with pytest.raises(DataError, match=r"with 1 channels, the first file is float32 with 3"):
        open_source(tmp_path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="never loaded"):
        open_source(tmp_path)


def test_bombs_are_refused_by_their_headers(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros((4_000, 4_000), np.uint8))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.npz would take 16,000,000 bytes"):
        open_source(tmp_path, max_sample_bytes=10**7)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_pictures_beside_arrays_are_a_choice(tmp_path: Path) -> None:
    from PIL import Image

    np.save(tmp_path / "a.npy", FLOATS[0])
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"several formats: .*--loader arrays or --loader images"):
        open_source(tmp_path)
    assert open_source(tmp_path, loader="arrays").shape == (20, 30, 3)
    assert open_source(tmp_path, loader="images").shape == (8, 8, 1)


def test_parts_of_one_array_are_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.moveaxis(FLOATS, -1, 1))
    source = open_source(tmp_path / "a.npy")
    np.testing.assert_array_equal(source.region(4, (2, 3), (9, 11)), FLOATS[4, 2:9, 3:11])
    with pytest.raises(IndexError):
        source.region(6, (0, 0), (1, 1))


def test_an_array_of_volumes(tmp_path: Path) -> None:
    volumes = DRAW.integers(1, 255, (3, 20, 22, 24), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=volumes, labels=[0, 1, 0])
    whole = open_source(tmp_path / "a.npz", dimensions=3)
    assert whole.shape == (20, 22, 24, 1)
    np.testing.assert_array_equal(whole[2][..., 0], volumes[2])
    assert whole.labels is not None


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_flipped_bits_give_an_array_or_an_error(tmp_path: Path, suffix: str) -> None:
    small = FLOATS[0][:8, :8]
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, small)
    else:
        np.savez_compressed(path, image=small)
        path.write_bytes(path.read_bytes() + bytes(60))
    flip_bits(path, 80, "folder")
