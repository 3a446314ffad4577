from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from domainjepa.backbones import Backbone
from domainjepa.backbones.layers import layers
from domainjepa.backbones.transfer import over_channels, transfer
from domainjepa.config import BackboneConfig
from domainjepa.errors import UserError
from domainjepa.pretraining.parallel import synchronised


def network(name: str, channels: int, size: int = 32, stem: int = 1) -> Backbone:
    config = BackboneConfig.model_validate({"name": name, "stem_reduction": stem})
    return Backbone(config, channels, size).eval()


@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (3, 5), (2, 7)])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@torch.no_grad()
def test_a_grey_image_gives_the_same_features_whatever_the_channels(
    name: str, old: int, new: int
) -> None:
    there, here = network(name, old), network(name, new)
    fit = transfer(here.net, there.net.state_dict(), new)
    grey = torch.randn(4, 1, 32, 32)
    expected = there(grey.repeat(1, old, 1, 1))
    torch.testing.assert_close(here(grey.repeat(1, new, 1, 1)), expected, rtol=1e-4, atol=1e-5)
    (told,) = fit.adapted
    assert f"x{old}x" in told.partition("->")[0]
    assert f"x{new}x" in told.partition("->")[2]
    assert fit.matched == len(here.net.state_dict()) - 1
    assert not fit.missing
    assert not fit.unused


def test_the_sum_over_channels_stays_and_is_shared_alike() -> None:
    kernel = torch.arange(24, dtype=torch.float64).reshape(2, 3, 2, 2)
    found = over_channels(kernel, 4)
    torch.testing.assert_close(found.sum(1), kernel.sum(1))
    torch.testing.assert_close(found[:, 0], found[:, 3])


@torch.no_grad()
def test_volumes_have_channels_too() -> None:
    pytest.importorskip("monai")
    there, here = network("monai:resnet10", 1, 16), network("monai:resnet10", 2, 16)
    transfer(here.net, there.net.state_dict(), 2)
    cube = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(here(cube.repeat(1, 2, 1, 1, 1)), there(cube), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_larger_patches_give_the_tokens_of_patches_that_grow_alike() -> None:
    there, here = network("test_vit", 1, 32, stem=2), network("test_vit", 1, 32)  # 8 and 16 px
    transfer(here.net, there.net.state_dict(), 1)
    patch = torch.randn(5, 1, 8, 8)
    grown = functional.interpolate(patch, (16, 16), mode="bicubic", antialias=True)
    tokens = [
        net.net.patch_embed.proj(seen)  # type: ignore[union-attr, operator]
        for net, seen in ((there, patch), (here, grown))
    ]
    torch.testing.assert_close(*tokens, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_position_embeddings_on_another_grid() -> None:
    there, here = network("test_vit", 3, 64), network("test_vit", 3, 96)
    given = there.net.state_dict()
    given["pos_embed"][:, 1:] = torch.linspace(-1, 1, 64)  # the same at every place
    transfer(here.net, given, 3)
    found = here.net.state_dict()["pos_embed"]
    assert found.shape == (1, 1 + 36, 64)
    torch.testing.assert_close(found[:, :1], given["pos_embed"][:, :1])
    torch.testing.assert_close(found[0, 1:], torch.linspace(-1, 1, 64).expand(36, -1))


def swin(window: int) -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", depths=(1,), num_heads=(2,), embed_dim=16, num_classes=0,
        window_size=window, img_size=8 * window, strict_img_size=False,
    )  # fmt: skip


@torch.no_grad()
def test_relative_positions_of_another_window() -> None:
    there, here = swin(4), swin(8)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    given = there.state_dict()
    given[name][:] = torch.tensor([2.0, -3.0])
    transfer(here, given, 3)
    found = here.state_dict()[name]
    assert found.shape == (15 * 15, 2)
    torch.testing.assert_close(found, torch.tensor([2.0, -3.0]).expand(225, -1))


def test_what_has_no_rule_is_refused_by_name() -> None:
    net = network("test_resnet", 3).net
    given = net.state_dict()
    given["layer1.0.conv1.weight"] = torch.zeros(8, 8, 5, 5)
    with pytest.raises(UserError, match=r"layer1\.0\.conv1\.weight is 8x8x5x5 in the weights"):
        transfer(net, given, 3)
    with pytest.raises(UserError, match="none of the weights has a place"):
        transfer(net, {"another.weight": torch.zeros(3)}, 3)


def test_what_is_missing_and_what_has_no_place_is_told() -> None:
    net = network("test_resnet", 3).net
    given = dict(net.state_dict())
    del given["layer4.0.bn1.weight"]
    fit = transfer(net, {**given, "fc.weight": torch.zeros(2, 3)}, 3)
    assert (fit.missing, fit.unused) == (("layer4.0.bn1.weight",), ("fc.weight",))
    assert "drawn at random: layer4.0.bn1.weight" in fit.told()
    assert "without a place here: fc.weight" in fit.told()


def test_layers_count_from_the_stem_on() -> None:
    found = layers(network("test_vit", 3).net)
    assert {found[n] for n in ("cls_token", "pos_embed", "patch_embed.proj.weight")} == {0}
    assert [found[f"blocks.{number}.norm1.weight"] for number in range(6)] == [1, 2, 3, 4, 5, 6]
    assert found["norm.weight"] == 6

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
            self.blocks = nn.ModuleList([nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)])

    by_part = {name.rpartition(".")[0]: layer for name, layer in layers(Plain()).items()}
    assert by_part == {"stem": 0, "norm": 0, "blocks.0": 1, "blocks.1": 2}


def test_synchronised_statistics_of_frozen_layers_stay_too() -> None:
    backbone = network("test_resnet", 3)
    assert backbone.freeze(0.999) == (4, 5)  # something is left to learn
    synced = synchronised(backbone).train()
    norms = {name: part for name, part in synced.named_modules() if hasattr(part, "running_mean")}
    assert all(isinstance(part, nn.SyncBatchNorm) for part in norms.values())
    assert {name for name, part in norms.items() if part.training} == {
        name for name in norms if name.startswith("net.layer4")
    }


def test_frozen_layers_keep_their_weights_and_their_statistics() -> None:
    backbone = network("test_resnet", 3).train()
    assert backbone.freeze(0.6) == (3, 5)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.randn(4, 3, 32, 32)).square().sum().backward()
    layer_of = backbone.layers()
    for name, weight in backbone.named_parameters():
        assert (weight.grad is None) == (layer_of[name] < 3)
    moved = {name for name, value in backbone.state_dict().items() if (value != before[name]).any()}
    assert any(name.startswith("net.layer4") for name in moved)
    assert not any(name.startswith(("net.conv1", "net.bn1", "net.layer1")) for name in moved)
