from __future__ import annotations

import numpy as np
import pytest
import torch

from domainjepa.domains.transforms.sections import MissingSections, SectionDrift
from domainjepa.domains.transforms.volume_change import VolumeChange, VolumePhotonNoise

CHANGES: list[VolumeChange] = [
    SectionDrift(prob=1.0),
    MissingSections(prob=1.0),
    VolumePhotonNoise(prob=1.0),
]


def changed(change: VolumeChange, volume: torch.Tensor, seed: int) -> np.ndarray:
    change.set_random_state(seed)
    return change(volume).numpy()


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: type(one).__name__)
def test_a_change_is_a_function_of_its_seed_and_leaves_its_input(change: VolumeChange) -> None:
    volume = torch.rand(2, 12, 8, 8)
    before = volume.clone()
    first, other, again = (changed(change, volume, seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert torch.equal(volume, before)


def test_probability_is_how_often_something_changes() -> None:
    change, volume = SectionDrift(prob=0.3), torch.rand(1, 6, 4, 4)
    kept = [np.array_equal(changed(change, volume, seed), volume) for seed in range(300)]
    assert np.mean(kept) == pytest.approx(0.7, abs=0.08)


def test_drift_is_one_gain_and_offset_a_section() -> None:
    """Black and white of each section tell both; all channels and places have the same."""
    volume = torch.zeros(2, 20, 5, 5)
    volume[:, :, 2:] = 1
    found = changed(SectionDrift(0.2, 0.05, prob=1.0), volume, 3)
    black, white = found[:, :, 0], found[:, :, 3]
    assert np.ptp(black, axis=(0, 2)).max() < 1e-6
    assert np.ptp(white, axis=(0, 2)).max() < 1e-6
    offsets, gains = black[0, :, 0], white[0, :, 0] - black[0, :, 0]
    assert offsets.mean() == pytest.approx(0, abs=1e-6)
    assert np.log(gains).mean() == pytest.approx(0, abs=1e-6)
    assert np.ptp(gains) > 0.01


def test_drift_is_a_random_walk() -> None:
    """Steps are independent, and those of a view add up to the stated standard deviation."""
    volume = torch.ones(1, 33, 1, 1)
    drift = SectionDrift(0.2, 0.0, prob=1.0)
    logs = np.log([changed(drift, volume, seed)[0, :, 0, 0] for seed in range(600)])
    steps = np.diff(logs, axis=1)
    assert steps.std() == pytest.approx(0.2 / np.sqrt(32), rel=0.05)
    assert (logs[:, -1] - logs[:, 0]).std() == pytest.approx(0.2, rel=0.1)
    neighbours = np.corrcoef(steps[:, :-1].ravel(), steps[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.03


def test_lost_sections_are_black_or_the_one_before() -> None:
    volume = 1 + torch.arange(40.0)[None, :, None, None].expand(2, 40, 3, 3)
    shares, black = [], 0
    for seed in range(200):
        found = changed(MissingSections(0.1, prob=1.0), volume, seed)
        assert np.ptp(found, axis=(0, 2, 3)).max() == 0
        levels = found[0, :, 0, 0]
        lost = np.flatnonzero(levels != np.arange(1, 41))
        assert 1 <= len(lost) <= 10
        shares.append(len(lost) / 39)
        empty = levels[lost] == 0
        assert empty.all() or not empty.any()
        black += empty.all()
        if not empty.any():
            np.testing.assert_array_equal(levels[lost], levels[lost - 1])
    assert np.mean(shares) == pytest.approx(0.053, abs=0.012)  # of 0 to 0.1, and one at least
    assert 70 < black < 130


def test_the_variance_of_counted_photons_is_the_signal_over_the_count() -> None:
    for level in (0.0, 0.2, 0.8):
        found = changed(
            VolumePhotonNoise((100.0, 100.0), prob=1.0), torch.full((1, 30, 30, 30), level), 1
        )
        assert found.mean() == pytest.approx(level, abs=0.003)
        assert found.std() == pytest.approx(np.sqrt(level / 100), rel=0.03)
