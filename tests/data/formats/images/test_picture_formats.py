"""BMP, WebP, GIF, JPEG 2000, and TIFF in compressions of its own, each without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PALETTE = np.zeros((20, 30, 3), np.uint8)
PALETTE[:, 10:, 0], PALETTE[5:, :, 1] = 250, 40


@pytest.mark.parametrize(
    ("name", "pixels", "how"),
    [
        ("a.bmp", PIXELS, {}),
        ("a.webp", PIXELS, {"lossless": True}),
        ("a.gif", PALETTE, {}),
        ("a.jp2", PIXELS, {"irreversible": False}),
        ("a.j2k", PIXELS, {"irreversible": False}),
        ("a.bmp", PIXELS[..., 0], {}),
        ("a.jp2", PIXELS[..., 0], {"irreversible": False}),
    ],
)
def test_without_loss(tmp_path: Path, name: str, pixels: np.ndarray, how: dict[str, Any]) -> None:
    Image.fromarray(pixels).save(tmp_path / name, **how)
    source = open_source(tmp_path)
    assert (source.shape[:2], source.dtype) == ((20, 30), np.dtype("uint8"))
    np.testing.assert_array_equal(source[0], pixels.reshape(20, 30, -1))


def test_the_first_bytes_decide(tmp_path: Path) -> None:
    for number, form in enumerate(("BMP", "WEBP", "GIF", "JPEG2000")):
        file = tmp_path / f"{number}.png"
        Image.fromarray(PALETTE).save(file, format=form)
        with pytest.raises(DataError, match=r"one image; give the folder"):
            open_source(file)
    (tmp_path / "0.png").write_bytes(b"BM is how this text begins, and it is no picture")
    with pytest.raises(DataError, match="does not begin like it"):
        open_source(tmp_path / "0.png")


def test_an_animation_is_no_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(PALETTE), Image.fromarray(PALETTE[::-1].copy())]
    for name in ("a.gif", "b.webp", "c.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=r"animation of 2 frames.*save each frame"):
            open_source(tmp_path, images=name)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_jpeg_2000_keeps_its_numbers(tmp_path: Path, bits: int, channels: int) -> None:
    shape = (24, 32, channels) if channels > 1 else (24, 32)
    deep = np.random.default_rng(1).integers(0, 2**bits, shape, dtype=np.uint16)
    for name, codec in (("a.jp2", "jp2"), ("b.j2k", "j2k")):
        code = imagecodecs.jpeg2k_encode(
            deep, level=0, codecformat=codec, bitspersample=bits, reversible=True
        )
        (tmp_path / name).write_bytes(code)
    source = open_source(tmp_path)
    assert (source.shape, source.dtype) == ((24, 32, channels), np.dtype("uint16"))
    for image in source:
        np.testing.assert_array_equal(image, deep.reshape(24, 32, -1))


def test_signed_jpeg_2000_is_refused(tmp_path: Path) -> None:
    signed = np.arange(-300, 300, dtype=np.int16).reshape(20, 30)
    (tmp_path / "a.jp2").write_bytes(
        imagecodecs.jpeg2k_encode(signed, level=0, codecformat="jp2", reversible=True)
    )
    with pytest.raises(DataError, match=r"sample 0, a\.jp2.*signed.*save it as TIFF"):
        open_source(tmp_path)


@pytest.mark.parametrize("compression", ["webp", "zstd", "lzw", "lzma", "jpeg2000"])
def test_tiff_is_read_in_any_compression(tmp_path: Path, compression: str) -> None:
    how = {"webp": {"lossless": True}, "jpeg2000": {"reversible": True, "level": 0}}
    tifffile.imwrite(
        tmp_path / "a.tif",
        PIXELS,
        compression=compression,
        photometric="rgb",
        compressionargs=how.get(compression),
    )
    np.testing.assert_array_equal(open_source(tmp_path)[0], PIXELS)
    np.testing.assert_array_equal(open_source(tmp_path / "a.tif")[0], PIXELS)
