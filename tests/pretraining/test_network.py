from __future__ import annotations

import pytest
import torch
from torch import nn

from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig, ProjectorConfig
from domainjepa.encoder.standardise import Standardise
from domainjepa.pretraining.network import Network, projector


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_projector_has_its_layers(layers: int) -> None:
    mlp = projector(12, ProjectorConfig(layers=layers, hidden=20, out=7))
    linear = [part for part in mlp if isinstance(part, nn.Linear)]
    assert len(linear) == layers
    assert mlp(torch.randn(4, 12)).shape == (4, 7)


def network(**options: object) -> Network:
    torch.manual_seed(0)
    backbone = Backbone(BackboneConfig(name="test_resnet", stem_reduction=1), 3, 32)
    return Network(backbone, ProjectorConfig(hidden=16, out=6), **options)  # type: ignore[arg-type]


def test_views_come_out_in_their_order() -> None:
    net = network().eval()
    many, few = torch.randn(2, 5, 3, 32, 32), torch.randn(3, 5, 3, 20, 20)
    out = net([many, few])
    assert out.features.shape == (5, 5, net.backbone.dim)
    assert out.embeddings.shape == (5, 5, 6)
    torch.testing.assert_close(out.features[1], net.backbone(many[1]))
    torch.testing.assert_close(out.features[4], net.backbone(few[2]))
    torch.testing.assert_close(out.embeddings[3], net.projector(net.backbone(few[1])))


def test_all_views_share_the_projectors_batch() -> None:
    net = network().train()
    seen = []
    first_norm = next(part for part in net.projector if isinstance(part, nn.BatchNorm1d))
    first_norm.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    net([torch.randn(2, 5, 3, 32, 32), torch.randn(3, 5, 3, 20, 20)])
    assert seen == [25]


def test_the_probe_gives_no_gradient_to_the_encoder() -> None:
    net = network(classes=4)
    logits = net([torch.randn(2, 5, 3, 32, 32)]).logits
    assert logits is not None
    assert logits.shape == (2, 5, 4)
    logits.square().sum().backward()
    assert all(weight.grad is None for weight in net.backbone.parameters())
    assert net.probe is not None
    assert net.probe.weight.grad is not None


def test_predictor_predicts_embeddings() -> None:
    out = network(predictor=True)([torch.randn(2, 5, 3, 32, 32)])
    assert out.predicted is not None
    assert out.predicted.shape == out.embeddings.shape
    assert not torch.equal(out.predicted, out.embeddings)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_standardise_gives_zero_mean_and_unit_deviation(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (50, 4, 4, 2)).permute(0, 3, 1, 2)
    unit = images.double() / 255
    mean = unit.mean((0, 2, 3)).tolist()
    std = unit.std((0, 2, 3), correction=0).tolist()
    given = images.to(torch.uint8) if dtype == torch.uint8 else unit.float()
    out = Standardise(mean, std)(given)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert Standardise(mean, std)(given).is_contiguous(memory_format=torch.channels_last)


def test_standardise_takes_volumes() -> None:
    volumes = torch.randn(6, 2, 4, 5, 3) * 3 + 1
    mean, std = volumes.mean((0, 2, 3, 4)).tolist(), volumes.std((0, 2, 3, 4)).tolist()
    out = Standardise(mean, std, 3)(volumes)
    torch.testing.assert_close(out.mean((0, 2, 3, 4)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3, 4)), torch.ones(2), atol=1e-5, rtol=0)
