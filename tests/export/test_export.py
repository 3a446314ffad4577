from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from rich.console import Console

from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig
from domainjepa.data.opening import open_source
from domainjepa.domains.intensity import Asinh, Identity, Intensity, Linear, OwnScale, Windows
from domainjepa.encoder.artefact import FILE_NAME, EncoderCard, save_encoder
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.samples import framed
from domainjepa.errors import UserError
from domainjepa.export import export
from domainjepa.export.own_scale_graph import own_scale_graph
from domainjepa.export.raw_images import CentreSquare
from domainjepa.pretraining.run import pretrain
from domainjepa.views.resampling import own_scale_of_array
from tests.conftest import tiny

IMAGES = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)


def test_a_pipeline_without_its_run(run: Path, tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    expected = FrozenEncoder(run).transform(IMAGES)
    out = tmp_path / "encoder.skops"
    usage = export(FrozenEncoder(run), "sklearn", out)
    types = skops.get_untrusted_types(file=out)
    assert set(types) == {"domainjepa.encoder.FrozenEncoder"}
    assert str(types) in usage
    pipeline = skops.load(out, trusted=types)
    np.testing.assert_array_equal(pipeline.transform(IMAGES), expected)
    assert str(run.parent).encode() not in out.read_bytes()


def test_a_pipeline_that_ends_in_a_classifier(run: Path, blobs: Path, tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    source = open_source(blobs)
    out = tmp_path / "classifier.skops"
    export(FrozenEncoder(run), "sklearn", out, source)
    pipeline = skops.load(out, trusted=skops.get_untrusted_types(file=out))
    predicted = pipeline.predict(source)
    assert predicted.shape == (len(source),)
    assert source.labels is not None
    train = source.rows("train")
    assert (predicted == source.labels)[train].mean() > 0.6


def enlarged(images: np.ndarray, *sides: int) -> np.ndarray:
    """Other sizes, cut and repeated: no interpolation of ours."""
    tiled = np.tile(
        images, (1, *(-(-s // n) for s, n in zip(sides, images.shape[1:], strict=False)), 1)
    )
    return tiled[(slice(None), *map(slice, sides))]


def through(folder: Path, name: str, images: np.ndarray) -> np.ndarray:
    """(N, *sides, C) through the graphs, as the page for programs says."""
    onnxruntime = pytest.importorskip("onnxruntime")
    page = json.loads((folder / f"{name}.json").read_text())
    fed = np.ascontiguousarray(np.moveaxis(images, -1, 1).astype(page["input"]["dtype"]))
    for graph in page["graphs"]:
        session = onnxruntime.InferenceSession(folder / graph)
        (fed,) = session.run(None, {session.get_inputs()[0].name: fed})
    return fed


@pytest.fixture(scope="module")
def graph(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("graph")
    export(FrozenEncoder(run), "onnx", folder / "encoder.onnx")
    return folder


def test_an_onnx_graph_takes_8_bit_images_of_any_size(run: Path, graph: Path) -> None:
    import onnx

    encoder = FrozenEncoder(run)
    close = {"atol": 1e-4, "rtol": 1e-4}
    for sides in ((32, 32), (40, 33), (97, 150), (64, 64)):
        images = enlarged(IMAGES, *sides)
        found = through(graph, "encoder", images)
        np.testing.assert_allclose(found, encoder.transform(images), **close)
    images = enlarged(IMAGES, 20, 25)  # OpenCV counts in 2048ths of a level when it enlarges
    expected = encoder.transform(images)
    assert (
        np.abs(through(graph, "encoder", images) - expected).max() < 1e-2 * np.abs(expected).max()
    )
    model = onnx.load(graph / "encoder.onnx")
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(told["intensity"]) == encoder.card.intensity
    assert told["encoder_sha256"] == encoder.card.sha256


def test_the_interpolation_is_the_encoder_s_and_no_other() -> None:
    for side in (7, 16, 31, 33, 50, 128):
        image = np.random.default_rng(side).normal(size=(side + 5, side, 6)).astype(np.float32)
        found = CentreSquare(32)(torch.from_numpy(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        np.testing.assert_allclose(found, framed(image, 32), atol=2e-5)
    # By hand: two pixels become one, and 1 to 3 in steps of a half, the ends repeated.
    shrunk = CentreSquare(1)(torch.tensor([[[[1.0, 3], [5, 7]]]]))
    assert shrunk.flatten().tolist() == [4]
    wide = CentreSquare(4)(torch.tensor([[[[1.0, 3], [1, 3]]]]))
    assert wide[0, 0, 0].tolist() == [1, 1.5, 2.5, 3]


def bands(count: int) -> Asinh:
    return Asinh(sky=tuple(range(count)), scale=(100.0,) * count, softening=0.1)


def drawn(dtype: str, low: float, *shape: int) -> np.ndarray:
    images = np.random.default_rng(0).gamma(1, 300, shape) + low
    images = images.astype(dtype)
    if images.dtype.kind == "f":
        images[:, 3, 4] = np.nan
    return images


@pytest.mark.parametrize(
    ("domain", "intensity", "images"),
    [
        ("astronomy", bands(5), drawn("float32", -50, 2, 70, 41, 5)),
        (
            "ct",
            Windows(levels=(40.0, -600.0), widths=(80.0, 1500.0)),
            drawn("int16", -900, 2, 48, 48, 1),
        ),
        ("mri", OwnScale(floor=(1.0,)), drawn("uint16", 0, 2, 213, 160, 1)),
        ("natural", Linear(low=(0.0,), high=(1e42,)), drawn("float64", 0, 2, 32, 32, 1) * 1e40),
    ],
    ids=lambda of: of if isinstance(of, str) else "",
)
def test_an_onnx_graph_takes_what_is_stored(
    domain: str, intensity: Intensity, images: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    encoder = made(tmp_path / "run", domain, intensity, images.shape[-1], str(images.dtype))
    told = export(encoder, "onnx", tmp_path / "encoder.onnx")
    assert "encoder.md" in told
    expected = encoder.transform(images)
    found = through(tmp_path, "encoder", images)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    page = (tmp_path / "encoder.md").read_text()
    assert intensity.describe() in page
    assert (tmp_path / "encoder.intensity.onnx").exists() == (domain == "mri")
    assert "built-in" not in page


def made(
    folder: Path, domain: str, intensity: Intensity, channels: int, dtype: str, **changes: Any
) -> FrozenEncoder:
    """An encoder that nobody trained."""
    seen = channels * len(getattr(intensity, "levels", [0]))
    network = BackboneConfig(name=changes.pop("backbone", "test_resnet"), stem_reduction=1)
    card = EncoderCard(
        backbone=network,
        channels=channels,
        size=32,
        dtype=dtype,
        domain=domain,
        intensity=intensity.model_dump(),
        mean=tuple(0.5 - 0.1 * band for band in range(seen)),
        std=tuple(0.2 + 0.1 * band for band in range(seen)),
        data={},
        step=1,
        config={},
        versions={},
        **changes,
    )
    folder.mkdir()
    save_encoder(folder / FILE_NAME, Backbone(network, seen, 32), card)
    return FrozenEncoder(folder)


def test_an_onnx_graph_takes_regions_of_volumes(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    pytest.importorskip("onnxscript")
    intensity = OwnScale(floor=(1.0,))
    encoder = made(
        tmp_path / "run", "mri", intensity, 1, "float32", backbone="monai:resnet10", spacing=2.0
    ).set_params(spacing=(2.0, 2.0, 2.0))
    export(encoder, "onnx", tmp_path / "encoder.onnx")
    volumes = drawn("float32", 0, 2, 32, 32, 32, 1)
    expected = encoder.transform(volumes)
    found = through(tmp_path, "encoder", volumes)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    page = json.loads((tmp_path / "encoder.json").read_text())
    assert page["input"]["shape"] == ["N", 1, 32, 32, 32]
    assert "voxels of 2 mm" in page["size_rule"]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sides", [(200, 210), (17, 23), (34, 80, 75)])
def test_each_image_s_own_scale_in_a_graph(signed: bool, sides: tuple[int, ...]) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    own = OwnScale(signed=signed, floor=(0.1, 0.1))
    images = drawn("float32", -100 * signed, 2, *sides, 2)
    images[1, ..., 1] = np.nan  # nothing is known of a channel
    model = own_scale_graph(own, len(sides))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"images": np.moveaxis(images, -1, 1).copy()})
    scale = own_scale_of_array if len(sides) == 3 else lambda image, intensity: intensity
    expected = [scale(image, own)(image) for image in images]
    np.testing.assert_allclose(np.moveaxis(found, 1, -1), expected, atol=1e-5)
    assert np.ptp(found) > 1


def test_an_onnx_graph_of_patches_takes_images_of_other_sizes(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    encoder = FrozenEncoder(run, output="patches", layers=(-2, -1))
    export(encoder, "onnx", tmp_path / "patches.onnx")
    page = json.loads((tmp_path / "patches.json").read_text())
    assert page["output"]["pixels_a_position"] == encoder.grid.stride
    for images in (IMAGES, enlarged(IMAGES, 64, 96)):
        expected = np.moveaxis(encoder.transform(images), -1, 1)
        found = through(tmp_path, "patches", images)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_a_classifier_takes_no_patches(run: Path, blobs: Path, tmp_path: Path) -> None:
    encoder = FrozenEncoder(run, output="patches")
    with pytest.raises(UserError, match="--patches"):
        export(encoder, "sklearn", tmp_path / "encoder.skops", open_source(blobs))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_vit_relpos"])
def test_a_timm_model_gives_the_same_features(
    backbone: str, run: Path, blobs: Path, tmp_path: Path
) -> None:
    if backbone != "test_resnet":
        run = tmp_path / "vit"
        config = tiny(blobs, backbone__name=backbone, steps=1, views__num_local=0)
        pretrain(config, run, console=Console(quiet=True))
    encoder = FrozenEncoder(run)
    out = tmp_path / "timm"
    export(encoder, "timm", out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    model = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=0).eval()
    shape = (-1, 1, 1)
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(shape) for name in ("mean", "std"))
    scaled = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        theirs = model((scaled - mean) / std)
        ours = encoder.network[0](encoder.network[1](scaled))
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    if backbone == "test_resnet":
        maps = timm.create_model(f"local-dir:{out}", pretrained=True, features_only=True).eval()
        with torch.inference_mode():
            theirs = maps((scaled - mean) / std)[-1]
            ours = encoder.network[0].feature_maps(encoder.network[1](scaled))
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_windows_of_one_channel_are_the_channels_of_the_network(tmp_path: Path) -> None:
    windows = Windows(levels=(40.0, -600.0), widths=(80.0, 1500.0))
    encoder = made(tmp_path / "run", "ct", windows, 1, "int16")
    export(encoder, "timm", tmp_path / "timm")
    model = timm.create_model(
        f"local-dir:{tmp_path / 'timm'}", pretrained=True, num_classes=0
    ).eval()
    assert model.pretrained_cfg["input_size"] == (2, 32, 32)
    assert model(torch.zeros(1, 2, 32, 32)).shape == (1, encoder.network[0].dim)


def test_what_cannot_be_exported_is_told(run: Path, blobs: Path, tmp_path: Path) -> None:
    encoder = FrozenEncoder(run)
    with pytest.raises(UserError, match="Did you mean onnx"):
        export(encoder, "onyx", tmp_path / "a")
    (tmp_path / "there.onnx").touch()
    with pytest.raises(UserError, match="exists already"):
        export(encoder, "onnx", tmp_path / "there.onnx")
    (tmp_path / "page.md").touch()
    with pytest.raises(UserError, match=r"page\.md exists already"):
        export(encoder, "onnx", tmp_path / "page.onnx")
    with pytest.raises(UserError, match="--data trains a classifier"):
        export(encoder, "timm", tmp_path / "b", open_source(blobs))


@pytest.mark.parametrize(
    ("to", "name", "told"),
    [
        ("sklearn", "x.joblib", "FILE.skops"),
        ("onnx", "x.pt", "FILE.onnx"),
        ("onnx", "folder", "FILE.onnx"),
        ("timm", "x.safetensors", "is a folder"),
    ],
)
def test_an_ending_that_is_not_what_is_written_is_refused(
    to: str, name: str, told: str, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        export(FrozenEncoder(run), to, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_stem_that_timm_cannot_build_is_not_loaded_into_another_stride(tmp_path: Path) -> None:
    network = BackboneConfig(name="test_resnet", stem_reduction=2)
    encoder = made(tmp_path / "run", "natural", Identity(), 3, "uint8")
    card = encoder.card.model_copy(update={"backbone": network})
    save_encoder(tmp_path / "run" / FILE_NAME, Backbone(network, 3, 32), card)
    reduced = FrozenEncoder(tmp_path / "run")
    with pytest.raises(UserError, match="stride of this test_resnet's stem was divided by 2"):
        export(reduced, "timm", tmp_path / "timm")
    assert not (tmp_path / "timm").exists()


def test_no_path_of_this_machine_is_in_a_graph_or_its_pages(run: Path, graph: Path) -> None:
    import onnx

    places = [b"site-packages", b".py", b"/home", b"File ", b"/tmp", b"domainjepa/", b"/usr"]
    places += [str(one).encode() for one in (run.parent, graph, Path.cwd(), Path(sys.prefix))]
    for path in graph.iterdir():
        content = path.read_bytes()
        assert [place for place in places if place in content] == [], path.name
    model = onnx.load(graph / "encoder.onnx")
    assert "pretrained by domainjepa" in model.doc_string
    assert {one.key for one in model.metadata_props} >= {"intensity", "encoder_sha256"}
