"""What holds nothing in images of the ground, and how they are turned."""

from __future__ import annotations

import numpy as np
import pytest

from domainjepa.config import IntensityConfig, ViewsConfig
from domainjepa.domains.aerial import Aerial
from domainjepa.domains.intensity import Linear
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.views.views import ViewMaker
from tests.domains.seeding import seeded

DRAW = np.random.default_rng(0)


def scene(bands: int = 4) -> np.ndarray:
    """(64, 64, bands) uint16 reflectances whose left third is outside of the swath."""
    image = DRAW.integers(300, 6000, (64, 64, bands)).astype(np.uint16)
    image[:, :20] = 0
    return image


def test_areas_of_zero_in_all_bands_hold_nothing() -> None:
    image = scene()
    image[40, 50] = 0  # a single black pixel is a shadow
    image[10:20, 40:50, 0] = 0  # one band alone may be dark
    missing = Aerial().missing(image)
    assert missing is not None
    assert missing.shape == image.shape
    assert missing[:, :20].all()
    assert not missing[:, 20:].any()
    assert Aerial().missing(image[:, 20:]) is None
    assert Aerial().missing(np.zeros((8, 8, 2), np.int16)) is None, "heights may be zero"
    floats = np.zeros((8, 8, 2), np.float32)
    floats[0, 0] = np.nan
    found = Aerial().missing(floats)
    assert found is not None
    assert found.sum() == 2


def test_nodata_stays_nothing_in_every_view_and_out_of_the_scale() -> None:
    domain, image = Aerial(), scene()
    intensity = domain.fit_intensity([image])
    assert isinstance(intensity, Linear)
    held = image[:, 20:].reshape(-1, 4)
    assert intensity.low == (0.0,) * 4
    np.testing.assert_allclose(intensity.high, np.percentile(held, 99.9, axis=0), rtol=0.01)
    assert (intensity(image)[:, :20] == 0).all()
    views = ViewsConfig(global_size=32, local_size=16)
    maker = ViewMaker(domain, intensity, views, seed=0)
    seen = np.concatenate(
        [
            view.reshape(-1, 4)
            for sample in range(5)
            for view in maker(image, epoch=0, sample=sample)
        ]
    )
    nothing = (seen == 0).all(axis=1)
    assert 0.1 < nothing.mean() < 0.6
    assert np.abs(seen[~nothing]).min() > 0, "noise and haze left the mask"


def test_decibels_keep_their_percentiles_and_a_stretch_of_ones_own_stays() -> None:
    decibels = DRAW.normal(-12, 3, (40, 40, 2)).astype(np.float32)
    intensity = Aerial().fit_intensity([decibels])
    assert isinstance(intensity, Linear)
    assert max(intensity.low) < -15
    own = Aerial(settings=IntensityConfig(stretch="percentile"))
    chosen = own.fit_intensity([scene()[:, 20:]])
    assert isinstance(chosen, Linear)
    assert min(chosen.low) > 0
    assert own.missing(scene()) is None


def test_a_data_set_of_nodata_alone_has_a_scale() -> None:
    empty = np.zeros((16, 16, 3), np.uint16)
    assert np.isfinite(Aerial().fit_intensity([empty])(empty)).all()


def test_four_quarter_turns_and_the_mirror_are_as_likely() -> None:
    """A whole image in its own size: each view is one of the eight, pixel by pixel."""
    image = DRAW.uniform(0, 1, (24, 24, 2)).astype(np.float32)
    eight = [np.rot90(one, turn) for one in (image, image[:, ::-1]) for turn in range(4)]
    crop = Aerial().transforms(ViewSpec(24, (1.0, 1.0), 2, np.dtype(np.float32)))[0].transform
    counts = np.zeros(8, int)
    for seed in range(400):
        view = seeded(crop, seed)(image=image)["image"]
        near = [np.abs(view - one).max() < 1e-4 for one in eight]
        assert sum(near) == 1
        counts += near
    assert counts.min() > 25
    assert counts.sum() == pytest.approx(400)
