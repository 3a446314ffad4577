"""Patch features in a file: those of the encoder, with what is needed to use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from domainjepa import FrozenEncoder, open_source
from domainjepa.embed_patches import embed_patches, parse_layers
from domainjepa.errors import UserError


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays by name, and what is said of them."""
    if path.suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(path, mode="r")
        return {name: array[...] for name, array in group.arrays()}, dict(group.attrs["domainjepa"])
    with h5py.File(path) as file:
        about = json.loads(file.attrs["domainjepa"])
        return {n: one[...] for n, one in file.items() if isinstance(one, h5py.Dataset)}, about


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_what_is_written_is_what_the_encoder_gives(
    run: Path, blobs: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"patches{suffix}"
    told = embed_patches(run, open_source(blobs), out, layers=(-2, -1), scale=2.0)
    found, about = read(out)
    source = open_source(blobs)
    images = np.stack([source[row] for row in range(len(source))])
    encoder = FrozenEncoder(run, output="patches", layers=(-2, -1), scale=2.0)
    expected = encoder.transform(images)
    np.testing.assert_allclose(found["patches"], expected, rtol=1e-4, atol=1e-5)
    assert told == f"patches of 64 samples, 4x4 positions of {expected.shape[-1]} features"
    np.testing.assert_array_equal(found["labels"], source.labels)
    assert (found["sides"] == 32).all()
    assert (found["pitch"] == 32 / 4).all()
    assert about["features_sha256"] == encoder.sha256
    assert about["encoder_sha256"] == encoder.card.sha256
    assert (about["layers"], about["scale"]) == ([-2, -1], 2.0)
    assert not list(tmp_path.glob(".*"))


def test_samples_of_several_sizes_are_an_array_each(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 255, (*sides, 3), np.uint8) for sides in ((32, 64), (64, 32))]
    for row, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{row}.png")
    told = embed_patches(run, open_source(folder), tmp_path / "patches.h5")
    assert "several sizes" in told
    encoder = FrozenEncoder(run)
    with h5py.File(tmp_path / "patches.h5") as file:
        for row, one in enumerate(encoder.patches(pictures)):
            np.testing.assert_allclose(
                file[f"patches/{row}"][...], one.features, rtol=1e-4, atol=1e-5
            )
        assert file["sides"][...].tolist() == [[32, 64], [64, 32]]


def test_what_is_interrupted_leaves_nothing(
    run: Path, blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FrozenEncoder, images: object) -> Any:
        yield next(iter(original(self, images)))
        raise KeyboardInterrupt

    original = FrozenEncoder.patches
    monkeypatch.setattr(FrozenEncoder, "patches", broken)
    for suffix in (".h5", ".zarr"):
        with pytest.raises(KeyboardInterrupt):
            embed_patches(run, open_source(blobs), tmp_path / f"patches{suffix}")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(run: Path, blobs: Path, tmp_path: Path) -> None:
    source = open_source(blobs)
    with pytest.raises(UserError, match=r"\.h5 or \.zarr"):
        embed_patches(run, source, tmp_path / "patches.npz")
    with pytest.raises(UserError, match="pretrained here"):
        embed_patches("timm:resnet18", source, tmp_path / "patches.h5")
    (tmp_path / "there.zarr").mkdir()
    with pytest.raises(UserError, match="exists"):
        embed_patches(run, source, tmp_path / "there.zarr")


def test_layers_as_they_are_typed() -> None:
    assert parse_layers("last") == "last"
    assert parse_layers("-1") == -1
    assert parse_layers("-4,-3") == [-4, -3]
    with pytest.raises(UserError, match="--layers 'first'"):
        parse_layers("first")
