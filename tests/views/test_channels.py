from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.stats import binomtest

from domainjepa.config import ViewsConfig
from domainjepa.data.opening import open_source
from domainjepa.domains.astronomy import Astronomy
from domainjepa.domains.intensity import Identity, Windows
from domainjepa.domains.measuring import measure_channels
from domainjepa.domains.microscopy import Microscopy
from domainjepa.errors import ConfigError
from domainjepa.pretraining.plan import make_plan
from domainjepa.views.channels import left_out
from domainjepa.views.views import ViewMaker
from domainjepa.views.volume_views import VolumeViews
from tests.conftest import tiny
from tests.data.toys import Lazy, toy

SIZES = ViewsConfig(
    num_global=2, num_local=2, global_size=16, local_size=8, channel_dropout=0.4, spacing=1.0
)


def test_channels_are_left_out_with_their_chance_and_one_always_stays() -> None:
    there = np.array([True, True, False, True])
    drawn = np.array([left_out(0.4, there, draw) for draw in range(4000)])
    assert not drawn[:, 2].any()
    assert (drawn.sum(axis=1) <= 2).all()
    # Independent ones, but for the case of all three, in which one of them stays.
    for channel in (0, 1, 3):
        chance = 0.4 - 0.4**3 / 3
        assert binomtest(int(drawn[:, channel].sum()), 4000, chance).pvalue > 1e-3
    alone = np.array([False, True, False])
    assert not any(left_out(0.99, alone, draw).any() for draw in range(50))
    assert not left_out(0.99, np.zeros(3, bool), 0).any()
    assert (left_out(0.4, there, 7) == left_out(0.4, there, 7)).all()


def test_views_do_without_channels_of_their_own_by_key() -> None:
    image = np.random.default_rng(0).uniform(0.2, 0.9, (24, 24, 4)).astype(np.float32)
    image[..., 1] = np.nan
    make = ViewMaker(Astronomy(), Identity(), SIZES, 5)
    plain = ViewMaker(Astronomy(), Identity(), SIZES.model_copy(update={"channel_dropout": 0.0}), 5)
    seen = set()
    for sample in range(40):
        views = make(image, epoch=1, sample=sample)
        for view, whole, again in zip(
            views,
            plain(image, epoch=1, sample=sample),
            make(image, epoch=1, sample=sample),
            strict=True,
        ):
            kept = view.any(axis=(0, 1))
            assert not kept[1]  # is not in the sample
            assert kept.any()
            np.testing.assert_array_equal(view[..., kept], whole[..., kept])
            np.testing.assert_array_equal(view, again)
            seen.add(tuple(kept.tolist()))
    assert len(seen) == 7  # every choice of three channels but none


def test_the_windows_of_a_stored_channel_go_together() -> None:
    image = np.random.default_rng(0).normal(40, 100, (24, 24, 2)).astype(np.float32)
    windows = Windows(levels=(40.0, 60.0), widths=(400.0, 300.0))
    make = ViewMaker(Microscopy(), windows, SIZES, 0)
    views = [view for sample in range(30) for view in make(image, epoch=0, sample=sample)]
    kept = np.array([view.any(axis=(0, 1)) for view in views])
    np.testing.assert_array_equal(kept[:, [0, 2]], kept[:, [1, 3]])
    assert 0 < kept[:, 0].mean() < 1


def test_channels_of_volumes_are_left_out_too() -> None:
    values = np.random.default_rng(0).uniform(0.2, 1, (20, 20, 20, 3)).astype(np.float32)
    values[..., 2] = np.nan
    source = toy(Lazy, [values], spacings=np.ones((1, 3)))
    intensity = Microscopy().fit_intensity([np.nan_to_num(values, nan=0.5)])
    make = VolumeViews(ViewMaker(Microscopy(), intensity, SIZES, 0))
    volume = make.volume(source, 0)
    kept = np.array(
        [
            view.any(axis=(1, 2, 3))
            for row in range(12)
            for view in make(volume, epoch=0, sample=row)
        ]
    )
    assert not kept[:, 2].any()
    assert kept.any(axis=1).all()
    assert {tuple(one) for one in kept[:, :2].tolist()} == {
        (True, True),
        (True, False),
        (False, True),
    }


def test_the_standardisation_is_of_what_is_there(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.normal(0.5, 0.1, (30, 16, 16, 2)).astype(np.float32)
    images[:20, ..., 1] = np.nan
    images[0, :4, :4, 0] = np.nan  # a part of a channel is 0, as ever
    with h5py.File(tmp_path / "bands.h5", "w") as file:
        file["images"] = images
    source = open_source(tmp_path / "bands.h5")
    domain = Microscopy()
    intensity, mean, std = measure_channels(source, source.rows(), domain, 0)
    shown = np.stack([intensity(image) for image in images]).astype(np.float64)
    for channel, rows in ((0, slice(None)), (1, slice(20, None))):
        pixels = shown[rows][..., channel]
        assert mean[channel] == pytest.approx(pixels.mean())
        assert std[channel] == pytest.approx(pixels.std())


def test_the_only_channel_is_not_left_out(tmp_path: Path, blobs: Path) -> None:
    with h5py.File(tmp_path / "grey.h5", "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 1), dtype=np.uint8)
    with pytest.raises(ConfigError, match="the samples have one: leave it out"):
        make_plan(tiny(tmp_path / "grey.h5", views__channel_dropout=0.2))
    notes = dict(make_plan(tiny(blobs, views__channel_dropout=0.2)).notes)
    assert "each does without 20 % of its channels, one stays" in notes["views"]
