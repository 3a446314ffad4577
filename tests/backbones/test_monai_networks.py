from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch
from torch import nn

from domainjepa.backbones import Backbone, names, stem_reduction, traits
from domainjepa.config import BackboneConfig
from domainjepa.errors import ConfigError, MissingExtra


def built(name: str, size: int = 16, channels: int = 1, **settings: Any) -> Backbone:
    return Backbone(BackboneConfig(name=name, **settings), channels, size)


@pytest.mark.parametrize(
    ("size", "expected"), [(128, 1), (64, 1), (48, 2), (32, 2), (16, 4), (8, 4)]
)
def test_the_stem_keeps_two_positions_a_side(size: int, expected: int) -> None:
    assert stem_reduction(BackboneConfig(), 32, size, 3) == expected


@pytest.mark.parametrize(("reduction", "positions"), [(1, 1), (2, 2), (4, 4)])
def test_a_thin_stem_leaves_a_map(reduction: int, positions: int) -> None:
    backbone = built("monai:resnet10", 32, stem_reduction=reduction).eval()
    seen: list[torch.Size] = []
    part: Any = backbone.net.layer4
    part.register_forward_hook(lambda _part, _inputs, output: seen.append(output.shape))
    backbone(torch.zeros(1, 1, 32, 32, 32))
    assert seen[0][2:] == (positions,) * 3


@pytest.mark.parametrize(
    ("name", "size", "channels", "dim", "multiple"),
    [
        ("monai:resnet10", 16, 3, 512, 1),
        ("monai:densenet121", 16, 2, 1024, 1),
        ("monai:swinunetr", 16, 1, 768, 1),
        ("monai:vit", 32, 1, 768, 0),
    ],
)
def test_any_channels_and_both_sizes(
    name: str, size: int, channels: int, dim: int, multiple: int
) -> None:
    backbone = built(name, size, channels)
    assert (backbone.dimensions, backbone.dim, backbone.multiple) == (3, dim, multiple)
    for side in (size, 8 if multiple else size):
        assert backbone(torch.randn(2, channels, side, side, side)).shape == (2, dim)
    if name == "monai:vit":
        check_the_probe_reads_two_layers(backbone.eval())
    else:
        volumes = torch.randn(2, channels, 16, 16, 16)
        backbone.eval()
        torch.testing.assert_close(backbone.probe_features(volumes), backbone(volumes))


def check_the_probe_reads_two_layers(backbone: Backbone) -> None:
    volumes = torch.randn(2, 1, 32, 32, 32)
    with torch.no_grad():
        features = backbone.probe_features(volumes)
        last = backbone(volumes)
    assert features.shape == (2, 2 * 768)
    torch.testing.assert_close(features[:, 768:], last)
    assert not torch.equal(features[:, :768], last)
    parameters = dict(backbone.net.named_parameters())
    assert backbone.exempt_from_decay() <= set(parameters)
    assert backbone.exempt_from_decay()


def test_what_decides_before_it_is_built() -> None:
    assert traits("monai:resnet18").dimensions == 3
    assert not traits("monai:resnet18").transformer
    assert traits("monai:swinunetr").transformer
    assert traits("monai:vit").patch == 16
    assert {"monai:resnet18", "resnet18"} <= set(names())


def test_convolutions_whose_gradients_stay_unwritten_are_found() -> None:
    assert built("monai:resnet10", 16, stem_reduction=1).leaves_gradients_unwritten(1, 8)
    backbone = built("monai:resnet10", 16, stem_reduction=4)
    assert backbone.leaves_gradients_unwritten(1, 16)  # 2x2x2 positions in the last stage
    assert not backbone.leaves_gradients_unwritten(1, 24)


def test_swins_stem_is_left_as_it_is_unless_told() -> None:
    assert built("monai:swinunetr").stem_reduction == 1
    with pytest.raises(ConfigError, match="takes 1 or 2"):
        built("monai:swinunetr", stem_reduction=4)


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean .*monai:resnet18"):
        built("monai:resnet81")


def test_drop_path_where_there_is_none() -> None:
    with pytest.raises(ConfigError, match=r"drop_path = 0.1.*Leave it out"):
        built("monai:resnet10", drop_path=0.1)


@pytest.mark.parametrize(("name", "package"), [("resnet10", "monai"), ("swinunetr", "einops")])
def test_a_missing_package_says_what_to_install(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(module: str, *rest: Any, **more: Any) -> Any:
        if module.partition(".")[0] == package:
            raise ImportError(f"No module named {package!r}", name=package)
        return real(module, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=rf"needs {package}: pip install 'domainjepa\[volumes\]"):
        built(f"monai:{name}")


def test_batch_norms_keep_their_mode_after_the_trial_runs() -> None:
    backbone = built("monai:resnet10")
    norms = [part for part in backbone.modules() if isinstance(part, nn.BatchNorm3d)]
    assert norms
    assert all(part.training and int(part.num_batches_tracked or 0) == 0 for part in norms)
