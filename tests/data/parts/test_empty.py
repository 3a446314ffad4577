from __future__ import annotations

import numpy as np
import pytest

from domainjepa.data.parts.empty import background, holds_something

DRAW = np.random.default_rng(0)


def test_air_around_a_body_is_background_and_its_noise_too() -> None:
    air, tissue = DRAW.normal(-1000, 20, (7000, 1)), DRAW.normal(40, 30, (3000, 1))
    low, high = background(np.concatenate([air, tissue]))
    assert low[0] == -np.inf
    assert -940 < high[0] < -800
    assert not holds_something(air, low, high)
    assert holds_something(tissue, low, high)
    assert holds_something(np.concatenate([air, tissue[:80]]), low, high)
    assert not holds_something(np.concatenate([air, tissue[:50]]), low, high)  # under 1 %


def test_glass_around_tissue_is_background_in_every_channel_at_once() -> None:
    glass = DRAW.normal(243, 3, (5000, 3)).clip(0, 255).astype(np.uint8)
    tissue = DRAW.normal((180, 100, 160), 25, (5000, 3)).clip(0, 255).astype(np.uint8)
    low, high = background(np.concatenate([glass, tissue]))
    assert (high == np.inf).all()
    assert not holds_something(glass, low, high)
    red = glass.copy()
    red[:100, 1:] -= 120
    assert holds_something(red, low, high)


def test_noise_that_is_the_data_is_no_background() -> None:
    sky = DRAW.normal(0, 1, (10_000, 1))
    low, high = background(sky)
    assert np.isnan(low).all()
    assert holds_something(sky, low, high)


def test_soft_tissue_within_a_cropped_volume_is_no_background() -> None:
    tissue, lung = DRAW.normal(40, 10, (9000, 1)), DRAW.uniform(-1000, 100, (1000, 1))
    bone = DRAW.uniform(200, 1000, (300, 1))
    low, high = background(np.concatenate([tissue, lung, bone]))
    assert holds_something(tissue, low, high)


def test_a_sparse_map_holds_something_where_it_is_not_zero() -> None:
    pixels = np.zeros((10_000, 1), np.float32)
    pixels[:90] = 1
    low, high = background(pixels)
    assert low[0] == high[0] == 0
    assert not holds_something(pixels, low, high)
    assert holds_something(pixels[:5000], low, high)


@pytest.mark.parametrize("value", [0, 7, np.nan, -1e30])
def test_one_value_throughout_is_nothing(value: float) -> None:
    part = np.full((8, 8, 2), value, np.float32)
    nowhere = np.full(2, np.nan)
    assert not holds_something(part, nowhere, nowhere)
    low, high = background(part.reshape(-1, 2))
    assert not holds_something(part, low, high)


def test_missing_values_are_nothing_and_hide_nothing() -> None:
    part = np.full((10, 10, 1), np.nan, np.float32)
    part[0, :2, 0] = 1, 2
    nowhere = np.full(1, np.nan)
    assert holds_something(part, nowhere, nowhere)
    assert (np.isnan(background(np.full((5, 1), np.nan)))).all()


def test_integers_do_not_overflow() -> None:
    pixels = np.array([[-32768]] * 60 + [[32767]] * 40, np.int16)
    low, high = background(pixels)
    assert not holds_something(pixels[:60], low, high)
    assert holds_something(pixels[50:], low, high)
