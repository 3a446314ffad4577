from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import feature_maps, grid_of, pyramid
from domainjepa.config import BackboneConfig
from domainjepa.errors import UserError


def built(name: str, size: int, channels: int = 1) -> Backbone:
    return Backbone(BackboneConfig(name=name), channels, size).eval()


@pytest.mark.parametrize(
    ("name", "size", "stride", "width"),
    [
        ("resnet10t", 32, 8, 512),
        ("resnet10t", 28, 8, 512),  # 4 positions of 28 pixels are no stride of 7
        ("test_efficientnet", 64, 16, 256),  # what is pooled has passed another convolution
        ("monai:resnet10", 16, 8, 512),
        ("monai:densenet121", 16, 8, 1024),
        ("monai:vit", 16, 8, 768),
    ],
)
def test_the_mean_of_the_last_map_is_what_the_network_pools(
    name: str, size: int, stride: int, width: int
) -> None:
    backbone = built(name, size)
    images = torch.randn(2, 1, *[size] * backbone.dimensions)
    with torch.no_grad():
        maps, pooled = backbone.feature_maps(images), backbone(images)
    torch.testing.assert_close(maps.flatten(2).mean(2), pooled, rtol=1e-4, atol=1e-5)
    grid = grid_of(backbone.net, 1, size, backbone.dimensions, "last")
    assert grid == (stride, name == "monai:vit", width, stride)
    assert maps.shape[-1] == -(-size // stride)


def test_tokens_of_a_vit_are_laid_out_as_the_image_is() -> None:
    backbone = built("vit_tiny_patch16_224", 64)
    images = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        maps = backbone.feature_maps(images, (-2, -1))
        tokens: list[torch.Tensor] = []
        blocks: nn.ModuleList = backbone.net.blocks  # type: ignore[assignment]
        for block in blocks[-2:]:
            block.register_forward_hook(lambda _part, _inputs, output: tokens.append(output))
        backbone(images)
        expected = torch.cat([backbone.net.norm(one)[:, 1:] for one in tokens], 2)  # type: ignore[operator]
    assert maps.shape == (1, 2 * 192, 4, 4)
    for row, column in ((0, 0), (1, 3), (3, 2)):
        torch.testing.assert_close(maps[0, :, row, column], expected[0, row * 4 + column])
    assert grid_of(backbone.net, 1, 64, 2, -1) == (16, False, 192, 16)


def test_a_patch_of_fourteen_pixels_is_a_stride() -> None:
    backbone = built("eva02_tiny_patch14_224", 56)
    assert grid_of(backbone.net, 1, 56, 2, "last") == (14, False, 192, 14)


def test_stages_are_counted_as_timm_counts_them() -> None:
    backbone = built("resnet10t", 64)
    images = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        every = backbone.net.forward_intermediates(images, intermediates_only=True)  # type: ignore[operator]
        torch.testing.assert_close(backbone.feature_maps(images, 2), every[2])
        both = backbone.feature_maps(images, [-1, -3])
    assert grid_of(backbone.net, 1, 64, 2, [-1, -3]) == (4, False, 128 + 512, 16)
    torch.testing.assert_close(both[:, :128], every[2])
    # The coarser map is stretched edge to edge: the corners keep their values.
    torch.testing.assert_close(both[..., 0, 0][:, 128:], every[4][..., 0, 0])
    stretched = functional.interpolate(every[4], (16, 16), mode="bilinear")
    torch.testing.assert_close(both[:, 128:], stretched)


@pytest.mark.parametrize("layers", [9, -7, [0, 5], []])
def test_no_such_stage(layers: int | list[int]) -> None:
    with pytest.raises(UserError, match=r"5 stages, 0 to 4"):
        built("resnet10t", 32).feature_maps(torch.zeros(1, 1, 32, 32), layers)


def test_a_network_that_shows_nothing_says_what_is_missing() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match="forward_features"):
        feature_maps(net, torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("name", "size", "strides"),
    [
        ("resnet10t", 224, [2, 4, 8, 16, 32]),
        ("resnet10t", 64, [2, 4, 8, 16]),  # its pooling is gone: two stages of one stride
        ("convnext_atto", 224, [4, 8, 16, 32]),
        ("vit_tiny_patch16_224", 96, [4, 8, 16, 32]),
        ("monai:resnet10", 16, [1, 2, 4, 8]),
    ],
)
def test_the_pyramid_halves_from_level_to_level(name: str, size: int, strides: list[int]) -> None:
    backbone = built(name, size)
    with torch.no_grad():
        levels = backbone.pyramid(torch.randn(1, 1, *[size] * backbone.dimensions))
    assert [size / one.shape[-1] for one in levels] == strides


def test_a_level_that_was_made_coarser_is_the_mean() -> None:
    backbone = built("vit_tiny_patch16_224", 64)
    images = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        deepest = backbone.feature_maps(images, -1)
        coarse = pyramid(backbone.net, images)[-1]
    torch.testing.assert_close(
        coarse, deepest.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5))
    )
