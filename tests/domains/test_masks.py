from __future__ import annotations

import numpy as np
import pytest

from domainjepa.config import ViewsConfig
from domainjepa.domains.intensity import Windows
from domainjepa.domains.masks import masked_view, missing_pixels
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.registry import DOMAINS
from domainjepa.views.views import ViewMaker
from tests.domains.seeding import seeded

FLOAT32 = np.dtype(np.float32)


def test_missing_is_what_is_not_finite() -> None:
    image = np.ones((3, 3, 2), np.float32)
    assert missing_pixels(image) is None
    assert missing_pixels(image.astype(np.int16)) is None
    image[0, 1, 1], image[2, 2, 0] = np.nan, np.inf
    missing = missing_pixels(image)
    assert missing is not None
    assert missing.sum() == 2
    assert missing[0, 1, 1] == missing[2, 2, 0] == 1


@pytest.mark.parametrize("name", DOMAINS.builtin)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_missing_pixels_stay_0_through_every_domain(name: str, channels: int) -> None:
    """Half of the image is missing: no blur, noise or background makes data of it."""
    image = np.random.default_rng(0).uniform(0.3, 0.7, (48, 48, channels)).astype(np.float32)
    image[:, :24] = np.nan
    missing = missing_pixels(image)
    filled = np.nan_to_num(image, nan=0.0)
    chain = DOMAINS.load(name)().chain(ViewSpec(32, (0.8, 1.0), channels, FLOAT32))
    zeros = 0
    for seed in range(10):
        view = masked_view(seeded(chain, seed), filled, missing)
        assert view.shape == (32, 32, channels)
        assert np.isfinite(view).all()
        zeros += np.mean(view == 0)
    assert zeros / 10 > 0.35


def test_a_view_without_missing_pixels_is_the_chains_own() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (40, 40, 3)).astype(np.float32)
    chain = DOMAINS.load("astronomy")().chain(ViewSpec(32, (0.5, 1.0), 3, FLOAT32))
    np.testing.assert_array_equal(
        masked_view(seeded(chain), image, missing_pixels(image)),
        seeded(chain)(image=image)["image"],
    )


def test_a_mask_of_one_channel_covers_all_windows_made_of_it() -> None:
    image = np.full((40, 40, 1), 40.0, np.float32)
    image[:20] = np.nan
    shown = Windows(levels=(40.0, 50.0), widths=(80.0, 400.0))(image)
    chain = DOMAINS.load("radiography")().chain(ViewSpec(24, (0.9, 1.0), 2, FLOAT32))
    view = masked_view(seeded(chain), shown, missing_pixels(image))
    np.testing.assert_array_equal(view[..., 0] == 0, view[..., 1] == 0)
    assert 0.3 < np.mean(view == 0) < 0.7


def test_whole_views_of_a_masked_survey_hold_no_made_up_pixels() -> None:
    """From stored NaN to the view: asinh, sky noise, background and all."""
    image = np.random.default_rng(0).normal(100, 5, (48, 48, 5))
    image[:, :24, 2] = np.nan
    domain = DOMAINS.load("astronomy")()
    views = ViewsConfig(global_size=32, local_size=16, num_global=8, num_local=0)
    made = ViewMaker(domain, domain.fit_intensity([image]), views, 0)(image, epoch=0, sample=0)
    for view in made:
        assert np.isfinite(view).all()
    shares = np.mean([(view == 0).mean(axis=(0, 1)) for view in made], axis=0)
    assert 0.2 < shares[2] < 0.8
    assert shares[[0, 1, 3, 4]].max() < 0.01
