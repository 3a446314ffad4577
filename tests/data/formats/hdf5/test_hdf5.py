from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError, MissingExtra
from tests.data.fuzz import flip_bits

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.h5"


def write(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name.replace("__", "/")] = values
    return path


def test_galaxy10s_layout_is_found(path: Path) -> None:
    numbers = np.arange(12.0)
    columns = dict.fromkeys(("ra", "dec", "redshift", "pxscale"), numbers)
    source = open_source(write(path, images=IMAGES, ans=np.arange(12, dtype="u1") % 10, **columns))
    assert (source.name, source.loader, len(source)) == ("set", "hdf5", 12)
    assert (source.shape, source.dtype) == ((16, 16, 3), np.dtype("uint8"))
    assert source.keys == ("ans", "dec", "images", "pxscale", "ra", "redshift")
    assert source.labels is not None
    np.testing.assert_array_equal(source.column("redshift"), numbers)
    with pytest.raises(DataError, match="no column"):
        source.column("mass")


@pytest.mark.parametrize("storage", [{}, {"chunks": (1, 16, 16, 3)}, {"chunks": (5, 9, 4, 1)}])
@pytest.mark.parametrize(
    "indices", [[0], [11, 0, 5], [3, 4, 5, 6], [7, 7, 2, 7], [], np.array([1, 10])]
)
def test_samples_come_in_the_order_asked_for(
    path: Path, storage: dict[str, Any], indices: list[int]
) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=IMAGES, **storage)
    images = open_source(path).__getitems__(indices)
    assert len(images) == len(indices)
    for image, index in zip(images, indices, strict=True):
        np.testing.assert_array_equal(image, IMAGES[index])
        assert image.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "<i2", ">f4", "float64"])
@pytest.mark.parametrize("order", ["last", "first", "none"])
def test_dtypes_and_axes(path: Path, dtype: str, order: str) -> None:
    values = IMAGES.astype(dtype)
    stored = {"last": values, "first": np.moveaxis(values, -1, 1), "none": values[..., 0]}[order]
    source = open_source(write(path, data__images=stored))
    assert source.dtype == np.dtype(dtype).newbyteorder("=")
    assert source[3].dtype.isnative
    np.testing.assert_array_equal(source[3], IMAGES[3] if order != "none" else IMAGES[3][..., :1])
    assert any("moved last" in line for line in source.decisions) == (order == "first")


def test_ambiguity_is_settled_by_the_option(path: Path) -> None:
    write(path, hst=IMAGES, hsc=IMAGES[:, ::-1])
    with pytest.raises(DataError, match=r"hsc \(12x16x16x3 uint8\), hst .*--set data\.images="):
        open_source(path)
    np.testing.assert_array_equal(open_source(path, images="hsc")[0], IMAGES[0, ::-1])


def test_names_of_classes_and_of_parts_in_the_file(path: Path) -> None:
    part = h5py.enum_dtype({"train": 0, "val": 1, "test": 2}, basetype="u1")
    with h5py.File(write(path, images=IMAGES, ans=np.arange(12) % 2), "r+") as file:
        file["ans"].attrs["class_names"] = ["smooth", "disc"]
        file.create_dataset("split", data=np.arange(12, dtype="u1") // 4, dtype=part)
    source = open_source(path)
    assert source.classes == ("smooth", "disc")
    assert source.rows("test").tolist() == [8, 9, 10, 11]


def test_a_user_block_before_the_signature(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["images"] = IMAGES
    np.testing.assert_array_equal(open_source(path)[2], IMAGES[2])


# What leads elsewhere.


def linked(path: Path, how: str) -> Path:
    """A file whose images lie in `elsewhere/secret.h5` or `elsewhere/raw.bin`."""
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere / "secret.h5", images=IMAGES)
    (elsewhere / "raw.bin").write_bytes(IMAGES.tobytes())
    with h5py.File(path, "w") as file:
        if how == "external link":
            file["images"] = h5py.ExternalLink("elsewhere/secret.h5", "/images")
        elif how == "soft link through an external one":
            file["outside"] = h5py.ExternalLink("elsewhere/secret.h5", "/")
            file["images"] = h5py.SoftLink("/outside/images")
        elif how == "external group":
            file["data"] = h5py.ExternalLink("elsewhere/secret.h5", "/")
        elif how == "virtual":
            layout = h5py.VirtualLayout(IMAGES.shape, IMAGES.dtype)
            layout[:] = h5py.VirtualSource("elsewhere/secret.h5", "images", IMAGES.shape)
            file.create_virtual_dataset("images", layout)
        else:
            raw = [("elsewhere/raw.bin", 0, IMAGES.nbytes)]
            file.create_dataset("images", IMAGES.shape, IMAGES.dtype, external=raw)
    return path


WAYS = [
    "external link",
    "soft link through an external one",
    "external group",
    "virtual",
    "raw storage",
]


@pytest.mark.parametrize("how", WAYS)
def test_what_leads_out_of_the_file_is_refused(path: Path, how: str) -> None:
    with pytest.raises(DataError, match=r"not followed.*follow_links"):
        open_source(linked(path, how))


@pytest.mark.parametrize("how", WAYS)
def test_it_is_followed_inside_the_folder_on_request(
    path: Path, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    linked(path, how)
    monkeypatch.chdir(tmp_path_factory.mktemp("nowhere"))  # nothing is looked for where we are
    source = open_source(path, follow_links=True)
    np.testing.assert_array_equal(source.__getitems__([9, 1])[0], IMAGES[9])


@pytest.mark.parametrize("how", WAYS)
def test_it_is_never_followed_out_of_the_folder(path: Path, how: str) -> None:
    linked(path, how)
    outside = path.parent.parent / f"outside-{path.parent.name}"
    (path.parent / "elsewhere").rename(outside)
    (path.parent / "elsewhere").symlink_to(outside)
    name = "data/images" if how == "external group" else "images"
    with pytest.raises(DataError, match="out of the folder"):
        open_source(path, images=name, follow_links=True)


def test_labels_behind_a_link_are_refused_and_other_links_are_named(path: Path) -> None:
    write(path, images=IMAGES)
    with h5py.File(path, "r+") as file:
        file["notes"] = h5py.ExternalLink("other.h5", "/notes")
    assert any("notes" in line for line in open_source(path).decisions)
    with h5py.File(path, "r+") as file:
        file["ans"] = h5py.ExternalLink("other.h5", "/ans")
    with pytest.raises(DataError, match=r"'ans'.*external link"):
        open_source(path)


def test_soft_links_inside_the_file_are_fine(path: Path) -> None:
    write(path, raw__cube=IMAGES)
    with h5py.File(path, "r+") as file:
        file["images"] = h5py.SoftLink("/raw/cube")
        file["raw/back"] = h5py.SoftLink("/raw")
        file["loop"] = h5py.SoftLink("/loop")
        file["raw"]["self"] = file["raw"]
    np.testing.assert_array_equal(open_source(path)[4], IMAGES[4])
    with pytest.raises(DataError, match="circles"):
        open_source(path, images="loop")


def test_links_that_multiply_are_refused(path: Path) -> None:
    with h5py.File(write(path, images=IMAGES), "r+") as file:
        file["links0"] = h5py.SoftLink("/")
        for level in range(1, 12):  # 30**12 steps, followed to the end
            file[f"links{level}"] = h5py.SoftLink("/" + f"links{level - 1}/" * 30)
    with pytest.raises(DataError, match="objects or 10,000 links"):
        open_source(path)


# What claims more than it is.


@pytest.mark.parametrize(
    ("shape", "chunks", "says"),
    [
        ((10**6, 60_000, 70_000, 1), (1, 512, 512, 1), "one sample"),
        ((10**12, 64, 64, 1), (1, 64, 64, 1), "claims 4,096 TB"),
        ((10**6, 64, 64, 3), (100_000, 64, 64, 1), "one chunk"),
        ((0, 64, 64, 3), (1, 64, 64, 3), "empty"),
    ],
)
def test_bombs_are_refused_by_their_headers(
    path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], says: str
) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", shape, "u1", chunks=chunks, maxshape=(None, *shape[1:]))
    assert path.stat().st_size < 10_000
    tracemalloc.start()
    with pytest.raises(DataError, match=says):
        open_source(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_bomb_beside_the_images_is_not_read(path: Path) -> None:
    with h5py.File(write(path, images=IMAGES), "r+") as file:
        file.create_dataset("ans", (12,), "i8", chunks=(2**28,), maxshape=(None,))
    with pytest.raises(DataError, match=r"'ans'.*would take"):
        open_source(path)


def test_objects_without_end_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domainjepa.data.formats.hdf5.tree.MOST_OBJECTS", 50)
    write(path, **{f"galaxy{index}": IMAGES[0] for index in range(60)})
    with pytest.raises(DataError, match=r"more than 50 objects.*Write all images into one"):
        open_source(path)


# Damage.


def test_a_corrupt_chunk_names_data_set_and_sample(path: Path) -> None:
    with h5py.File(path, "w") as file:
        images = file.create_dataset(
            "g/images", data=IMAGES, chunks=(1, 16, 16, 3), fletcher32=True
        )
        at = images.id.get_chunk_info_by_coord((7, 0, 0, 0)).byte_offset
    with path.open("r+b") as raw:
        raw.seek(at + 100)
        byte = raw.read(1)
        raw.seek(at + 100)
        raw.write(bytes([byte[0] ^ 1]))
    source = open_source(path)
    np.testing.assert_array_equal(source[6], IMAGES[6])
    with pytest.raises(DataError, match=r"sample 7 of 'g/images' in set\.h5") as caught:
        source.__getitems__(range(5, 9))
    assert str(path.parent) not in str(caught.value)


def test_a_truncated_file_is_an_error(path: Path) -> None:
    write(path, images=IMAGES)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"set\.h5.*Copy or download"):
        open_source(path)


def test_flipped_bits_give_an_array_or_an_error(path: Path) -> None:
    # Fixed-length text: HDF5 2.0 can hang for ever on a damaged heap of variable-length text.
    with h5py.File(path, "w") as file:
        options = {"chunks": (1, 16, 16, 3), "compression": "gzip", "fletcher32": True}
        file.create_dataset("images", data=IMAGES[:4], **options)
        file["ans"] = np.arange(4) % 2
        file["split"] = np.array([b"train", b"train", b"test ", b"test "])
    flip_bits(path, 150)


# Storage.


@pytest.mark.parametrize(
    ("storage", "warns"),
    [
        ({}, False),
        ({"chunks": (1, 64, 64, 3), "compression": "gzip"}, False),
        ({"chunks": (1, 64, 64, 1)}, False),
        ({"chunks": True, "compression": "gzip"}, True),
        ({"chunks": (20, 64, 64, 3)}, True),
    ],
)
def test_bad_chunking_warns_with_its_remedy(
    path: Path, storage: dict[str, Any], warns: bool
) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (40, 64, 64, 3), "u1", **storage)
        chunks = file["images"].chunks
        if storage.get("chunks") is True:  # h5py's own choice cuts samples into pieces
            assert chunks[0] > 1
    warnings = open_source(path).warnings
    assert any("prepare --data set.h5" in warning for warning in warnings) == warns


def test_a_missing_filter_names_its_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=(1, 16, 16, 3), compression="lzf")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(MissingExtra, match=r"filter 32000.*pip install 'domainjepa\[hdf5\]'"):
        open_source(path)


def test_lz4_is_read_through_the_extra(path: Path) -> None:
    plugin = pytest.importorskip("hdf5plugin")
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=(1, 16, 16, 3), **plugin.LZ4())
    code = (
        "import sys; from domainjepa.data.opening import open_source;"
        "print(open_source(sys.argv[1])[5].sum())"
    )  # a process that has not registered the filter
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) == int(IMAGES[5].sum())


def test_a_file_that_shrinks_under_a_source_is_an_error(path: Path) -> None:
    source = open_source(write(path, images=IMAGES))
    path.unlink()
    write(path, images=IMAGES[:3])
    with pytest.raises(DataError, match="changed since"):
        source[2]


@pytest.mark.parametrize("storage", [{}, {"chunks": (1, 20, 24, 28)}])
def test_volumes_and_their_slices(path: Path, storage: dict[str, Any]) -> None:
    volumes = np.random.default_rng(1).integers(1, 99, (3, 20, 24, 28), dtype="i2")
    with h5py.File(path, "w") as file:
        file.create_dataset("volumes", data=volumes, **storage)
    source = open_source(path, dimensions=3)
    assert source.shape == (20, 24, 28, 1)
    np.testing.assert_array_equal(source[2][..., 0], volumes[2])
    # No axis can be that of channels, so slices are taken without a word from the user.
    slices = open_source(path, axis="0")
    assert slices.shape == (24, 28, 1)
    np.testing.assert_array_equal(slices[23][..., 0], volumes[1, 3])


@pytest.mark.parametrize("order", ["last", "first", "none"])
def test_parts_of_a_sample(path: Path, order: str) -> None:
    values = IMAGES.astype(">u2")
    stored = {"last": values, "first": np.moveaxis(values, -1, 1), "none": values[..., 0]}[order]
    source = open_source(write(path, images=stored))
    part = source.region(7, (2, 3), (9, 16))
    np.testing.assert_array_equal(part, source[7][2:9, 3:16])
    assert part.dtype.isnative
    assert part.flags.c_contiguous


def test_a_chunk_that_was_never_written_reads_as_the_fill_value(path: Path) -> None:
    with h5py.File(path, "w") as file:
        images = file.create_dataset(
            "images", IMAGES.shape, "u1", chunks=(1, 16, 16, 3), fillvalue=7
        )
        images[:4] = IMAGES[:4]
    images = open_source(path).__getitems__([2, 5])
    np.testing.assert_array_equal(images[0], IMAGES[2])
    assert (images[1] == 7).all()
