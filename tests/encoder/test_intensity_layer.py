"""Each intensity as a layer gives what its twin in numpy gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from domainjepa.domains.intensity import Asinh, Identity, Intensity, Linear, OwnScale, Windows
from domainjepa.encoder.intensity_layer import IntensityLayer
from domainjepa.errors import UserError

DRAW = np.random.default_rng(3)
STORED = DRAW.normal(200, 300, (3, 41, 30, 2)).astype(np.float32)
STORED[0, 3, :, 0] = np.nan
STORED[1, 5, 7] = np.inf
STORED[2, ..., 1] = np.nan

KINDS = [
    Linear(low=(0.0, -100.0), high=(500.0, 1000.0)),
    Asinh(sky=(150.0, 210.0), scale=(400.0, 90.0), softening=0.05),
    Windows(levels=(40.0, -600.0), widths=(80.0, 1.0)),
    OwnScale(floor=(10.0, 10.0)),
    OwnScale(signed=True, floor=(5000.0, 1.0)),
]


@pytest.mark.parametrize("intensity", KINDS, ids=lambda one: one.kind)
def test_images_and_volumes(intensity: Intensity) -> None:
    layer = IntensityLayer(intensity)
    for stored in (STORED, STORED.reshape(3, 41, 5, 6, 2)):
        with np.errstate(invalid="ignore"):
            expected = np.stack([intensity(one) for one in stored])
        found = layer(torch.from_numpy(np.moveaxis(stored, -1, 1)))
        np.testing.assert_allclose(
            np.moveaxis(found.numpy(), 1, -1), expected, rtol=1e-4, atol=1e-5
        )


def test_more_pixels_than_percentiles_look_at() -> None:
    image = DRAW.gamma(2, 100, (260, 250, 1)).astype(np.float32)
    intensity = OwnScale(floor=(1.0,))
    found = IntensityLayer(intensity)(torch.from_numpy(image).permute(2, 0, 1)[None])
    np.testing.assert_allclose(found[0, 0].numpy(), intensity(image)[..., 0], rtol=1e-4, atol=1e-5)


def test_units_beyond_float32() -> None:
    stored = np.array([[[[1e42], [3e42]]]])
    intensity = Linear(low=(0.0,), high=(4e42,))
    found = IntensityLayer(intensity)(torch.from_numpy(stored).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found.numpy().ravel(), [0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_eight_bits_are_of_255(dtype: torch.dtype) -> None:
    layer = IntensityLayer(Identity())
    assert layer(torch.tensor([[[[0, 51]]]], dtype=dtype)).tolist() == [
        [[[0.0, pytest.approx(0.2)]]]
    ]


def test_gradients_are_those_of_the_map() -> None:
    for intensity in (KINDS[1], KINDS[2]):
        values = torch.rand(1, 1, 2, 3, dtype=torch.float64) * 30 + 10
        if isinstance(intensity, Asinh):
            intensity = intensity.model_copy(update={"sky": (5.0,), "scale": (40.0,)})
        layer = IntensityLayer(intensity)
        values.requires_grad_(True)
        (slope,) = torch.autograd.grad(layer(values).sum(), values)
        step = 0.01
        with torch.no_grad():
            rise = (layer(values + step) - layer(values - step)).sum(1) / (2 * step)
        torch.testing.assert_close(slope[:, 0].float(), rise.float(), rtol=1e-2, atol=1e-4)


def test_an_intensity_of_others_is_told() -> None:
    class Mine(Identity):
        pass

    class Other(Intensity):
        def __call__(self, image: np.ndarray) -> np.ndarray:
            return image

        def describe(self) -> str:
            return "other"

    IntensityLayer(Mine())
    with pytest.raises(UserError, match="Other"):
        IntensityLayer(Other())
