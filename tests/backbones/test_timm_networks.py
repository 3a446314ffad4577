from __future__ import annotations

import pytest
import torch

from domainjepa.backbones import Backbone, stem_reduction, traits
from domainjepa.config import BackboneConfig
from domainjepa.errors import ConfigError


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [(224, 32, 1), (128, 32, 1), (64, 32, 2), (32, 32, 4), (64, 16, 1), (32, 16, 2), (8, 32, 4)],
)
def test_the_stem_keeps_four_positions_a_side(size: int, stride: int, expected: int) -> None:
    assert stem_reduction(BackboneConfig(), stride, size) == expected


@pytest.mark.parametrize(
    ("name", "size", "positions"),
    [
        ("resnet18", 64, 4),
        ("resnet18", 128, 4),
        ("convnextv2_atto", 64, 4),
        ("efficientnet_b0", 32, 4),
    ],
)
def test_a_thin_stem_leaves_a_map(name: str, size: int, positions: int) -> None:
    backbone = Backbone(BackboneConfig(name=name), 3, size).eval()
    features = backbone.net.forward_features(torch.zeros(1, 3, size, size))  # type: ignore[operator]
    assert features.shape[-2:] == (positions, positions)


@pytest.mark.parametrize(
    ("name", "size", "local", "channels"),
    [
        ("test_resnet", 64, 28, 1),
        ("test_vit", 64, 32, 5),
        ("vit_tiny_patch16_224", 64, 32, 3),
        ("swin_tiny_patch4_window7_224", 64, 28, 2),
        ("test_convnext", 32, 14, 12),
        ("cait_xxs24_224", 64, 64, 3),
        ("xcit_nano_12_p16_224", 64, 64, 3),
        ("hiera_tiny_224", 224, 224, 3),
    ],
)
def test_any_channels_and_both_sizes(name: str, size: int, local: int, channels: int) -> None:
    backbone = Backbone(BackboneConfig(name=name), channels, size)
    assert local == size or local % backbone.multiple == 0
    images = torch.randn(2, channels, size, size)
    assert backbone.eval().probe_features(images).ndim == 2
    for side in (size, local):
        assert backbone(torch.randn(2, channels, side, side)).shape == (2, backbone.dim)


def test_a_network_of_one_size_says_so() -> None:
    backbone = Backbone(BackboneConfig(name="levit_128"), 3, 64)
    assert backbone.multiple == 0
    assert backbone.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 384)


def test_vit_probe_features_are_the_cls_tokens_of_two_layers() -> None:
    backbone = Backbone(BackboneConfig(name="vit_tiny_patch16_224"), 3, 64).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = backbone.probe_features(images)
        last = backbone.net.forward_features(images)[:, 0]  # type: ignore[operator]
    assert features.shape == (2, 2 * 192)
    torch.testing.assert_close(features[:, 192:], last)
    assert not torch.equal(features[:, :192], last)


def test_resnet_probe_features_are_the_pooled_ones() -> None:
    backbone = Backbone(BackboneConfig(name="test_resnet"), 3, 32).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone.probe_features(images), backbone(images))


def test_traits() -> None:
    assert traits("resnet34") == traits("resnet18")
    assert not traits("resnet34").transformer
    assert traits("vit_tiny_patch16_224").patch == 16
    assert traits("swin_tiny_patch4_window7_224").transformer


def test_unknown_backbone_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="Did you mean resnet34"):
        traits("resnet334")
