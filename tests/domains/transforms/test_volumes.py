from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from domainjepa.domains.astronomy import Astronomy
from domainjepa.domains.ct import CT
from domainjepa.domains.domain import Domain
from domainjepa.domains.electron import Electron
from domainjepa.domains.mri import MRI
from domainjepa.domains.natural import Natural
from domainjepa.domains.transforms.volumes import Mirror, Pose, Symmetries, Turn, VolumeTransform
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.errors import ConfigError
from domainjepa.views.resampling import Cube, Volume

SPEC = ViewSpec(16, (0.3, 1.0), 2, np.dtype(np.float32))
DOMAINS: list[Domain] = [Natural(), Astronomy(), CT(), MRI(), Electron()]


def step(domain: Domain, name: str) -> Any:
    found = {one.name: one.transform for one in domain.volume_transforms(SPEC)}[name]
    found.prob = 1.0
    return found


def test_turns_are_rotations_of_at_most_so_many_degrees() -> None:
    random = np.random.default_rng(0)
    for degrees in (10.0, 180.0):
        drawn = np.stack([Turn(degrees).draw(random) for _ in range(200)])
        np.testing.assert_allclose(drawn @ drawn.swapaxes(1, 2) - np.eye(3), 0, atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(drawn), 1.0)
        angles = np.degrees(np.arccos((np.trace(drawn, axis1=1, axis2=2) - 1) / 2))
        assert angles.max() <= min(degrees * np.sqrt(3) + 1e-9, 180)
        if degrees == 180.0:
            # Of any orientation: the mean matrix is zero, the mean angle pi / 2 + 2 / pi.
            assert np.abs(drawn.mean(0)).max() < 0.15
            assert np.radians(angles.mean()) == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.15)


def test_mirrors_reverse_their_axes_alone_in_half_of_the_draws() -> None:
    random = np.random.default_rng(0)
    signs = np.stack([np.diag(Mirror((0, 2)).draw(random)) for _ in range(400)])
    assert set(signs.ravel().tolist()) == {1.0, -1.0}
    assert (signs[:, 1] == 1).all()
    np.testing.assert_allclose(signs[:, [0, 2]].mean(0), 0, atol=0.15)


def kept_still(matrix: np.ndarray) -> bool:
    """Whether D, the first axis, stays D."""
    return bool(np.abs(matrix[0, 0]) == 1)


@pytest.mark.parametrize(
    ("spacing", "count"),
    [((1, 1, 1), 48), ((1.2, 1.0, 1.1), 48), ((40, 4, 4), 16), ((4, 40, 4), 16), ((1, 2, 4), 8)],
)
def test_symmetries_take_axes_to_axes_of_like_resolution(
    spacing: tuple[float, float, float], count: int
) -> None:
    random = np.random.default_rng(0)
    drawn = np.stack([Symmetries().draw(random, spacing) for _ in range(1500)])
    assert (np.sort(np.abs(drawn), axis=2) == [0, 0, 1]).all()
    np.testing.assert_array_equal(drawn @ drawn.swapaxes(1, 2), np.tile(np.eye(3), (1500, 1, 1)))
    different, counts = np.unique(drawn.reshape(-1, 9), axis=0, return_counts=True)
    assert len(different) == count
    assert counts.min() > 0.3 * 1500 / count
    if spacing == (40, 4, 4):
        assert all(kept_still(one) for one in drawn)


def test_sections_that_lie_far_apart_stay_sections_of_the_view() -> None:
    source = np.random.default_rng(0).uniform(size=(8, 32, 32, 1)).astype(np.float32)
    volume = Volume.of_array(source, (4.0, 1.0, 1.0), lambda part: part)
    random = np.random.default_rng(1)
    for _ in range(20):
        axes = Symmetries().draw(random, volume.spacing)
        cube = Cube(volume.extent / 2, 16.0, 16, axes)
        view = volume.block([cube]).sample(cube)[0].numpy()
        steps = [np.abs(np.diff(view, axis=axis)).mean() for axis in range(3)]
        assert steps[0] < min(steps[1:]) / 2, "between sections values are interpolated"


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda one: one.name)
def test_a_transform_is_a_function_of_its_seed(domain: Domain) -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(0.4, 0.3, (2, 16, 16, 16)))
    values = values.float()
    before = values.clone()
    for one in domain.volume_transforms(SPEC):
        if one.transform is None or isinstance(one.transform, Pose):
            continue
        one.transform.prob = 1.0
        made = []
        for seed in (1, 2, 1):
            one.transform.set_random_state(seed=seed)
            made.append(np.asarray(one.transform(values)))
        assert made[0].shape == values.shape, one.name
        assert made[0].dtype == np.float32, one.name
        assert np.isfinite(made[0]).all(), one.name
        np.testing.assert_array_equal(made[0], made[2], err_msg=one.name)
        assert (made[0] != made[1]).any(), one.name
        assert torch.equal(values, before), f"{one.name} changes its input"


def test_bodies_have_a_left_and_a_right() -> None:
    for domain in (CT(), MRI()):
        kinds = [type(one.transform) for one in domain.volume_transforms(SPEC)]
        assert Mirror not in kinds
        (turn,) = [
            one.transform
            for one in domain.volume_transforms(SPEC)
            if isinstance(one.transform, Turn)
        ]
        assert turn.degrees < 45


def test_the_bias_field_is_smooth_and_positive() -> None:
    bias = step(MRI(), "bias field")
    bias.set_random_state(seed=3)
    field = np.asarray(bias(torch.ones(1, 16, 16, 16)))[0]
    assert field.min() > 0
    assert field.std() > 0.01
    # A polynomial of degree 3: fourth differences vanish in its logarithm.
    for axis in range(3):
        np.testing.assert_allclose(np.diff(np.log(field), 4, axis=axis), 0, atol=1e-4)


def test_gibbs_keeps_low_frequencies_alone() -> None:
    gibbs = step(MRI(), "Gibbs")
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 16, 16, 16))).float()
    gibbs.set_random_state(seed=5)
    rung = np.asarray(gibbs(values))
    before, after = (np.abs(np.fft.fftn(one[0])) for one in (values.numpy(), rung))
    assert after[0, 0, 0] == pytest.approx(before[0, 0, 0], rel=1e-3)  # the mean stays
    assert after[8, 8, 8] < 0.05 * before[8, 8, 8]


def test_noise_has_at_most_the_stated_strength() -> None:
    noise = step(MRI(), "noise")
    strengths = []
    for seed in range(30):
        noise.set_random_state(seed=seed)
        strengths.append(float(np.asarray(noise(torch.zeros(1, 12, 12, 12))).std()))
    assert 0.04 < max(strengths) <= 0.083
    assert min(strengths) < 0.04


def test_gains_and_offsets_are_of_whole_channels() -> None:
    values = torch.full((2, 4, 4, 4), 0.5)
    for name, reach in (("gain", 0.5 * 0.15), ("offset", 0.05)):
        change = step(CT(), name)
        change.set_random_state(seed=1)
        moved = np.asarray(change(values)) - 0.5
        assert np.ptp(moved, axis=(1, 2, 3)).max() < 1e-6
        assert moved[0, 0, 0, 0] != moved[1, 0, 0, 0]
        assert 0 < np.abs(moved).max() <= reach + 1e-6


def test_transforms_are_left_out_by_name() -> None:
    names = [one.name for one in MRI(without=("Gibbs", "rotation")).kept_of_volumes(SPEC)]
    assert names[0] == "crop"
    assert "Gibbs" not in names
    assert "rotation" not in names
    with pytest.raises(ConfigError, match="no transform 'gibs'"):
        MRI(without=("gibs",)).kept_of_volumes(SPEC)
    with pytest.raises(ConfigError, match="'crop'"):
        MRI(without=("crop",)).kept_of_volumes(SPEC)


def test_a_domain_of_ones_own_says_what_varies() -> None:
    class Own(Natural):
        name = "own"

        def volume_transforms(self, spec: ViewSpec) -> list[VolumeTransform]:
            return super().volume_transforms(spec)[:2]

    assert [one.name for one in Own().kept_of_volumes(SPEC)] == ["crop", "rotation"]
