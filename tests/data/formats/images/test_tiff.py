from __future__ import annotations

import pickle
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError, MissingExtra
from tests.data.fuzz import flip_bits

DRAW = np.random.default_rng(0)


def noise(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return DRAW.integers(0, 2 ** min(8 * np.dtype(dtype).itemsize, 16), shape).astype(dtype)


KINDS: list[tuple[str, np.ndarray, dict[str, Any]]] = [
    ("grey 16", noise(20, 30), {}),
    ("grey 16 big-endian", noise(20, 30), {"byteorder": ">"}),
    ("grey 16 tiled LZW", noise(50, 70), {"tile": (32, 32), "compression": "lzw"}),
    ("grey 16 deflated, predicted", noise(20, 30), {"compression": "deflate", "predictor": True}),
    ("float", DRAW.normal(size=(20, 30)).astype("f4"), {}),
    ("float big-endian", DRAW.normal(size=(20, 30)).astype("f4"), {"byteorder": ">"}),
    ("double", DRAW.normal(size=(20, 30)), {}),
    ("half", DRAW.normal(size=(20, 30)).astype("f2"), {}),
    ("signed", noise(20, 30, dtype="int16"), {}),
    ("32 bits", noise(20, 30, dtype="uint32") + 2**31, {}),
    ("colour 16", noise(20, 30, 3), {"photometric": "rgb"}),
    ("colour 16 BigTIFF", noise(20, 30, 3), {"bigtiff": True, "byteorder": ">"}),
    ("colour 8 tiled", noise(50, 70, 3, dtype="uint8"), {"tile": (16, 16), "compression": "zstd"}),
    ("JPEG 2000", noise(32, 32, 3, dtype="uint8"), {"compression": "jpeg2000"}),
]


@pytest.mark.parametrize(
    ("pixels", "how"), [kind[1:] for kind in KINDS], ids=[kind[0] for kind in KINDS]
)
def test_values_and_dtypes_are_the_files(
    tmp_path: Path, pixels: np.ndarray, how: dict[str, Any]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, **how)
    expected = pixels.reshape(*pixels.shape[:2], -1)
    for source in (open_source(tmp_path), open_source(tmp_path / "a.tif")):
        assert (source.shape, source.dtype) == (expected.shape, pixels.dtype)
        assert source[0].dtype.isnative
        np.testing.assert_array_equal(source[0], expected)


def test_planes_are_bands(tmp_path: Path) -> None:
    bands = noise(5, 20, 30)
    tifffile.imwrite(tmp_path / "a.tif", bands, planarconfig="separate", photometric="minisblack")
    source = open_source(tmp_path)
    assert source.shape == (20, 30, 5)
    np.testing.assert_array_equal(source[0], np.moveaxis(bands, 0, -1))


def test_a_fourth_band_is_kept_and_transparency_is_not(tmp_path: Path) -> None:
    four = noise(20, 30, 4, dtype="uint8")
    for extra, channels in (("unspecified", 4), ("unassalpha", 3)):
        tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=[extra])
        np.testing.assert_array_equal(open_source(tmp_path)[0], four[..., :channels])
    deep = noise(20, 30, 4)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(open_source(tmp_path)[0], deep[..., :3])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16"])
def test_white_is_zero_is_turned(tmp_path: Path, dtype: str) -> None:
    pixels = noise(20, 32, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    expected = np.where(pixels, 0, 255) if dtype == "bool" else np.iinfo(dtype).max - pixels
    np.testing.assert_array_equal(open_source(tmp_path)[0][..., 0], expected)


@pytest.mark.parametrize(
    "how",
    [{}, {"metadata": None}, {"compression": "deflate"}, {"byteorder": ">", "bigtiff": True}],
    ids=["mapped", "bare", "deflated", "big-endian"],
)
def test_pages_of_a_file_are_samples(tmp_path: Path, how: dict[str, Any]) -> None:
    pages = noise(5, 20, 30)
    tifffile.imwrite(tmp_path / "stack.tif", pages, **how)
    source = open_source(tmp_path / "stack.tif")
    assert (source.name, len(source), source.shape) == ("stack", 5, (20, 30, 1))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    for index, image in zip([3, 0], copy.__getitems__([3, 0]), strict=True):
        np.testing.assert_array_equal(image[..., 0], pages[index])
    np.testing.assert_array_equal(source.region(2, (3, 4), (10, 20)), pages[2, 3:10, 4:20, None])
    source[0][:] = 0  # a copy, not the file
    np.testing.assert_array_equal(source[0][..., 0], pages[0])
    with pytest.raises(IndexError):
        source.__getitems__([5])


def test_pages_that_pillow_wrote(tmp_path: Path) -> None:
    pages = noise(4, 20, 30, 3, dtype="uint8")
    first, *rest = map(Image.fromarray, pages)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest, compression="tiff_lzw")
    np.testing.assert_array_equal(np.stack(list(open_source(tmp_path / "a.tif"))), pages)


@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_named_axes_have_their_meaning(tmp_path: Path, kind: str) -> None:
    stack = noise(2, 4, 3, 20, 30)
    path = tmp_path / "a.ome.tif" if kind == "ome" else tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=kind == "imagej", metadata={"axes": "TZCYX"})
    source = open_source(path)
    assert (len(source), source.shape) == (8, (20, 30, 3))
    assert "TZ counts samples, C makes the channels" in source.decisions[0]
    np.testing.assert_array_equal(source[5], np.moveaxis(stack[1, 1], 0, -1))
    volumes = open_source(path, dimensions=3)
    assert (len(volumes), volumes.shape) == (2, (4, 20, 30, 3))
    np.testing.assert_array_equal(volumes[1], np.moveaxis(stack[1], 1, -1))
    np.testing.assert_array_equal(
        volumes.region(1, (1, 2, 3), (3, 12, 13)), np.moveaxis(stack[1], 1, -1)[1:3, 2:12, 3:13]
    )


def test_pages_become_bands_when_told(tmp_path: Path) -> None:
    bands = noise(2, 5, 20, 30)
    for name, pages in zip("ab", bands, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", pages, compression="deflate")
    with pytest.raises(DataError, match=r"several pages.*data\.axis=bands"):
        open_source(tmp_path)
    source = open_source(tmp_path, axis="bands")
    assert source.shape == (20, 30, 5)
    np.testing.assert_array_equal(np.stack(list(source)), np.moveaxis(bands, 1, -1))
    volumes = open_source(tmp_path, dimensions=3)
    assert volumes.volumetric
    np.testing.assert_array_equal(np.stack(list(volumes)), bands[..., None])
    with pytest.raises(DataError, match=r"data\.axis=axial"):
        open_source(tmp_path, axis="axial")


def test_several_images_of_a_file_are_a_choice(tmp_path: Path) -> None:
    first, second = noise(3, 20, 30), noise(12, 14)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for pages in (first, second):
            file.write(pages, photometric="minisblack")
    with pytest.raises(DataError, match=r"0 \(QYX 3x20x30 uint16\), 1 .*data\.images=0"):
        open_source(tmp_path / "a.tif")
    source = open_source(tmp_path / "a.tif", images="1")
    np.testing.assert_array_equal(source[0][..., 0], second)
    assert source.fingerprint() != open_source(tmp_path / "a.tif", images="0").fingerprint()


def test_no_other_file_is_read(tmp_path: Path) -> None:
    stack = noise(2, 20, 30)
    root = tmp_path / "root"
    root.mkdir()
    tifffile.imwrite(tmp_path / "secret.tif", noise(20, 30))
    tifffile.imwrite(root / "a.ome.tif", stack, metadata={"axes": "TYX"})
    content = (root / "a.ome.tif").read_bytes()
    start, end = content.index(b"<?xml"), content.index(b"</OME>") + 6
    told = content[start:end].decode()
    link = '<TiffData FirstT="1"><UUID FileName="../secret.tif">urn:uuid:1</UUID></TiffData>'
    other = told.replace("<TiffData ", link + "<TiffData ", 1)
    tifffile.imwrite(root / "a.ome.tif", stack, description=other.encode(), metadata=None)
    for source in (open_source(root / "a.ome.tif"), open_source(root, axis="bands")):
        np.testing.assert_array_equal(
            np.concatenate([np.moveaxis(image, -1, 0) for image in source]), stack
        )


def claim(path: Path, tags: dict[int, int]) -> None:
    """Overwrites values of the first page's tags (little-endian, 32 bits or fewer)."""
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for code, value in tags.items():
            tag = file.pages[0].tags[code]  # type: ignore[union-attr]
            struct.pack_into("<HI", content, tag.offset + 2, 4, 1)
            struct.pack_into("<I", content, tag.offset + 8, value)
    path.write_bytes(content)


@pytest.mark.parametrize("tags", [{256: 200_000, 257: 200_000}, {322: 2**20, 323: 2**20}])
@pytest.mark.parametrize("single", [True, False])
def test_bombs_are_refused_by_their_headers(
    tmp_path: Path, tags: dict[int, int], single: bool
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(32, 32, 3), tile=(16, 16), compression="deflate")
    claim(path, tags)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"max_sample_bytes|bomb"):
        _ = open_source(path if single else tmp_path)[0]
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_truncated_files_are_errors(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(3, 20, 30, 3), compression=compression)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(DataError, match=r"a\.tif.* cannot be read"):
        open_source(path).__getitems__([0, 1, 2])


def test_palettes_of_deep_files_are_refused(tmp_path: Path) -> None:
    table = noise(3, 256)
    tifffile.imwrite(
        tmp_path / "a.tif", noise(3, 20, 30, dtype="uint8"), photometric="palette", colormap=table
    )
    with pytest.raises(DataError, match=r"PALETTE.*save it as grey or RGB"):
        open_source(tmp_path / "a.tif")


@pytest.mark.parametrize("how", [{"imagej": True}, {"compression": "lzw"}])
def test_flipped_bits_give_an_array_or_an_error(tmp_path: Path, how: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(3, 12, 14, 3, dtype="uint8"), **how)
    flip_bits(tmp_path / "a.tif", 80)


@pytest.mark.parametrize(
    "how",
    [
        {"tile": (32, 32), "compression": "lzw"},
        {"tile": (16, 48), "compression": "deflate", "predictor": True, "byteorder": ">"},
        {"rowsperstrip": 7, "compression": "zstd"},
        {"tile": (32, 32), "planarconfig": "separate", "compression": "lzw"},
    ],
    ids=["tiles", "wide tiles", "strips", "planes"],
)
def test_parts_are_read_by_tiles_and_strips(tmp_path: Path, how: dict[str, Any]) -> None:
    slide = noise(130, 170, 3)
    stored = np.moveaxis(slide, -1, 0) if "planarconfig" in how else slide
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **how)
    limit = 40_000  # bytes: less than a quarter of it
    with pytest.raises(DataError, match="max_sample_bytes"):
        open_source(tmp_path, max_sample_bytes=limit)
    for path in (tmp_path / "a.tif", tmp_path):
        tiles = open_source(path, tile=64, max_sample_bytes=limit)
        assert len(tiles) == 9
        corners = [(y, x) for y in (0, 64, 66) for x in (0, 64, 106)]
        for tile, (y, x) in zip(tiles, corners, strict=True):
            np.testing.assert_array_equal(tile, slide[y : y + 64, x : x + 64])


def test_parts_of_a_jpeg_slide_are_those_of_the_whole(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 128 * 128 * 3).reshape(128, 128, 3).astype("u1")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, smooth, tile=(32, 32), compression="jpeg", photometric="rgb")
    whole = tifffile.imread(path)
    tiles = open_source(path, tile=48)
    np.testing.assert_array_equal(tiles[4], whole[48:96, 48:96])


def test_of_a_whole_slide_the_pyramid_is_taken(tmp_path: Path) -> None:
    slide = noise(96, 96, 3, dtype="uint8")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(slide, subifds=1, tile=(32, 32), photometric="rgb")
        file.write(slide[::2, ::2], subfiletype=1, tile=(32, 32), photometric="rgb")
        file.write(slide[:20, :30], photometric="rgb")  # the label of the glass
    source = open_source(tmp_path / "a.tif")
    assert source.shape == (96, 96, 3)
    np.testing.assert_array_equal(source[0], slide)


def test_files_that_are_cut_into_tiles_must_be_of_one_kind(tmp_path: Path) -> None:
    for name, pixels in (
        ("a", noise(64, 64, 3, dtype="uint8")),
        ("b", noise(64, 64, dtype="uint8")),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    with pytest.raises(DataError, match=r"b\.tif.*it has 1 channels, the first file has 3"):
        open_source(tmp_path, tile=32).__getitems__(range(8))


def test_an_image_among_volumes_is_an_error(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(5, 20, 30))
    tifffile.imwrite(tmp_path / "b.tif", noise(20, 30))
    source = open_source(tmp_path, dimensions=3)
    with pytest.raises(DataError, match=r"sample 1, b\.tif.*it is an image, and the first file a"):
        source[1]


def test_plain_files_need_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, deep = noise(20, 30, 3, dtype="uint8"), noise(20, 30, 3)
    for name, pixels in (("plain", plain), ("deep", deep)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", pixels, photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    np.testing.assert_array_equal(open_source(tmp_path / "plain")[0], plain)
    for path in (tmp_path / "deep", tmp_path / "deep" / "a.tif"):
        with pytest.raises(MissingExtra, match=r"needs tifffile: pip install 'domainjepa\[tiff\]'"):
            open_source(path)


@pytest.mark.parametrize("nodata", ["-9999", "-9999.0 ", "nan", "no number"])
def test_pixels_that_the_file_calls_no_data_are_missing(tmp_path: Path, nodata: str) -> None:
    pixels = np.arange(-8.0, 8.0, dtype=np.float32).reshape(4, 4)
    pixels[1, 1:3] = -9999
    write_with_nodata(tmp_path / "a.tif", pixels, nodata)
    expected = pixels.copy()
    if nodata.startswith("-9999"):
        expected[1, 1:3] = np.nan
    for data in (tmp_path, tmp_path / "a.tif"):
        source = open_source(data)
        np.testing.assert_array_equal(source[0][..., 0], expected)
        told = "the value -9999 is missing" in " ".join(source.decisions)
        assert told == nodata.startswith("-9999")


@pytest.mark.parametrize("how", [{}, {"tile": (16, 16), "compression": "deflate"}])
def test_integers_with_no_data_become_floats(tmp_path: Path, how: dict[str, Any]) -> None:
    pixels = noise(20, 30) | 1
    pixels[:5] = 0
    write_with_nodata(tmp_path / "a.tif", pixels, "0", **how)
    source = open_source(tmp_path)
    assert source.dtype == np.float32
    image = source[0][..., 0]
    assert np.isnan(image[:5]).all()
    np.testing.assert_array_equal(image[5:], pixels[5:])
    tiles = open_source(tmp_path, tile=16)
    np.testing.assert_array_equal(tiles[0][5:, :, 0], pixels[5:16, :16])
    assert np.isnan(tiles[0][:5]).all()


def test_no_data_of_ones_own_scale_is_compared_as_it_is_stored(tmp_path: Path) -> None:
    lowest = np.finfo(np.float32).min  # what many programs write, in 17 digits
    pixels = np.array([[lowest, 1.0], [2.0, 3.0]], np.float32)
    write_with_nodata(tmp_path / "a.tif", pixels, "-3.4028234663852886e+38")
    np.testing.assert_array_equal(open_source(tmp_path)[0][..., 0], [[np.nan, 1], [2, 3]])


def write_with_nodata(path: Path, pixels: np.ndarray, nodata: str, **how: Any) -> None:
    tifffile.imwrite(path, pixels, extratags=[(42113, "s", 0, nodata, True)], **how)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("how", [{}, {"tile": (16, 16)}, {"compression": "deflate"}])
def test_tiff_of_many_bands_is_turned_as_pillow_turns_one(
    tmp_path: Path, orientation: int, how: dict[str, Any]
) -> None:
    pixels = noise(40, 56, dtype="uint8")
    extra = [(274, "H", 1, orientation, True)]
    deep = (pixels.astype(np.uint16) << 8)[..., None].repeat(3, axis=-1)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", extratags=extra, **how)
    plain = tmp_path / "plain.png"
    Image.fromarray(pixels).save(plain)
    stored = Image.open(plain)
    stored.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored))
    source = open_source(tmp_path, loader="images", images="deep.tif")
    assert source.shape == (*upright.shape, 3)
    np.testing.assert_array_equal(source[0][..., 1] >> 8, upright)
    height, width = upright.shape
    tiles = open_source(tmp_path, loader="images", images="deep.tif", tile=16)
    whole = upright[: height // 16 * 16, : width // 16 * 16]
    blocks = whole.reshape(height // 16, 16, -1, 16).swapaxes(1, 2).reshape(-1, 16, 16)
    stacked = {block.tobytes() for block in blocks}
    assert stacked <= {(tile[..., 0] >> 8).astype(np.uint8).tobytes() for tile in tiles}
