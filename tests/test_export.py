from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from rich.console import Console

from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig
from domainjepa.data.opening import open_source
from domainjepa.domains.intensity import Windows
from domainjepa.encoder.artefact import FILE_NAME, EncoderCard, save_encoder
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import UserError
from domainjepa.export import export
from domainjepa.pretraining.run import pretrain

from .conftest import tiny

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


def test_an_onnx_graph_gives_the_same_features(run: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    encoder = FrozenEncoder(run)
    out = tmp_path / "encoder.onnx"
    export(encoder, "onnx", out)
    model = onnx.load(out)
    scaled = (IMAGES / np.float32(255)).transpose(0, 3, 1, 2).astype(np.float32)
    (features,) = ReferenceEvaluator(model).run(None, {"images": scaled})
    np.testing.assert_allclose(features, encoder.transform(IMAGES), atol=1e-4, rtol=1e-4)
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(told["intensity"]) == encoder.card.intensity
    assert told["encoder_sha256"] == encoder.card.sha256


def test_an_onnx_graph_of_patches_takes_images_of_other_sizes(run: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    encoder = FrozenEncoder(run, output="patches", layers=(-2, -1))
    export(encoder, "onnx", tmp_path / "patches.onnx")
    model = onnx.load(tmp_path / "patches.onnx")
    assert f"{encoder.grid.stride} px apart" in model.doc_string
    for images in (IMAGES, np.tile(IMAGES[:1], (1, 2, 3, 1))):
        scaled = (images / np.float32(255)).transpose(0, 3, 1, 2).astype(np.float32)
        (patches,) = ReferenceEvaluator(model).run(None, {"images": scaled})
        expected = np.moveaxis(encoder.transform(images), -1, 1)
        np.testing.assert_allclose(patches, expected, atol=1e-4, rtol=1e-4)


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
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    network = BackboneConfig(name="test_resnet", stem_reduction=1)
    card = EncoderCard(
        backbone=network,
        channels=1,
        size=32,
        dtype="int16",
        domain="ct",
        intensity=Windows(levels=(40.0, -600.0), widths=(80.0, 1500.0)).model_dump(),
        mean=(0.5, 0.4),
        std=(0.2, 0.3),
        data={},
        step=1,
        config={},
        versions={},
    )
    (tmp_path / "run").mkdir()
    save_encoder(tmp_path / "run" / FILE_NAME, Backbone(network, 2, 32), card)
    encoder = FrozenEncoder(tmp_path / "run")
    export(encoder, "onnx", tmp_path / "encoder.onnx")
    graph = onnx.load(tmp_path / "encoder.onnx").graph
    sides = [side.dim_value for side in graph.input[0].type.tensor_type.shape.dim]
    assert sides[1:] == [2, 32, 32]
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
    (tmp_path / "there").touch()
    with pytest.raises(UserError, match="exists already"):
        export(encoder, "onnx", tmp_path / "there")
    with pytest.raises(UserError, match="--data trains a classifier"):
        export(encoder, "timm", tmp_path / "b", open_source(blobs))


def test_no_path_of_this_machine_is_in_a_graph(run: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    out = tmp_path / "encoder.onnx"
    export(FrozenEncoder(run), "onnx", out)
    content = out.read_bytes()
    for place in (b"site-packages", b".py", b"/home", b"File ", str(run.parent).encode(), b"/tmp"):
        assert place not in content, place
    model = onnx.load(out)
    assert "pretrained by domainjepa" in model.doc_string
    assert {one.key for one in model.metadata_props} >= {"intensity", "encoder_sha256"}
