from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domainjepa.data.formats.zarr.loader import ZarrLoader
from domainjepa.data.opening import open_source
from domainjepa.data.source import OpenOptions, Source
from domainjepa.errors import DataError, MissingExtra, UserError
from tests.data.fuzz import flip_bits

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")
from zarr.codecs import Crc32cCodec  # noqa: E402

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
V2: dict[str, Any] = {"zarr_format": 2}
SHARDED: dict[str, Any] = {"chunks": (1, 16, 16, 3), "shards": (4, 16, 16, 3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.zarr"


def write(path: Path, values: np.ndarray[Any, Any] = IMAGES, name: str = "", **how: Any) -> Path:
    """One array at the root, or of a name in the group at the root."""
    form = how.pop("zarr_format", 3)
    how = {"chunks": (1, *values.shape[1:]), "dtype": values.dtype} | how
    if name:
        place = zarr.open_group(path, mode="a", zarr_format=form)
        array = place.create_array(name, shape=values.shape, **how)
    else:
        array = zarr.create_array(path, shape=values.shape, zarr_format=form, **how)
    array[...] = values
    return path


def bare(path: Path, name: str = "") -> np.ndarray[Any, Any]:
    """The values as zarr itself gives them."""
    return np.asarray(zarr.open_array(path, path=name, mode="r")[...])


# Values.


@pytest.mark.parametrize(
    "how",
    [
        {},
        V2,
        V2 | {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"chunks": (5, 9, 4, 1)},
        SHARDED,
        SHARDED | {"compressors": None},
        SHARDED | {"compressors": [Crc32cCodec()]},
        V2 | {"compressors": numcodecs.Zlib(1)},
        {"compressors": zarr.codecs.BloscCodec(cname="lz4")},
    ],
)
@pytest.mark.parametrize("indices", [[0], [11, 0, 5], [7, 7, 2, 7], [3, 4, 5, 6], []])
def test_samples_are_zarrs_own(path: Path, how: dict[str, Any], indices: list[int]) -> None:
    source = open_source(write(path, **how))
    assert (source.loader, source.name, len(source)) == ("zarr", "set", 12)
    images = source.__getitems__(indices)
    assert len(images) == len(indices)
    for image, index in zip(images, indices, strict=True):
        np.testing.assert_array_equal(image, bare(path)[index])
        assert image.flags.c_contiguous


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "<i2", ">f4", "float64"])
def test_dtypes(path: Path, dtype: str, form: int) -> None:
    how: dict[str, Any] = {"zarr_format": form}
    if form == 2 and dtype[0] != "u":
        how["filters"] = [numcodecs.Delta(dtype)]
    source = open_source(write(path, IMAGES.astype(dtype), **how))
    assert source.dtype == np.dtype(dtype).newbyteorder("=")
    assert source[3].dtype.isnative
    np.testing.assert_array_equal(source[3], IMAGES[3].astype(source.dtype))


def test_axes_are_told_by_their_lengths(path: Path) -> None:
    write(path, np.moveaxis(IMAGES, -1, 1))
    source = open_source(path)
    np.testing.assert_array_equal(source[3], IMAGES[3])
    np.testing.assert_array_equal(source.region(3, (2, 4), (9, 16)), IMAGES[3, 2:9, 4:16])


def test_a_group_has_labels_groups_ids_and_a_split(path: Path) -> None:
    write(path, name="data/images")
    write(path, np.arange(12) % 2, "data/labels")
    group = zarr.open_group(path, mode="a")
    group["data/labels"].attrs["class_names"] = ["smooth", "disc"]
    write(path, np.arange(12, dtype="u1") // 4, "data/split")
    group["data/split"].attrs.update(flag_values=[0, 1, 2], flag_meanings="train val test")
    group.create_array("data/ids", shape=(12,), dtype="str")[:] = np.array(
        [f"é{i}" for i in range(12)]
    )
    write(path, np.linspace(0, 1, 12), "redshift")
    source = open_source(path)
    assert source.classes == ("smooth", "disc")
    assert source.rows("test").tolist() == [8, 9, 10, 11]
    assert source.ids is not None
    assert source.ids[3] == "é3"
    np.testing.assert_array_equal(source.column("redshift"), np.linspace(0, 1, 12))
    with pytest.raises(DataError, match="no column"):
        source.column("mass")


def test_ambiguity_is_settled_by_the_option(path: Path) -> None:
    write(path, name="hst")
    write(path, IMAGES[:, ::-1], name="hsc")
    with pytest.raises(DataError, match=r"hsc \(12x16x16x3 uint8\), hst .*--set data\.images="):
        open_source(path)
    np.testing.assert_array_equal(open_source(path, images="hsc")[0], IMAGES[0, ::-1])


def test_volumes_and_their_slices(path: Path) -> None:
    volumes = np.random.default_rng(1).integers(1, 99, (3, 20, 24, 28), dtype="i2")
    write(path, volumes)
    source = open_source(path, dimensions=3)
    assert source.shape == (20, 24, 28, 1)
    np.testing.assert_array_equal(source[2][..., 0], volumes[2])
    np.testing.assert_array_equal(
        source.region(1, (3, 4, 5), (6, 8, 10))[..., 0], volumes[1, 3:6, 4:8, 5:10]
    )
    assert len(open_source(path, axis="0")) == 60


def test_a_zip_is_read_as_the_folder_is(path: Path) -> None:
    write(path, name="images")
    packed = Path(shutil.make_archive(str(path), "zip", path))
    source = open_source(packed)
    assert (source.loader, source.name) == ("zarr", "set")
    np.testing.assert_array_equal(source[7], IMAGES[7])


def _total(source: Source) -> int:
    return sum(int(image.sum()) for image in source.__getitems__(range(len(source))))


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_sources_travel_to_other_processes(path: Path, way: str) -> None:
    source = open_source(write(path, **SHARDED))
    expected = _total(source)  # open in this process before the other one begins
    with multiprocessing.get_context(way).Pool(1) as pool:
        assert pool.apply(_total, (source,)) == expected
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301  (our own)
    np.testing.assert_array_equal(copy[4], IMAGES[4])


# URLs.


def test_urls_are_read_through_fsspec(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    write(path, name="images")
    write(path, np.arange(12) % 3, "labels")
    fsspec.filesystem("memory").put(str(path), "/bucket/set.zarr", recursive=True)
    source = open_source("memory://bucket/set.zarr")
    assert (source.name, source.loader, len(source)) == ("set", "zarr", 12)
    assert source.labels is not None
    for index, image in zip([9, 2], source.__getitems__([9, 2]), strict=True):
        np.testing.assert_array_equal(image, IMAGES[index])
    assert "bucket" not in repr(source)
    with pytest.raises(DataError, match=r"nothing\.h5 is not there") as caught:
        open_source("memory://bucket/nothing.h5?key=secret")
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError, match="Protocol not known"):
        open_source("nowhere://bucket/set.zarr")


def test_a_missing_package_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    for package, url in (
        ("s3fs", "s3://bucket/set.zarr"),
        ("s3fs", "s3://bucket/set.h5"),
        ("aiohttp", "https://x.org/set.zarr"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
        with pytest.raises(UserError, match=r"package: pip install 'domainjepa\[remote\]'$"):
            open_source(url)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtra, match=r"pip install 'domainjepa\[zarr\]'"):
        ZarrLoader().open(path, OpenOptions())


# OME-Zarr.


def ome(
    path: Path,
    values: np.ndarray[Any, Any],
    axes: str,
    version: str = "0.5",
    unit: str | None = "micrometer",
) -> Path:
    """An image of two resolutions as the specification has it."""
    kinds = {"t": "time", "c": "channel"}
    described = [
        {"name": axis, "type": kinds.get(axis, "space")}
        | ({"unit": unit} if axis in "zyx" and unit else {})
        for axis in axes
    ]
    steps = {"z": 2.0, "y": 0.5, "x": 0.25}
    datasets = []
    for number, (name, factor) in enumerate((("full", 1), ("half", 2))):
        scale = [steps.get(axis, 1.0) * (factor if axis in "yx" else 1) for axis in axes]
        datasets.append(
            {"path": name, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
        sliced = tuple(slice(None, None, factor) if axis in "yx" else slice(None) for axis in axes)
        write(path, values[sliced], name, zarr_format=2 if version == "0.4" else 3)
        assert number < 2
    multiscales = [{"version": version, "axes": described, "datasets": datasets}]
    attributes = {"multiscales": multiscales}
    zarr.open_group(path, mode="a").attrs.update(
        attributes if version == "0.4" else {"ome": attributes}
    )
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tczyx", "tcyx", "cyx", "zyx", "yx", "tzyx", "czyx"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_ome_axes_become_samples_depth_and_channels(
    path: Path, version: str, axes: str, dimensions: int
) -> None:
    sizes = {"t": 3, "c": 2, "z": 5, "y": 24, "x": 16}
    values = np.random.default_rng(2).integers(1, 999, [sizes[one] for one in axes], dtype="u2")
    ome(path, values, axes, version)
    if dimensions == 3 and "z" not in axes:
        with pytest.raises(DataError, match="no z axis"):
            open_source(path, dimensions=3)
        return
    source = open_source(
        path, dimensions=dimensions, axis="0" if dimensions == 2 and "z" in axes else None
    )
    full = np.einsum(f"{axes}->{''.join(one for one in 'tzyxc' if one in axes)}", values)
    full = full.reshape([sizes[one] if one in axes else 1 for one in "tzyxc"])
    if dimensions == 2:
        full = full.reshape(-1, *full.shape[2:])
    assert len(source) == len(full)
    np.testing.assert_array_equal(np.stack(source.__getitems__(range(len(full)))), full)
    assert source.spacings is not None
    expected = [2e-3, 5e-4, 2.5e-4][-dimensions:]
    np.testing.assert_allclose(source.spacings, [expected] * len(full))


def test_ome_levels_and_units(path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 999, (2, 24, 16), dtype="u2")
    ome(path, values, "cyx", unit=None)
    source = open_source(path, images="half")
    np.testing.assert_array_equal(source[0], np.moveaxis(values[:, ::2, ::2], 0, -1))
    assert source.spacings is None
    with pytest.raises(DataError, match=r"no such resolution\. Choose from: full, half"):
        open_source(path, images="third")


def test_labels_of_an_ome_image_are_no_images(path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 999, (2, 24, 16), dtype="u2")
    ome(path, values, "cyx")
    ome(path / "labels" / "cells", values[0], "yx")
    assert open_source(path).shape == (24, 16, 2)


def test_plates_have_wells_of_fields(path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 999, (4, 2, 24, 16), dtype="u2")
    wells = ["A/1", "B/3"]
    for number, well in enumerate(wells):
        for field in range(2):
            ome(path / well / str(field), values[2 * number + field], "cyx")
        images = {"images": [{"path": "0"}, {"path": "1"}]}
        zarr.open_group(path / well, mode="a").attrs["ome"] = {"well": images}
    plate = {"wells": [{"path": well} for well in wells]}
    zarr.open_group(path, mode="a").attrs["ome"] = {"plate": plate}
    source = open_source(path)
    assert len(source) == 4
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(source[3], np.moveaxis(values[3], 0, -1))


def test_series_of_bioformats2raw(path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 999, (11, 24, 16), dtype="u2")
    for number, image in enumerate(values):
        ome(path / str(number), image, "yx", "0.4")
    zarr.open_group(path, mode="a", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    source = open_source(path)
    np.testing.assert_array_equal(source[10][..., 0], values[10])


def test_a_folder_of_stores(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 999, (4, 2, 24, 16), dtype="u2")
    for number, image in enumerate(values):
        folder = tmp_path / "set" / ("cells" if number < 2 else "nuclei")
        ome(folder / f"image{number}.zarr", image[:, : 24 - number], "cyx")
    source = open_source(tmp_path / "set")
    assert source.classes == ("cells", "nuclei")
    assert (source.shape, source.modality) == ((24, 16, 2), "GM")
    assert source[3].shape == (21, 16, 2)
    np.testing.assert_array_equal(source[1], np.moveaxis(values[1, :, :23], 0, -1))
    write(tmp_path / "set" / "cells" / "other.zarr", np.ones((24, 16), "u2"), chunks=(24, 16))
    with pytest.raises(DataError, match=r"channels.*folders of their own"):
        open_source(tmp_path / "set")
    assert len(open_source(tmp_path / "set", images="image*")) == 4


def test_a_folder_of_plain_stores(tmp_path: Path) -> None:
    for number, image in enumerate(IMAGES):
        write(tmp_path / "set" / f"{number:02}.zarr", image, chunks=(16, 16, 3))
    np.testing.assert_array_equal(open_source(tmp_path / "set")[7], IMAGES[7])
    for part in range(2):
        write(tmp_path / "parts" / f"{part}.zarr", IMAGES[6 * part : 6 * part + 6])
    source = open_source(tmp_path / "parts")
    np.testing.assert_array_equal(source[7], IMAGES[7])
    assert source.groups is not None
    assert source.groups.tolist() == [0] * 6 + [1] * 6


# What leads elsewhere, or runs.


def test_links_out_of_the_store_are_refused(path: Path, tmp_path: Path) -> None:
    write(path)
    chunk = path / "c" / "3" / "0" / "0" / "0"
    chunk.rename(tmp_path / "secret")
    chunk.symlink_to(tmp_path / "secret")
    source = open_source(path)
    np.testing.assert_array_equal(source[2], IMAGES[2])
    for follow in (False, True):
        with pytest.raises(DataError, match=r"sample 3.*link"):
            open_source(path, follow_links=follow)[3]
    (path / "inside").write_bytes((tmp_path / "secret").read_bytes())
    chunk.unlink()
    chunk.symlink_to(path / "inside")
    with pytest.raises(DataError, match="link"):
        open_source(path)[3]
    np.testing.assert_array_equal(open_source(path, follow_links=True)[3], IMAGES[3])


def test_linked_groups_are_not_entered(path: Path, tmp_path: Path) -> None:
    write(path, name="images")
    write(tmp_path / "secret.zarr", name="more")
    (path / "outside").symlink_to(tmp_path / "secret.zarr")
    (path / "round").symlink_to(path)
    assert open_source(path).keys == ("images",)
    with pytest.raises(DataError, match="link"):
        _with_keys(open_source(path), "outside/more").column("outside/more")


def _with_keys(source: Source, *keys: str) -> Any:
    source.keys = keys
    return source


@pytest.mark.parametrize("name", ["../secret.zarr", "a/../../secret.zarr", "/../secret.zarr"])
def test_paths_that_leave_the_store_are_refused(path: Path, tmp_path: Path, name: str) -> None:
    write(tmp_path / "secret.zarr", IMAGES[..., 0])
    ome(path, IMAGES[..., 0], "tyx")
    group = zarr.open_group(path, mode="a")
    told = group.attrs["ome"]
    told["multiscales"][0]["datasets"][0]["path"] = name
    group.attrs["ome"] = told
    with pytest.raises(DataError, match="leads out"):
        open_source(path)


@pytest.mark.parametrize("role", ["filters", "compressor"])
@pytest.mark.parametrize("codec", ["pickle", "json2", "unheard-of"])
def test_codecs_that_load_objects_are_refused(
    path: Path, tmp_path: Path, role: str, codec: str
) -> None:
    write(path, name="images", **V2)
    file = path / "images" / ".zarray"
    told = json.loads(file.read_text())
    told[role] = [{"id": codec}] if role == "filters" else {"id": codec}
    file.write_text(json.dumps(told))
    canary = tmp_path / "canary"

    class Canary:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (canary,))

    chunk = path / "images" / "0.0.0.0"
    chunk.write_bytes(pickle.dumps(Canary()))
    for images in (None, "images"):
        with pytest.raises(DataError, match=codec):
            open_source(path, images=images)
    write(path, IMAGES, "good", **V2)
    np.testing.assert_array_equal(open_source(path, images="good")[2], IMAGES[2])
    assert not canary.exists()


@pytest.mark.parametrize("form", [2, 3])
def test_long_texts_are_read(path: Path, form: int) -> None:
    write(path, name="images", zarr_format=form)
    group = zarr.open_group(path, mode="a")
    ids = group.create_array("ids", shape=(12,), dtype="str")
    ids[:] = np.array(["x" * 20_000 + str(number) for number in range(12)])
    source = open_source(path)
    assert source.ids is not None
    assert source.ids[11].endswith("x11")


def test_unsafe_arrays_beside_the_images_are_left_out(path: Path) -> None:
    write(path, name="images", **V2)
    packed = {"filters": [numcodecs.Categorize(["a", "b"], "U1")], "chunks": (12,)}
    write(path, np.array(["a", "b"] * 6), "labels", **V2, **packed)
    source = open_source(path)
    assert source.labels is None
    assert any("left out: labels (uses the codec 'categorize'" in line for line in source.decisions)


def test_a_codec_that_appears_later_is_refused_too(path: Path) -> None:
    write(path, **V2)
    source = open_source(path)
    told = json.loads((path / ".zarray").read_text())
    told["filters"] = [{"id": "pickle"}]
    (path / ".zarray").write_text(json.dumps(told))
    with pytest.raises(DataError, match="pickle"):
        source[0]


# What claims more than it is, or less.


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": [10**6, 60_000, 70_000, 1], "chunks": [1, 512, 512, 1]}, "one sample"),
        ({"shape": [10**12, 64, 64, 1], "chunks": [1, 64, 64, 1]}, "claims 4,096 TB"),
        ({"shape": [10**6, 64, 64, 3], "chunks": [100_000, 64, 64, 1]}, "one chunk"),
        ({"shape": [12, 8_000, 8_000, 3], "chunks": [1, 1, 1, 1]}, "chunks, more"),
        ({"shape": [0, 64, 64, 3], "chunks": [1, 64, 64, 3]}, "empty"),
    ],
)
def test_bombs_are_refused_by_their_metadata(path: Path, change: dict[str, Any], says: str) -> None:
    write(path, **V2)
    told = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(told | change))
    with pytest.raises(DataError, match=says):
        open_source(path)


def test_shards_of_countless_chunks_are_refused(path: Path) -> None:
    write(path, **SHARDED)
    told = json.loads((path / "zarr.json").read_text())
    told["codecs"][0]["configuration"]["chunk_shape"] = [1, 1, 1, 1]
    told["shape"] = told["chunk_grid"]["configuration"]["chunk_shape"] = [12, 10**4, 10**4, 3]
    (path / "zarr.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="shards of more than"):
        open_source(path)


def test_missing_chunks_are_counted(path: Path) -> None:
    write(path)
    shutil.rmtree(path / "c" / "3")
    (warning,) = open_source(path).warnings
    assert warning.startswith("1 chunk files are not there")
    shutil.rmtree(path / "c")
    with pytest.raises(DataError, match="no chunk"):
        open_source(path)


def test_stale_consolidated_metadata_is_not_believed(path: Path) -> None:
    write(path, IMAGES[:5], "images", **V2)
    zarr.consolidate_metadata(path, zarr_format=2)
    shutil.rmtree(path / "images")
    write(path, IMAGES, "images", **V2)
    assert len(open_source(path)) == 12


@pytest.mark.parametrize(("chunks", "warns"), [((1, 16, 16, 3), False), ((12, 64, 64, 3), True)])
def test_bad_chunking_points_at_prepare(path: Path, chunks: tuple[int, ...], warns: bool) -> None:
    write(path, np.ones((12, 64, 64, 3), "u1"), chunks=chunks)
    assert any("domainjepa prepare" in line for line in open_source(path).warnings) == warns


# Damage.


def test_a_corrupt_chunk_names_array_and_sample(path: Path) -> None:
    whole = (12, 16, 16, 3)
    write(path, name="g/images", shards=whole, compressors=[Crc32cCodec()])
    shard = path / "g" / "images" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[content.index(IMAGES[7].tobytes()) + 100] ^= 1
    shard.write_bytes(content)
    source = open_source(path)
    np.testing.assert_array_equal(source[6], IMAGES[6])
    with pytest.raises(DataError, match=r"sample 7, g/images in set") as caught:
        source.__getitems__(range(5, 9))
    assert str(path.parent) not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"zarr_format": 3}', '{"zarr_format": 9}', "[" * 10_000]
)
def test_damaged_metadata_is_an_error(path: Path, text: str) -> None:
    write(path)
    (path / "zarr.json").write_text(text)
    with pytest.raises(DataError, match=r"set\.zarr"):
        open_source(path)


def test_flipped_bits_give_an_array_or_an_error(path: Path) -> None:
    write(path, IMAGES[:4], chunks=(1, 16, 16, 3), shards=(4, 16, 16, 3))
    shutil.make_archive(str(path), "zip", path)
    flip_bits(path, 25, program=FUZZ)


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from domainjepa.data.opening import open_source
from domainjepa.errors import UserError

store = Path(sys.argv[1])
for file in (store / "zarr.json", store / "c/0/0/0/0", store.with_suffix(".zarr.zip")):
    good = file.read_bytes()
    messages = 0
    for seed in range(int(sys.argv[2])):
        draw = np.random.default_rng(seed)
        content = bytearray(good)
        for place in draw.integers(len(content), size=draw.integers(1, 4)):
            content[place] ^= 1 << draw.integers(8)
        file.write_bytes(content)
        try:
            source = open_source(file if file.suffix == ".zip" else store)
            source.__getitems__(range(len(source)))
        except UserError:
            messages += 1
    file.write_bytes(good)
    assert messages > 0, file.name
"""


@pytest.mark.parametrize("codec", [numcodecs.Zstd(1), numcodecs.Blosc()])
@pytest.mark.parametrize("role", ["images", "labels"])
def test_chunks_that_unpack_without_end_are_refused(path: Path, codec: Any, role: str) -> None:
    write(path, IMAGES, "images", **V2, compressors=codec)
    write(path, np.arange(12) % 2, "labels", **V2, compressors=codec, chunks=(12,))
    chunk = path / role / ("3.0.0.0" if role == "images" else "0")
    chunk.write_bytes(codec.encode(np.zeros(30_000_000, "u1")))
    with pytest.raises(DataError, match=r"would become more than"):
        open_source(path)[3]


def test_a_store_that_shrinks_under_a_source_is_an_error(path: Path) -> None:
    source = open_source(write(path))
    shutil.rmtree(path)
    write(path, IMAGES[:3])
    with pytest.raises(DataError, match="changed since"):
        source[2]
