from __future__ import annotations

import pickle
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domainjepa.data.formats.parquet import parquet_file
from domainjepa.data.formats.parquet.pages import pages
from domainjepa.data.opening import open_source
from domainjepa.data.source import Source
from domainjepa.errors import DataError
from tests.data.formats.parquet.picture_tables import (
    CLASSES,
    PICTURE,
    PIXELS,
    encoded,
    rows,
    save_arrow,
)
from tests.data.fuzz import flip_bits


def shards(folder: Path) -> Path:
    """24 rows in three shards of train and one of test, five rows a group."""
    for part, (start, stop) in {
        "train-00000-of-00003": (0, 7),
        "train-00001-of-00003": (7, 14),
        "train-00002-of-00003": (14, 18),
        "test-00000-of-00001": (18, 24),
    }.items():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        file = folder / "data" / f"{part}.parquet"
        pq.write_table(rows(start, stop), file, row_group_size=5)
    (folder / "README.md").write_text("# a set")
    return folder


def check(source: Source, order: list[int]) -> None:
    """The pixels of `order`, asked for in an order of no shard, and twice."""
    asked = [len(order) - 1, 0, 3, 3, *range(len(order))]
    for place, image in zip(asked, source.__getitems__(asked), strict=True):
        np.testing.assert_array_equal(image, PIXELS[order[place]])


def test_a_folder_of_shards_is_one_set(tmp_path: Path) -> None:
    source = open_source(shards(tmp_path / "birds"))
    order = [*range(18, 24), *range(18)]  # files by name, test before train
    assert (source.name, source.loader, len(source)) == ("birds", "parquet", 24)
    assert (source.shape, source.dtype) == ((16, 20, 3), np.dtype("uint8"))
    check(source, order)
    assert source.labels is not None
    assert source.labels.tolist() == [(row + 1) % 4 - 1 for row in order]
    assert source.classes == tuple(CLASSES)
    assert source.split is not None
    assert source.split.tolist() == ["test"] * 6 + ["train"] * 18
    np.testing.assert_array_equal(source.column("mass"), np.array(order) / 2)
    assert source.sides(3) == (16, 20)


def test_one_file_of_bytes_in_many_forms(tmp_path: Path) -> None:
    deep = np.arange(16 * 20, dtype=np.uint16).reshape(16, 20) * 200
    file = tmp_path / "deep.parquet"
    pictures = [encoded(deep), encoded(deep + 1, "TIFF")]
    pq.write_table(pa.table({"id": ["a", "b"], "scan": pictures}), file)
    source = open_source(file)
    assert (source.shape, source.dtype) == ((16, 20, 1), np.dtype("uint16"))
    for plus, image in enumerate(source):
        np.testing.assert_array_equal(image[..., 0], deep + plus)
    assert source.ids is not None
    assert source.ids.tolist() == ["a", "b"]


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow_as_save_to_disk_writes_it(tmp_path: Path, form: str) -> None:
    save_arrow(tmp_path / "set/train/data-00000-of-00002.arrow", rows(0, 9), form=form)
    save_arrow(tmp_path / "set/train/data-00001-of-00002.arrow", rows(9, 12), form=form)
    save_arrow(tmp_path / "set/validation/data-00000-of-00001.arrow", rows(12, 24), form=form)
    save_arrow(tmp_path / "set/train/cache-1f2e.arrow", rows(0, 3), form=form)
    (tmp_path / "set/dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    source = open_source(tmp_path / "set")
    check(source, list(range(24)))
    assert source.split is not None
    assert source.split.tolist() == ["train"] * 12 + ["val"] * 12
    assert source.classes == tuple(CLASSES)
    np.testing.assert_array_equal(source.column("mass"), np.arange(24) / 2)


def test_a_label_of_another_name_is_found_by_its_feature(tmp_path: Path) -> None:
    table = rows(0, 12)
    text = table.schema.metadata[b"huggingface"].replace(b'"label"', b'"bird"')
    table = table.rename_columns(["image", "bird", "mass"])
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.classes == tuple(CLASSES)
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, -1] * 3


def test_several_columns_of_pictures_are_a_choice(tmp_path: Path) -> None:
    picture, other = encoded(PIXELS[0]), encoded(PIXELS[1])
    pq.write_table(pa.table({"left": [picture] * 2, "right": [other] * 2}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"left, right.*--set data\.images=left"):
        open_source(tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", images="right")
    np.testing.assert_array_equal(source[1], PIXELS[1])


def test_a_row_without_a_picture_is_told_and_the_others_are_there(tmp_path: Path) -> None:
    pictures = [{"bytes": encoded(PIXELS[0]), "path": None}] * 200
    pictures[100] = {"bytes": None, "path": "/x/b.png"}
    pq.write_table(pa.table([pa.array(pictures, PICTURE)], ["image"]), tmp_path / "a.parquet")
    good, bad = open_source(tmp_path / "a.parquet").try_each([99, 100])
    np.testing.assert_array_equal(good, PIXELS[0])
    assert "sample 100, row 100 of a.parquet, cannot be read: the row holds no picture" in str(bad)


def test_shards_of_other_columns_are_refused(tmp_path: Path) -> None:
    shards(tmp_path)
    pq.write_table(rows(0, 3).drop_columns(["mass"]), tmp_path / "data" / "other.parquet")
    with pytest.raises(DataError, match=r"has other columns than data/other\.parquet"):
        open_source(tmp_path)


def _read(source: Source) -> list[np.ndarray]:
    return source.__getitems__([20, 3])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it(tmp_path: Path, method: str) -> None:
    source = open_source(shards(tmp_path))
    source[0]  # open in this process
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        images = pool.submit(_read, source).result()
    np.testing.assert_array_equal(images[0], PIXELS[14])
    np.testing.assert_array_equal(images[1], PIXELS[21])
    assert len(pickle.dumps(source)) < 20_000


def test_pages_are_those_that_the_footer_tells(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(rows(0, 24), file, data_page_size=999, write_batch_size=4, use_dictionary=False)
    chunk = pq.ParquetFile(file).metadata.row_group(0).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    found = list(pages(file, start, chunk.total_compressed_size))
    headers = chunk.total_uncompressed_size - sum(page.unpacked for page in found)
    packed = chunk.total_compressed_size - sum(page.packed for page in found)
    assert len(found) > 2
    assert headers == packed > 0  # what is left on either side are the headers themselves


def test_groups_too_large_to_keep_are_passed_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "MOST_KEPT", 1_000)
    monkeypatch.setattr(parquet_file, "BATCH_BYTES", 3_000)
    pq.write_table(rows(0, 24), tmp_path / "a.parquet")
    check(open_source(tmp_path / "a.parquet"), list(range(24)))


def test_bombs_are_refused_by_the_headers_of_their_pages(tmp_path: Path) -> None:
    file = tmp_path / "bomb.parquet"
    zeros = [encoded(PIXELS[0]) + bytes(8_000_000)] * 12
    pq.write_table(pa.table({"x": zeros}), file, compression="zstd", use_dictionary=False)
    assert file.stat().st_size < 2**17
    tracemalloc.start()
    before, begin = pa.total_allocated_bytes(), time.process_time()
    with pytest.raises(DataError, match="made to exhaust memory"):
        open_source(file)
    assert time.process_time() - begin < 1
    assert tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before < 2**24
    tracemalloc.stop()


def test_a_dictionary_cannot_multiply_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "MOST_KEPT", 2**20)
    monkeypatch.setattr(parquet_file, "BATCH_BYTES", 2**20)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    pq.write_table(pa.table({"image": [encoded(noise)] * 500}), tmp_path / "a.parquet")
    before = pa.total_allocated_bytes()
    source = open_source(tmp_path / "a.parquet")
    np.testing.assert_array_equal(source[499], noise)
    assert pa.total_allocated_bytes() - before < 2**22  # of 135 MB


def test_compressed_arrow_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = save_arrow(tmp_path / "a.arrow", rows(0, 9), compression="zstd")
    with pytest.raises(DataError, match="compressed inside: write it again without"):
        open_source(file)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_bit_flips_give_pictures_or_messages(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(rows(0, 6), file)
    else:
        save_arrow(file, rows(0, 6))
    flip_bits(file, 40)
