from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.fuzz import flip_bits

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 20, 30, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_an_axis_is_of_pages_and_a_png_has_none(tmp_path: Path) -> None:
    save(tmp_path / "0.png", PIXELS[0])
    with pytest.raises(DataError, match=r"data\.axis=bands .* PNG: leave data\.axis out"):
        open_source(tmp_path, axis="bands")


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    for index, name in enumerate(["b/0.png", "b/1.png", "a/x/2.tif", "a/3.png", "c/4.PNG"]):
        save(tmp_path / name, PIXELS[index])
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / ".hidden").mkdir()
    save(tmp_path / ".hidden" / "9.png", PIXELS[0])
    source = open_source(tmp_path)
    assert (source.name, source.loader, len(source)) == (tmp_path.name, "images", 5)
    assert (source.shape, source.dtype) == ((20, 30, 3), np.dtype("uint8"))
    assert source.classes == ("a", "b", "c")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1, 1, 2]
    for image, index in zip(source, [3, 2, 0, 1, 4], strict=True):
        np.testing.assert_array_equal(image, PIXELS[index])


def test_top_folders_of_parts_are_a_split(tmp_path: Path) -> None:
    for name in ["train/a/0.png", "train/b/1.png", "valid/a/2.png", "Test/b/3.png"]:
        save(tmp_path / name, PIXELS[0])
    source = open_source(tmp_path)
    assert source.split is not None
    assert source.labels is not None
    assert source.split.tolist() == ["test", "train", "train", "val"]
    assert source.labels.tolist() == [1, 0, 1, 0]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / f"{index}.png", PIXELS[index])
    source = open_source(tmp_path)
    assert source.labels is None
    assert source.split is None


def test_jpeg_is_near(tmp_path: Path) -> None:
    smooth = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None], 32, axis=0)
    save(tmp_path / "a.jpg", smooth)
    image = open_source(tmp_path)[0]
    assert image.shape == (32, 32, 1)
    assert np.abs(image[..., 0].astype(int) - smooth).max() <= 4


def test_sixteen_bits_of_grey_stay(tmp_path: Path) -> None:
    deep = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 100
    save(tmp_path / "a.png", deep)
    save(tmp_path / "b.tif", deep)
    source = open_source(tmp_path)
    assert source.dtype == np.dtype("uint16")
    for image in source:
        np.testing.assert_array_equal(image[..., 0], deep)


def test_sixteen_bits_of_colour_warn(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), PIXELS[0].astype(np.uint16) * 256)
    source = open_source(tmp_path)
    assert any("16-bit colour" in warning for warning in source.warnings)
    np.testing.assert_array_equal(source[0], PIXELS[0][..., ::-1])  # OpenCV writes BGR


@pytest.mark.parametrize("grey_first", [True, False])
def test_grey_and_colour_become_what_the_first_is(tmp_path: Path, grey_first: bool) -> None:
    grey = PIXELS[0][..., 0]
    save(tmp_path / "a.png", grey if grey_first else PIXELS[1])
    save(tmp_path / "b.png", PIXELS[1] if grey_first else grey)
    source = open_source(tmp_path)
    channels = 1 if grey_first else 3
    assert {image.shape for image in source} == {(20, 30, channels)}
    assert any("mixed" in line for line in source.decisions)
    if not grey_first:
        np.testing.assert_array_equal(source[1], np.repeat(grey[..., None], 3, axis=2))


def test_mixed_depths_are_an_error(tmp_path: Path) -> None:
    save(tmp_path / "a.png", PIXELS[0][..., 0])
    save(tmp_path / "b.png", PIXELS[0][..., 0].astype(np.uint16))
    with pytest.raises(DataError, match=r"sample 1, b\.png.*uint16, the first file is uint8"):
        open_source(tmp_path)[1]


def test_sizes_may_differ(tmp_path: Path) -> None:
    save(tmp_path / "a.png", PIXELS[0])
    save(tmp_path / "b.png", PIXELS[0][:10, :12])
    source = open_source(tmp_path)
    assert [image.shape for image in source] == [(20, 30, 3), (10, 12, 3)]
    assert source.shape == (20, 30, 3)
    assert any("sizes differ" in line for line in source.decisions)


def test_transparency_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.dstack([PIXELS[0], PIXELS[1][..., 0]]))
    source = open_source(tmp_path)
    np.testing.assert_array_equal(source[0], PIXELS[0])
    assert any("transparency" in line for line in source.decisions)


@pytest.mark.parametrize("cut", [1, 2, 300])
def test_truncated_jpegs_are_errors(tmp_path: Path, cut: int) -> None:
    save(tmp_path / "a.jpg", PIXELS[0])
    path = save(tmp_path / "b.jpg", PIXELS[0])
    path.write_bytes(path.read_bytes()[:-cut])
    source = open_source(tmp_path)
    assert source[0].shape == (20, 30, 3)
    with pytest.raises(DataError, match=r"sample 1, b\.jpg, cannot be read"):
        source[1]


def test_several_pages_are_an_error(tmp_path: Path) -> None:
    pages = [Image.fromarray(page) for page in PIXELS[:3]]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="several pages"):
        open_source(tmp_path)[0]


@pytest.mark.parametrize(
    ("side", "says"), [(5_000, r"data\.max_sample_bytes=25000000"), (100_000, "bomb")]
)
def test_bombs_are_refused_by_their_headers(tmp_path: Path, side: int, says: str) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    body = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    body += chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    tracemalloc.start()
    with pytest.raises(DataError, match=rf"a\.png, cannot be read: .*{says}"):
        _ = open_source(tmp_path, max_sample_bytes=10**7)[0]
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_something_else_named_like_an_image_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png", format="PPM")
    with pytest.raises(DataError, match="no JPEG, PNG, TIFF, BMP"):
        open_source(tmp_path)


def test_links_are_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    save(outside / "secret.png", PIXELS[7])
    save(root / "a.png", PIXELS[0])
    (root / "file.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    (root / "inside.png").symlink_to(root / "a.png")
    source = open_source(root)
    assert len(source) == 1
    assert any("2 symbolic links" in warning for warning in source.warnings)
    followed = open_source(root, follow_links=True)
    assert len(followed) == 2
    for image in followed:
        np.testing.assert_array_equal(image, PIXELS[0])
    (root / "a.png").unlink()
    with pytest.raises(DataError, match="symbolic links are not followed"):
        open_source(root)


def test_one_picture_is_cut_into_tiles_when_told(tmp_path: Path) -> None:
    path = save(tmp_path / "mosaic.png", np.tile(PIXELS[0], (2, 2, 1)))
    with pytest.raises(DataError, match=r"mosaic\.png is one image.*data\.tile"):
        open_source(path)
    source = open_source(path, tile=20)
    assert (source.name, len(source), source.shape) == ("mosaic", 6, (20, 20, 3))
    np.testing.assert_array_equal(source[1], np.tile(PIXELS[0], (2, 2, 1))[:20, 20:40])


def test_names_of_arrays_make_no_sense_here(tmp_path: Path) -> None:
    save(tmp_path / "a.png", PIXELS[0])
    with pytest.raises(DataError, match=r"data\.labels"):
        open_source(tmp_path, labels="ans")


def test_the_fingerprint_changes_with_a_file(tmp_path: Path) -> None:
    for index in range(40):
        save(tmp_path / f"{index:02}.png", PIXELS[index % 8])
    before = open_source(tmp_path).fingerprint()
    assert open_source(tmp_path).fingerprint() == before
    save(tmp_path / "17.png", PIXELS[5])
    changed = open_source(tmp_path).fingerprint()
    (tmp_path / "03.png").rename(tmp_path / "033.png")
    assert len({before, changed, open_source(tmp_path).fingerprint()}) == 3


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_flipped_bits_give_an_array_or_an_error(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", PIXELS[0])
    if suffix == "png":  # bytes that no checksum covers, so that some flips go unnoticed
        path.write_bytes(path.read_bytes() + bytes(2000))
    flip_bits(path, 150, "folder")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_pictures_are_upright_as_exif_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    # Flat quarters: what JPEG blurs does not matter.
    quarters = np.repeat(np.repeat(np.array([[40, 90], [160, 230]], np.uint8), 32, 0), 48, 1)
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(quarters).convert("RGB").save(path, exif=exif)
    # Where the 0th row and the 0th column of what is stored lie (CIPA DC-008, 4.6.4).
    upright = {
        1: [[40, 90], [160, 230]],
        2: [[90, 40], [230, 160]],
        3: [[230, 160], [90, 40]],
        4: [[160, 230], [40, 90]],
        5: [[40, 160], [90, 230]],
        6: [[160, 40], [230, 90]],
        7: [[230, 90], [160, 40]],
        8: [[90, 230], [40, 160]],
    }[orientation]
    source = open_source(tmp_path)
    sides = (64, 96) if orientation < 5 else (96, 64)
    assert source.shape[:2] == sides == source[0].shape[:2] == source.sides(0)
    height, width = sides
    seen = source[0][height // 4 :: height // 2, width // 4 :: width // 2, 0]
    np.testing.assert_allclose(seen, upright, atol=4)


def test_damaged_exif_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff")
    assert open_source(tmp_path)[0].shape == (20, 30, 1)
