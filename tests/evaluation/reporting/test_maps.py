from __future__ import annotations

import numpy as np
import torch
from sklearn.decomposition import PCA

from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig
from domainjepa.evaluation.reporting.maps import look, principal_colours


def prepare(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def built(name: str, size: int = 64) -> Backbone:
    torch.manual_seed(0)
    return Backbone(BackboneConfig(name=name, stem_reduction=1), 3, size).eval()


def test_attention_is_that_of_the_class_token(rng):
    backbone = built("test_vit")
    images = list(rng.normal(size=(2, 64, 64, 3)).astype(np.float32))
    found = look(backbone, prepare, images)
    assert found is not None
    assert found.focus_is == "attention"
    attention = backbone.net.blocks[-1].attn
    seen = {}
    hook = attention.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    with torch.inference_mode():
        backbone.net.forward_features(prepare(images))
        x = seen["x"]
        n, length, width = x.shape
        heads = attention.num_heads
        qkv = attention.qkv(x).reshape(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        q, k = attention.q_norm(qkv[0]), attention.k_norm(qkv[1])
        weights = ((q * attention.scale) @ k.transpose(-2, -1)).softmax(-1).mean(1)[:, 0, 1:]
    hook.remove()
    expected = weights.reshape(n, *found.focus.shape[1:]).numpy()
    expected -= expected.min(axis=(1, 2), keepdims=True)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found.focus, expected, atol=1e-4)
    assert attention.fused_attn in (True, False, 0, 1, 2)
    assert not attention.attn_drop._forward_pre_hooks


def test_a_convolutional_network_shows_likeness_to_its_pooled_feature(rng):
    found = look(built("test_resnet"), prepare, list(rng.normal(size=(3, 64, 64, 3))))
    assert found is not None
    assert found.focus_is == "likeness"
    assert found.features.shape[0] == 3
    assert min(found.features.shape[1:3]) >= 8
    unit = found.features[1].reshape(-1, found.features.shape[-1])
    pooled = unit.mean(0)
    cosine = unit @ pooled / np.linalg.norm(unit, axis=1) / np.linalg.norm(pooled)
    expected = (cosine - cosine.min()) / (cosine.max() - cosine.min())
    np.testing.assert_allclose(found.focus[1].ravel(), expected, atol=1e-4)


def test_a_network_without_layers_shows_nothing(rng):
    backbone = built("test_resnet")
    backbone.net = torch.nn.Flatten()
    assert look(backbone, prepare, list(rng.normal(size=(1, 64, 64, 3)))) is None


def test_a_network_of_ones_own_shows_what_it_pools(rng):
    class Own(torch.nn.Module):
        def forward_features(self, images):
            return torch.nn.functional.avg_pool2d(images, 4)

    backbone = built("test_resnet")
    backbone.net = Own()
    images = list(rng.normal(size=(2, 64, 64, 3)).astype(np.float32))
    found = look(backbone, prepare, images)
    assert found is not None
    expected = Own().forward_features(prepare(images)).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(found.features, expected)


def test_colours_follow_the_principal_components(rng):
    features = rng.normal(size=(2, 5, 6, 10)).astype(np.float32)
    features[..., 3] *= 20
    colours = principal_colours(features)
    assert colours.shape == (2, 5, 6, 3)
    scores = PCA(3, svd_solver="full").fit_transform(features.reshape(-1, 10).astype(float))
    for channel in range(3):
        between = np.corrcoef(scores[:, channel], colours[..., channel].ravel().astype(float))[0, 1]
        assert abs(between) > 0.98
    # The largest weight is positive: the strong feature is bright where it is high.
    assert np.corrcoef(features[..., 3].ravel(), colours[..., 0].ravel().astype(float))[0, 1] > 0.9


def test_one_colour_means_one_thing_in_every_image():
    features = np.zeros((2, 4, 4, 5), np.float32)
    features[0, :2] = [1, 0, 0, 0, 0]
    features[1, 2:] = [1, 0, 0, 0, 0]
    features[0, 2:] = [0, 1, 0, 0, 0]
    features[1, :2] = [0, 1, 0, 0, 0]
    colours = principal_colours(features)
    assert (colours[0, :2] == colours[1, 2, 0]).all()
    assert (colours[0, 2:] == colours[1, 0, 0]).all()
    assert (colours[0, 0, 0] != colours[0, 3, 0]).any()
