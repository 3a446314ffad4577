from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import domainjepa
from domainjepa import FrozenEncoder, open_source
from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig
from domainjepa.encoder.artefact import EncoderCard, save_encoder
from domainjepa.encoder.module import BackboneModule, load_backbone


def encoder_file(folder: Path, name: str, size: int, spacing: float | None = None) -> Path:
    """An encoder of one channel of 16-bit values."""
    card = EncoderCard(
        backbone=BackboneConfig(name=name, stem_reduction=1),
        channels=1,
        size=size,
        spacing=spacing,
        dtype="int16",
        domain="ct",
        intensity={"kind": "windows", "levels": [40.0, -600.0], "widths": [400.0, 1500.0]},
        mean=(0.3, 0.4),
        std=(0.2, 0.3),
        data={},
        step=1,
        config={},
        versions={},
    )
    path = folder / "encoder.safetensors"
    torch.manual_seed(1)
    save_encoder(path, Backbone(card.backbone, 2, size), card)
    return path


@pytest.fixture(scope="module")
def module(run: Path) -> BackboneModule:
    return load_backbone(run)


def test_it_gives_what_the_frozen_encoder_gives(run: Path, blobs: Path) -> None:
    source = open_source(blobs)
    stored = np.stack([source[row] for row in range(4)])
    module = domainjepa.load_backbone(run)
    batch = torch.from_numpy(stored).permute(0, 3, 1, 2)
    with torch.no_grad():
        pooled, maps = module(batch), module.forward_features(batch)
        scaled = load_backbone(run, intensity=False)(batch.float() / 255)
    expected = FrozenEncoder(run).transform(stored)
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-5)
    patches = FrozenEncoder(run, output="patches").transform(stored)
    np.testing.assert_allclose(maps.permute(0, 2, 3, 1), patches, rtol=1e-4, atol=1e-5)


def test_the_pyramid_is_as_it_is_told(module: BackboneModule) -> None:
    images = torch.zeros(2, 3, 64, 96, dtype=torch.uint8)
    with torch.no_grad():
        maps, levels = module.pyramid(images), module.levels(images)
    expected = [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(module.channels, module.strides, strict=True)
    ]
    assert [tuple(one.shape) for one in maps] == expected
    shapes = [tuple(one.shape) for one in levels]
    strides = [2**power for power in range(len(levels))]
    assert [one[1] for one in shapes] == list(module.level_channels)
    assert [one[2:] for one in shapes] == [(64 // s, 96 // s) for s in strides]


def test_levels_that_the_network_has_not_are_the_image(tmp_path: Path) -> None:
    module = load_backbone(encoder_file(tmp_path, "convnext_atto", 64))
    assert module.strides == (4, 8, 16, 32)
    assert module.level_channels == (2, 2, 40, 80, 160, 320)
    images = torch.randint(-1000, 1000, (1, 1, 64, 64), dtype=torch.int16)
    with torch.no_grad():
        first, second, *_ = module.levels(images)
    torch.testing.assert_close(
        second, first.unflatten(3, (32, 2)).unflatten(2, (32, 2)).mean((3, 5))
    )


def test_the_weights_learn(run: Path) -> None:
    module = load_backbone(run).train()
    images = torch.randint(0, 255, (4, 3, 32, 32)).float().requires_grad_(True)
    loss = sum(one.square().mean() for one in module.pyramid(images))
    loss.backward()  # type: ignore[union-attr]
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    used = [one for name, one in module.named_parameters() if "net.fc" not in name]
    assert used
    assert all(one.grad is not None and one.grad.isfinite().all() for one in used)


def test_state_dict_round_trips(run: Path, module: BackboneModule) -> None:
    other = load_backbone(run)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    other.load_state_dict(module.state_dict())
    images = torch.randint(0, 255, (2, 3, 32, 32))
    with torch.no_grad():
        torch.testing.assert_close(other(images), module(images), rtol=0, atol=0)


def test_it_moves_to_a_device_whole(module: BackboneModule) -> None:
    # The device without memory takes the place of a GPU: a tensor that stayed behind is refused.
    moved = copy.deepcopy(module).to("meta")
    images = torch.zeros(2, 3, 32, 32, device="meta")
    assert {one.device.type for one in (moved(images), *moved.levels(images))} == {"meta"}


def test_it_compiles(module: BackboneModule) -> None:
    """Traced whole by Dynamo, with no break; the C++ compiler of Inductor is not asked for."""

    def everything(images: torch.Tensor) -> list[torch.Tensor]:
        return [module(images), module.forward_features(images), *module.levels(images)]

    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    compiled = torch.compile(everything, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        for found, expected in zip(compiled(images), everything(images), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("name", "size", "spacing"),
    [
        ("resnet10t", 64, None),
        ("convnext_atto", 64, None),
        ("test_vit", 64, None),
        ("monai:resnet10", 32, 1.5),
    ],
)
def test_a_u_net_of_monai_as_the_page_shows_it(
    tmp_path: Path, name: str, size: int, spacing: float | None
) -> None:
    page = Path(domainjepa.__file__).parents[1] / "docs" / "dense.md"
    (code,) = re.findall(r"```python\n(from monai.*?)```", page.read_text(), flags=re.S)
    module = load_backbone(encoder_file(tmp_path, name, size, spacing)).train()
    sides = [size] * module.card.dimensions
    scope: dict[str, Any] = {"net": module, "images": torch.randint(-1000, 1000, (2, 1, *sides))}
    exec(code, scope)
    assert scope["maps"].shape == (2, 16, *sides)
    scope["maps"].square().mean().backward()
    first = next(module.backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
