"""No view is burnt out, whatever the domain; and the measure sees one that is."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from domainjepa.domains.domain import Domain
from domainjepa.domains.natural import Natural
from domainjepa.domains.transforms.bands import Background, Gain
from domainjepa.domains.transforms.latitude import NEWLY, developed
from domainjepa.domains.view_spec import ViewSpec, ViewTransform
from domainjepa.registry import DOMAINS
from domainjepa.views.tones import LEAST_CONTRAST, MOST_CLIPPED, local_contrast, tones


def picture(
    low: float, high: float, channels: int, seed: int = 0, grain: float = 4.0
) -> NDArray[np.float32]:
    """(96, 96, C) smooth structures with values from low to high, and a little noise."""
    draw = np.random.default_rng(seed)
    light = gaussian_filter(draw.normal(size=(96, 96, channels)), (grain, grain, 0))
    ranks = light.argsort(axis=None).argsort().reshape(light.shape) / light.size
    noisy = low + (high - low) * ranks + draw.normal(0, 0.004, light.shape)
    return noisy.clip(0, 1).astype(np.float32)


def bright(channels: int, seed: int = 0) -> NDArray[np.float32]:
    """As a chest radiograph: most of it bright, black outside of the field."""
    image = picture(0.45, 0.98, channels, seed)
    image[:, :10] = 0
    return image


def dark(channels: int, seed: int = 0) -> NDArray[np.float32]:
    """As a sky: a few levels above black, and one source."""
    down, right = np.mgrid[-1:1:96j, -1:1:96j]
    source = np.exp(-(down**2 + right**2) / 0.05)[..., None]
    return np.asarray(picture(0.01, 0.05, channels, seed) + 0.8 * source, np.float32).clip(0, 1)


def islands(channels: int, seed: int = 0) -> NDArray[np.float32]:
    """As a thresholded map of an interferometer."""
    image = dark(channels, seed)
    return np.where(image > 0.06, image, np.float32(0))


def full(channels: int, seed: int = 0) -> NDArray[np.float32]:
    return picture(0.02, 0.98, channels, seed)


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        (name, scene)
        for name, scene in product(DOMAINS.builtin, (bright, dark, islands, full))
        # Light shines through a slide; and noise may carry a map below its threshold of zero.
        if (name, scene) not in (("histopathology", dark), ("radio", dark))
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
def test_no_view_is_burnt_out(name: str, scene: Any, dtype: Any, local: bool) -> None:
    images = []
    for seed in range(4):
        image = scene(3 if name in ("natural", "histopathology") else 1, seed)
        images.append(np.rint(image * 255).astype(np.uint8) if dtype is np.uint8 else image)
    size, scale = (32, (0.05, 0.3)) if local else (64, (0.3, 1.0))
    spec = ViewSpec(size, scale, images[0].shape[2], np.dtype(dtype), local)
    found = tones(DOMAINS.load(name)(), images, spec, draws=100)
    assert found.clipped <= MOST_CLIPPED
    assert found.contrast >= LEAST_CONTRAST


class Harsh(Natural):
    """A flat grey fog in the place of light, which no latitude can mend."""

    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        fog = [Gain((0.2, 0.3)), Background(0.02)]
        return [super().transforms(spec)[0], *(ViewTransform(str(f), "fog", f) for f in fog)]


def test_lost_contrast_is_seen() -> None:
    images = [np.rint(full(3) * 255).astype(np.uint8)]
    domain: Domain = Harsh()
    found = tones(domain, images, ViewSpec(64, (0.3, 1.0), 3, np.dtype(np.uint8)), draws=50)
    assert found.contrast == pytest.approx(0.2, abs=0.02)
    assert not found.well


@pytest.mark.parametrize(("gain", "offset"), [(2.0, 0.0), (1.0, -0.5), (1.0, 0.6), (1.3, -0.1)])
def test_tones_beyond_the_range_come_back_in_their_order(gain: float, offset: float) -> None:
    before = np.rint(255 * picture(0.1, 0.9, 1, grain=1.0)).astype(np.uint8)
    values = before * np.float32(gain / 255) + np.float32(offset)
    found = developed(values, before)
    clipped = ((found == 0) | (found == 255)).mean() - ((before == 0) | (before == 255)).mean()
    assert clipped <= 2 * NEWLY + 0.01
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(found.ravel()[order].astype(int)) >= 0).all()
    slope = np.polyfit(values.ravel(), found.ravel() / 255, 1)[0]
    assert slope == pytest.approx(1 / max(1, (gain * 0.9 + max(offset, -0.1 * gain))), rel=0.12)


def test_what_fits_is_rounded_and_nothing_else() -> None:
    before = np.rint(255 * picture(0.2, 0.8, 3)).astype(np.uint8)
    values = before * np.float32(1.1 / 255) + np.float32(0.01)
    np.testing.assert_array_equal(developed(values, before), np.rint(values * 255))


def test_black_stays_black_where_nothing_is_below_it() -> None:
    before = np.zeros((64, 64, 1), np.uint8)
    before[20:40, 20:40] = 200
    values = before * np.float32(1.5 / 255)
    found = developed(values, before)
    assert (found[before == 0] == 0).all()
    assert (found[before > 0] > 250).all()


@pytest.mark.parametrize("level", [0, 255])
def test_a_blank_picture_stays_one(level: int) -> None:
    before = np.full((16, 16, 3), level, np.uint8)
    np.testing.assert_array_equal(developed(before * np.float32(1 / 255), before), before)


def test_local_contrast_of_noise_is_its_standard_deviation() -> None:
    noise = np.random.default_rng(0).normal(0.5, 0.1, (256, 256, 1)).astype(np.float32)
    assert local_contrast(noise) == pytest.approx(0.1, rel=0.02)
