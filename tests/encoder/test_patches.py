from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional

from domainjepa import registry
from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import Grid, hypercolumn
from domainjepa.config import BackboneConfig
from domainjepa.encoder import sliding
from domainjepa.encoder.artefact import EncoderCard, save_encoder
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.sliding import patches_of
from domainjepa.errors import DataError, UserError

STRIDE = 4
DRAW = np.random.default_rng(5)


class Known(nn.Module):
    """Patches of 4 pixels, each its mean and its pixel number 5: known in closed form."""

    def __init__(self, channels: int, size: int, dimensions: int = 2) -> None:
        super().__init__()
        kernel = torch.zeros(2, channels, *[STRIDE] * dimensions)
        kernel[0] = 1 / kernel[0].numel()
        kernel[(1, 0, *[1] * dimensions)] = 1
        self.weight = nn.Parameter(kernel)
        self.dimensions = dimensions

    def forward_features(self, images: Tensor) -> Tensor:
        convolve = functional.conv2d if self.dimensions == 2 else functional.conv3d
        return convolve(images, self.weight, stride=STRIDE)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images).flatten(2).mean(2)


def known(channels: int, size: int) -> nn.Module:
    return Known(channels, size)


def known_volumes(channels: int, size: int) -> nn.Module:
    return Known(channels, size, 3)


known_volumes.dimensions = 3  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def plugged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__
    points = EntryPoints(
        EntryPoint(name, f"{here}:{made}", "domainjepa.backbones")
        for name, made in (("known", "known"), ("known3", "known_volumes"))
    )
    monkeypatch.setattr(registry, "_installed", lambda group: points.select(group=group))


@pytest.fixture
def encoder(tmp_path: Path) -> Callable[..., FrozenEncoder]:
    """An encoder of one channel whose intensity and standardisation change nothing."""

    def made(name: str = "known", size: int = 16, **settings: Any) -> FrozenEncoder:
        spacing = settings.pop("voxel", None)
        card = EncoderCard(
            backbone=BackboneConfig(name=name, stem_reduction=1),
            channels=1,
            size=size,
            spacing=spacing,
            dtype="float32",
            domain="natural",
            intensity={"kind": "linear", "low": [0.0], "high": [1.0]},
            mean=(0.0,),
            std=(1.0,),
            data={},
            step=1,
            config={},
            versions={},
        )
        path = tmp_path / f"{name.replace(':', '')}.safetensors"
        save_encoder(path, Backbone(card.backbone, 1, size), card)
        return FrozenEncoder(path, output="patches", batch_size=3, **settings)

    return made


def blocks(image: np.ndarray) -> np.ndarray:
    """(H, W) -> (h, w, 2): what `Known` says of an image, by numpy."""
    height, width = image.shape
    parts = image.reshape(height // STRIDE, STRIDE, width // STRIDE, STRIDE).swapaxes(1, 2)
    return np.stack([parts.mean((2, 3)), parts[:, :, 1, 1]], axis=2)


@pytest.mark.parametrize("sides", [(16, 16), (20, 44), (4, 8), (1100, 640)])
def test_a_known_network_gives_known_patches(
    encoder: Callable[..., FrozenEncoder], sides: tuple[int, int]
) -> None:
    images = DRAW.random((2, *sides)).astype(np.float32)
    found = encoder().transform(images)
    expected = np.stack([blocks(image) for image in images])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_an_image_is_filled_up_at_its_end_with_what_is_there(
    encoder: Callable[..., FrozenEncoder],
) -> None:
    image = DRAW.random((17, 22)).astype(np.float32)
    expected = blocks(np.pad(image, ((0, 3), (0, 2)), mode="edge"))
    np.testing.assert_allclose(encoder().transform(image[None])[0], expected, rtol=1e-5)


def test_images_of_several_sizes_come_one_by_one(encoder: Callable[..., FrozenEncoder]) -> None:
    images = [DRAW.random(sides).astype(np.float32) for sides in ((8, 8), (8, 8), (12, 8), (8, 8))]
    found = list(encoder().patches(images))
    assert [one.features.shape for one in found] == [(2, 2, 2), (2, 2, 2), (3, 2, 2), (2, 2, 2)]
    for one, image in zip(found, images, strict=True):
        np.testing.assert_allclose(one.features, blocks(image), rtol=1e-5)
        assert one.pitch == (STRIDE, STRIDE)
    with pytest.raises(DataError, match="2x2 and 3x2 positions"):
        encoder().transform(images)


def test_scale_and_pitch(encoder: Callable[..., FrozenEncoder]) -> None:
    image = np.repeat(np.repeat(DRAW.random((8, 8)), 2, 0), 2, 1).astype(np.float32)
    (half,) = encoder(scale=0.5).patches(image[None])
    np.testing.assert_allclose(half.features, blocks(image[::2, ::2]), rtol=1e-5)
    assert half.pitch == (8, 8)


def test_a_volume_of_anisotropic_voxels(encoder: Callable[..., FrozenEncoder]) -> None:
    # Constant along D in pairs of slices: voxels of 1 x 2 x 2 mm seen at 2 mm are pairs of slices.
    volume = np.repeat(DRAW.random((44, 20, 12)), 2, axis=0).astype(np.float32)
    volumes = encoder("known3", 16, voxel=2.0, spacing=(1.0, 2.0, 2.0), window=16)
    (found,) = volumes.patches(volume[None])
    assert found.features.shape == (11, 5, 3, 2)
    assert found.pitch == (8, 4, 4)
    parts = volume[::2].reshape(11, 4, 5, 4, 3, 4)
    np.testing.assert_allclose(found.features[..., 0], parts.mean((1, 3, 5)), rtol=1e-4)
    np.testing.assert_allclose(found.features[..., 1], parts[:, 1, :, 1, :, 1], rtol=1e-3)


def test_windows_of_an_equivariant_network_are_the_whole() -> None:
    weight = torch.randn(3, 1, 2, 2)

    def network(images: Tensor) -> Tensor:
        return functional.conv2d(
            functional.conv2d(images, weight, stride=2).relu(), torch.ones(1, 3, 1, 1)
        )

    images = torch.randn(2, 1, 50, 38)
    whole = network(images)
    for window, overlap in ((16, 0.25), (16, 0.5), (10, 0.0), (2, 0.9)):
        found = patches_of(images, network, Grid(2, False, 1), window, overlap)
        torch.testing.assert_close(found, whole)


def test_coarse_maps_lie_where_they_should_in_images_of_any_size() -> None:
    """A ramp is the same ramp at every stride, whether or not the strides divide its sides."""

    def network(images: Tensor) -> Tensor:
        return hypercolumn([functional.avg_pool2d(images, 2), functional.avg_pool2d(images, 16)])

    ramp = torch.arange(60.0).expand(1, 1, 38, 60)
    fine, coarse = patches_of(ramp, network, Grid(2, False, 2, 16), 64)[0]
    assert fine.shape == (19, 30)
    inside = slice(4, 19)  # between centres of whole coarse positions
    torch.testing.assert_close(coarse[:, inside], fine[:, inside])


def test_borders_of_windows_weigh_little() -> None:
    """Zeros that a padded convolution takes in at a window's border fade with the overlap."""

    def network(images: Tensor) -> Tensor:
        return functional.avg_pool2d(images, 3, 1, 1)

    images = torch.ones(1, 1, 48, 8)
    error = [
        (patches_of(images, network, Grid(1, False, 1), 16, overlap)[0, 0, 8:-8, 4] - 1).abs().max()
        for overlap in (0.0, 0.25, 0.5)
    ]
    assert error[0] == pytest.approx(1 / 3)
    assert error[0] > 3 * error[1] > 3 * error[2]


@pytest.mark.parametrize("fixed", [False, True])
def test_few_pixels_go_through_at_once(monkeypatch: pytest.MonkeyPatch, fixed: bool) -> None:
    monkeypatch.setitem(sliding.MOST, 2, 2 * 16**2)
    seen: list[tuple[int, ...]] = []

    def network(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape))
        return functional.avg_pool2d(images, 4)

    patches_of(torch.zeros(1, 1, 8, 60), network, Grid(4, fixed, 1), 16)
    assert {shape[2:] for shape in seen} == {(16, 16) if fixed else (8, 16)}
    assert sum(shape[0] for shape in seen) == 5
    assert max(shape[0] for shape in seen) == (2 if fixed else 4)


def test_few_features_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliding, "FEATURES", 2 * 3 * 4**2)
    seen: list[int] = []

    def network(images: Tensor) -> Tensor:
        seen.append(len(images))
        return functional.avg_pool2d(images, 4)

    found = patches_of(torch.zeros(1, 3, 16, 64), network, Grid(4, False, 3), 16, 0.0)
    assert found.shape == (1, 3, 4, 16)
    assert seen == [2, 2]


def test_a_map_with_a_position_more_or_less_fits() -> None:
    images = torch.arange(16.0).expand(1, 1, 16, 16)
    more = patches_of(
        images,
        lambda x: functional.avg_pool2d(x, 4, 4, 1, count_include_pad=False),
        Grid(4, False, 1),
        16,
    )
    less = patches_of(images, lambda x: functional.avg_pool2d(x, 5, 4), Grid(4, False, 1), 16)
    assert more.shape == less.shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scale": 0.0}, "scale=0"),
        ({"scale": float("nan")}, "scale=nan"),
        ({"window": 0}, "window=0"),
        ({"overlap": 1.0}, "overlap=1"),
        ({"layers": 3}, "layers"),
        ({"output": "pixels"}, "pooled or patches"),
    ],
)
def test_settings_that_cannot_be(
    encoder: Callable[..., FrozenEncoder], settings: dict[str, Any], told: str
) -> None:
    made = encoder().set_params(**settings)
    with pytest.raises(UserError, match=told):
        made.transform(np.zeros((1, 8, 8), np.float32))


def test_the_identity_of_features_covers_how_they_are_read(
    encoder: Callable[..., FrozenEncoder],
) -> None:
    made = encoder()
    several = [
        {},
        {"scale": 2.0},
        {"layers": -1},
        {"layers": (-1,)},
        {"window": 8},
        {"overlap": 0.5},
    ]
    sums = [made.set_params(**one).sha256 for one in several]
    assert len(set(sums)) == len(several)
    pooled = made.set_params(output="pooled")
    assert pooled.sha256 == pooled.card.sha256


def test_a_pipeline_keeps_the_settings(encoder: Callable[..., FrozenEncoder]) -> None:
    copy = clone(encoder(scale=0.5, layers="last"))
    assert copy.transform(np.zeros((2, 16, 16), np.float32)).shape == (2, 2, 2, 2)
    assert copy.get_feature_names_out().tolist() == ["known_0", "known_1"]
