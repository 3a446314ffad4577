from __future__ import annotations

import numpy as np
import pytest

from domainjepa.domains.intensity import Windows
from domainjepa.domains.transforms.hounsfield import HUNoise, WindowJitter
from tests.domains.seeding import grey, seeded


def test_a_jittered_window_is_a_window_inside_the_stored_one() -> None:
    """What comes out is what DICOM's function gives for the inner window on the stored values."""
    values = np.linspace(-200, 300, 2000, dtype=np.float32).reshape(40, 50, 1)
    level, width = 40.0, 401.0
    stored = Windows(levels=(level,), widths=(width,))(values)
    for seed in range(20):
        jitter = seeded(WindowJitter((0.6, 1.0), p=1), seed)
        params = jitter.get_params_dependent_on_data({"shape": stored.shape}, {})
        foot, share = float(params["feet"][0]), float(params["widths"][0])
        assert 0.6 <= share <= 1
        assert 0 <= foot <= 1 - share
        low = level - 0.5 - (width - 1) / 2 + foot * (width - 1)
        inner = Windows(levels=(low + share * (width - 1) / 2 + 0.5,), widths=(share * 400 + 1,))
        np.testing.assert_allclose(jitter.change(stored, **params), inner(values), atol=1e-5)


def test_windows_jitter_independently() -> None:
    image = grey(0.5, 4, 2)
    drawn = np.array(
        [seeded(WindowJitter(p=1), seed)(image=image)["image"][0, 0] for seed in range(300)]
    )
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.2
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)


def test_noise_is_the_same_in_hounsfield_units_for_all_windows() -> None:
    widths = (81.0, 401.0)
    noise = seeded(HUNoise(widths, (10.0, 10.0), p=1))(image=grey(0.5, 128, 4))["image"] - 0.5
    units = noise.reshape(128, 128, 2, 2) * (np.array(widths) - 1)
    np.testing.assert_allclose(units[..., 0], units[..., 1], atol=1e-3)
    assert units[:, :, 0, 0].std() == pytest.approx(10, rel=0.02)
    assert abs(np.corrcoef(units[:, :, 0, 0].ravel(), units[:, :, 1, 0].ravel())[0, 1]) < 0.03


def test_what_a_window_cuts_shows_no_noise() -> None:
    image = grey(0.0, 32, 2)
    image[..., 1] = 1
    np.testing.assert_array_equal(
        seeded(HUNoise((80.0, 400.0), (0.0, 20.0), p=1))(image=image)["image"], image
    )
