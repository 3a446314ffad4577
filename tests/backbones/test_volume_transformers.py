from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from domainjepa import FrozenEncoder
from domainjepa.backbones import Backbone, names, traits, volume_transformers
from domainjepa.backbones.attention import attention_by
from domainjepa.backbones.feature_maps import grid_of
from domainjepa.backbones.transfer import transfer
from domainjepa.backbones.volume_transformers import WAVES, positions
from domainjepa.config import BackboneConfig
from domainjepa.data.opening import open_source
from domainjepa.encoder.artefact import FILE_NAME, EncoderCard, load_encoder, save_encoder
from domainjepa.errors import ConfigError, UserError
from domainjepa.export import export
from domainjepa.pretraining.run import pretrain
from domainjepa.settings import resolve
from domainjepa.signals import Stopped
from tests.conftest import TINY

TINY_8 = "vit3d_tiny_patch8"


def built(name: str = TINY_8, size: int = 16, channels: int = 1, **settings: Any) -> Backbone:
    torch.manual_seed(0)
    return Backbone(BackboneConfig(name=name, **settings), channels, size).eval()


def test_positions_are_sines_and_cosines_of_d_h_and_w() -> None:
    sides, width = (2, 3, 5), 20
    found = positions(sides, width).reshape(*sides, width)
    for place in np.ndindex(*sides):
        expected = []
        for axis in range(3):
            along = place[axis] - (sides[axis] - 1) / 2
            angles = [along / WAVES ** (k / 3) for k in range(3)]
            expected += [*np.sin(angles), *np.cos(angles)]
        np.testing.assert_allclose(found[place].numpy(), [*expected, 0, 0], atol=1e-6)


def test_a_neighbour_is_as_far_in_a_small_view_as_in_a_large_one() -> None:
    """The products of positions depend on what lies between them alone."""
    small, large = (positions((n, n, n), 192).reshape(n, n, n, 192) for n in (3, 8))
    for step in ((1, 0, 0), (0, 2, 0), (1, 1, 2)):
        there = torch.dot(small[0, 0, 0], small[step])
        d, h, w = (2 + s for s in step)
        torch.testing.assert_close(torch.dot(large[2, 2, 2], large[d, h, w]), there)


def test_an_inner_place_of_an_odd_grid_is_one_of_a_larger_odd_grid() -> None:
    small, large = (positions((n, n, n), 24).reshape(n, n, n, 24) for n in (3, 7))
    torch.testing.assert_close(large[2:5, 2:5, 2:5], small)


@pytest.mark.parametrize("size", [16, 32])
def test_any_channels_and_both_sizes(size: int) -> None:
    backbone = built(size=size, channels=2)
    assert (backbone.dimensions, backbone.dim, backbone.multiple) == (3, 192, 8)
    assert backbone.reads_layers
    for sides in ((size,) * 3, (8, 8, 8), (8, 16, 24)):
        volumes = torch.randn(2, 2, *sides)
        with torch.no_grad():
            features, last = backbone.probe_features(volumes), backbone(volumes)
        assert last.shape == (2, 192)
        assert features.shape == (2, 384)
        torch.testing.assert_close(features[:, 192:], last)
        assert not torch.allclose(features[:, :192], last)


def test_the_order_of_the_patches_matters() -> None:
    """Without positions attention would see a bag of patches."""
    backbone, volumes = built(), torch.randn(1, 1, 16, 16, 16)
    halves = torch.cat([volumes[:, :, 8:], volumes[:, :, :8]], dim=2)
    with torch.no_grad():
        assert not torch.allclose(backbone(volumes), backbone(halves), atol=1e-4)


def test_a_size_that_is_none_of_patches_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"20 px: it takes multiples of 8.*global_size=64"):
        built(size=20, stem_reduction=1)
    with pytest.raises(ConfigError, match=r"Did you mean .*vit3d_tiny_patch8"):
        traits("vit3d_tiny_patch7")
    assert {"vit3d_small_patch16", TINY_8} <= set(names())
    assert traits("vit3d_base_patch16").patch == 16


@pytest.mark.parametrize("place", [(0, 0, 0), (0, 1, 3), (1, 2, 0)])
def test_a_bright_patch_is_found_where_it_is(place: tuple[int, int, int]) -> None:
    backbone = built(size=16)
    volumes = torch.zeros(2, 1, 16, 24, 32)
    d, h, w = (slice(8 * one, 8 * one + 8) for one in place)
    volumes[1, :, d, h, w] = 1
    for layers in ("last", (3, 7)):
        maps = backbone.feature_maps(volumes, layers)  # type: ignore[arg-type]
        assert maps.shape[2:] == (2, 3, 4)
        changed = (maps[1] - maps[0]).norm(dim=0)
        assert np.unravel_index(int(changed.argmax()), changed.shape) == place
    assert grid_of(backbone.net, 1, 16, 3, "last") == (8, False, 192, 8)
    found = backbone.pyramid(torch.zeros(1, 1, 32, 32, 32))
    assert [one.shape[-1] for one in found] == [16, 8, 4, 2]


def gradients(backbone: Backbone, volumes: Tensor) -> dict[str, Tensor]:
    backbone.zero_grad()
    backbone.train()
    torch.manual_seed(3)
    backbone(volumes).square().sum().backward()
    found = {n: one.grad for n, one in backbone.named_parameters() if one.grad is not None}
    return {name: gradient.clone() for name, gradient in found.items()}


def test_every_weight_learns_and_recomputing_changes_nothing() -> None:
    backbone, volumes = built(drop_path=0.4), torch.randn(3, 1, 16, 16, 16)
    plain = gradients(backbone, volumes)
    assert plain.keys() == dict(backbone.named_parameters()).keys()
    assert all(bool(one.abs().max() > 0) for one in plain.values())
    backbone.checkpoint_activations()
    again = gradients(backbone, volumes)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


def test_drop_path_is_drawn_from_the_seed_and_grows_with_depth() -> None:
    backbone, volumes = built(drop_path=0.5).train(), torch.randn(4, 1, 16, 16, 16)
    rates = [getattr(block.drop_path1, "drop_prob", 0) for block in backbone.net.blocks]  # type: ignore[union-attr]
    np.testing.assert_allclose(rates, np.linspace(0, 0.5, 12))
    found = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        found.append(backbone(volumes))
    assert torch.equal(found[0], found[2])
    assert not torch.allclose(found[0], found[1])


def test_the_kernels_of_attention_agree() -> None:
    backbone, volumes = built(), torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        with attention_by("flash"):
            flash = backbone(volumes)
        with attention_by("math"):
            torch.testing.assert_close(backbone(volumes), flash, atol=1e-5, rtol=1e-4)


def test_layers_are_counted_from_the_cubes_to_the_last_block() -> None:
    backbone = built()
    layer = backbone.layers()
    assert layer["net.patch_embed.proj.weight"] == layer["net.cls_token"] == 0
    assert layer["net.blocks.0.norm1.weight"] == 1
    assert layer["net.blocks.11.mlp.fc2.bias"] == layer["net.norm.weight"] == 12
    assert backbone.exempt_from_decay() == {"cls_token"}


@torch.no_grad()
def test_weights_go_over_to_other_sizes_and_channels() -> None:
    there, here = built(size=32), built(size=16, channels=3)
    fit = transfer(here.net, there.net.state_dict(), 3)
    assert [one.partition(" ")[0] for one in fit.adapted] == ["patch_embed.proj.weight"]
    volumes = torch.randn(2, 1, 24, 24, 24)
    torch.testing.assert_close(
        here(volumes.repeat(1, 3, 1, 1, 1)), there(volumes), atol=1e-4, rtol=1e-4
    )


def card(**changes: Any) -> EncoderCard:
    given = {
        "backbone": BackboneConfig(name=TINY_8, stem_reduction=1),
        "channels": 1,
        "size": 16,
        "spacing": 1.0,
        "dtype": "float32",
        "domain": "natural",
        "intensity": {"kind": "linear", "low": [0.0], "high": [1.0]},
        "mean": (0.0,),
        "std": (1.0,),
        "data": {},
        "step": 1,
        "config": {},
        "versions": {},
    }
    return EncoderCard(**{**given, **changes})


def test_an_encoder_file_holds_all_of_it(tmp_path: Path) -> None:
    backbone = built()
    save_encoder(tmp_path / FILE_NAME, backbone, card())
    _, weights = load_encoder(tmp_path / FILE_NAME)
    assert weights.keys() == backbone.state_dict().keys()
    volume = torch.rand(16, 16, 16)
    with torch.no_grad():
        expected = backbone.probe_features(volume[None, None])
    encoder = FrozenEncoder(tmp_path / FILE_NAME, spacing=(1.0, 1.0, 1.0))
    np.testing.assert_allclose(encoder.transform(volume[None].numpy()), expected, atol=1e-5)
    # Patch by patch, of a volume of another shape: the bright one is where it was planted.
    scan = np.zeros((2, 24, 16, 32), np.float32)
    scan[1, 8:16, 0:8, 16:24] = 1
    dense = FrozenEncoder(tmp_path / FILE_NAME, spacing=(1.0, 1.0, 1.0), output="patches")
    maps = dense.transform(scan)
    assert maps.shape == (2, 3, 2, 4, 192)
    changed = np.linalg.norm(maps[1] - maps[0], axis=-1)
    assert np.unravel_index(changed.argmax(), changed.shape) == (1, 0, 2)


def test_other_software_reads_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    monkeypatch.setattr(volume_transformers, "_DEPTH", 3)  # the exporter takes a second a block
    save_encoder(tmp_path / FILE_NAME, built(), card())
    encoder = FrozenEncoder(tmp_path / FILE_NAME)
    export(encoder, "onnx", tmp_path / "encoder.onnx")
    volumes = np.random.default_rng(0).uniform(size=(3, 1, 16, 16, 16)).astype(np.float32)
    evaluator = ReferenceEvaluator(onnx.load(tmp_path / "encoder.onnx"))
    (features,) = evaluator.run(None, {"images": volumes})
    with torch.no_grad():
        expected = encoder.network[0].probe_features(torch.from_numpy(volumes))
    np.testing.assert_allclose(features, expected, atol=1e-4, rtol=1e-3)
    with pytest.raises(UserError, match="no timm model"):
        export(encoder, "timm", tmp_path / "timm")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scans") / "scans.npy"
    noise = np.random.default_rng(0).normal(0.5, 0.2, (6, 24, 26, 28))
    np.save(path, noise.astype(np.float32))
    return path


def settings(scans: Path, **changes: Any) -> Any:
    flags = {name.replace("__", "."): value for name, value in changes.items()}
    given = {
        "data.path": str(scans),
        "domain": "microscopy",
        "backbone.name": TINY_8,
        "backbone.stem_reduction": "auto",
        "backbone.drop_path": 0.2,
        "views.global_size": 16,
        "views.local_size": 8,
        "batch_size": 4,
        "steps": 4,
    }
    return resolve(TINY, (), {**given, **flags})


def test_a_run_of_two_sizes_resumes_bit_for_bit(scans: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    quiet = Console(quiet=True)
    pretrain(settings(scans), whole, console=quiet)
    with pytest.raises(Stopped, match="after step 1 of 4"):
        pretrain(settings(scans, max_hours=1e-9), stopped, console=quiet)
    assert len((stopped / "metrics.jsonl").read_text().splitlines()) == 1
    pretrain(settings(scans), stopped, resume=True, console=quiet)
    losses = [
        [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, stopped)
    ]
    assert losses[0] == losses[1]
    assert FrozenEncoder(whole).sha256 == FrozenEncoder(stopped).sha256
    # The weights begin a run of another size.
    larger = tmp_path / "larger"
    changes = {"views__global_size": 24, "steps": 1, "init__weights": str(whole)}
    pretrain(settings(scans, **changes), larger, console=quiet)
    assert FrozenEncoder(larger).card.size == 24
    features = FrozenEncoder(larger).transform(open_source(scans, dimensions=3))
    assert features.shape == (6, 384)
    assert np.isfinite(features).all()
