from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from scipy.spatial.transform import Rotation

from domainjepa.data.metadata.rules import grouped_stratified, sky_groups

SHARES = {"train": 0.6207, "test": 0.3793}


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(set(a)) == len(set(b))


def test_sky_groups_agree_with_astropy_pair_by_pair() -> None:
    draw = np.random.default_rng(0)
    # A crowded field across the meridian of 0 h, one around the pole, and a chain.
    ra = np.concatenate([draw.normal(0, 0.1, 150) % 360, draw.uniform(0, 360, 100), [40, 40, 40]])
    dec = np.concatenate(
        [draw.normal(20, 0.1, 150), draw.uniform(89.8, 90, 100), [0, 0.018, 0.036]]
    )
    radius = 67.0
    sky = SkyCoord(ra, dec, unit="deg")
    near = sky[:, None].separation(sky[None, :]).to_value(units.arcsec) <= radius
    reached = np.linalg.matrix_power(near.astype(float), 16) > 0  # components, the plain way
    for _ in range(6):
        reached = (reached.astype(float) @ reached.astype(float)) > 0
    expected = reached.argmax(axis=1)
    groups = sky_groups(ra, dec, radius)
    assert same_partition(groups, expected)
    assert groups[-1] == groups[-3]  # 130 arcsec apart, joined through the middle one
    assert 1 < len(set(groups.tolist())) < len(ra)


def test_sky_groups_are_numbered_by_first_appearance() -> None:
    groups = sky_groups(np.array([10.0, 200, 10, 50, 200]), np.zeros(5), 1)
    assert groups.tolist() == [0, 1, 0, 2, 1]


def test_an_unknown_position_is_alone() -> None:
    groups = sky_groups(np.array([np.nan, 10, np.nan, 10]), np.zeros(4), 1)
    assert groups.tolist() == [0, 1, 2, 1]


def test_sky_groups_do_not_depend_on_where_the_poles_are() -> None:
    draw = np.random.default_rng(1)
    unit = draw.normal(size=(300, 3)) * 0.001 + [0, 0, 1]
    turned = Rotation.from_euler("xyz", [70, 20, 10], degrees=True).apply(unit)
    results = []
    for vectors in (unit, turned):
        x, y, z = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
        results.append(sky_groups(np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(z)), 20))
    assert same_partition(*results)


def survey() -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by class, as Galaxy10's; some groups of two or three over class borders."""
    draw = np.random.default_rng(2)
    labels = np.repeat(np.arange(5), [300, 40, 17, 500, 143])
    groups = np.arange(1000)
    tied = draw.permutation(1000)[:90].reshape(30, 3)
    groups[tied[:, 1:]] = groups[tied[:, :1]]
    return labels, groups


@pytest.mark.parametrize(
    "shares", [SHARES, {"train": 0.8, "test": 0.2}, {"train": 0.7, "val": 0.1, "test": 0.2}]
)
def test_no_group_is_split_and_every_class_has_its_share(shares: dict[str, float]) -> None:
    labels, groups = survey()
    split = grouped_stratified(labels, groups, 1000, shares, seed=0)
    for group in np.unique(groups):
        assert len(set(split[groups == group])) == 1
    for part, share in shares.items():
        assert (split == part).mean() == pytest.approx(share, abs=0.005)
        for label in range(5):
            own = labels == label
            # Rounding, and a group of three that cannot be divided.
            assert abs((split[own] == part).sum() - share * own.sum()) <= 2


def test_the_split_is_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from domainjepa.data.metadata.rules import grouped_stratified as g;"
        "print(''.join(g(np.arange(90) % 4, np.arange(90) // 2, 90,"
        "{'train': 0.6207, 'test': 0.3793}, 0)))"
    )
    outputs = set()
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        outputs.add(run.stdout.strip())
    here = grouped_stratified(np.arange(90) % 4, np.arange(90) // 2, 90, SHARES, 0)
    assert outputs == {"".join(here)}


def test_another_seed_is_another_split_and_numbering_groups_anew_is_not() -> None:
    labels, groups = survey()
    split = grouped_stratified(labels, groups, 1000, SHARES, seed=0)
    assert (split != grouped_stratified(labels, groups, 1000, SHARES, seed=1)).mean() > 0.2
    renamed = np.random.default_rng(3).permutation(5000)[groups]
    np.testing.assert_array_equal(split, grouped_stratified(labels, renamed, 1000, SHARES, seed=0))


def test_without_labels_and_groups_the_shares_hold() -> None:
    split = grouped_stratified(None, None, 250, {"train": 0.8, "test": 0.2}, seed=0)
    assert (split == "train").sum() == 200


def test_the_unlabelled_have_their_share_in_each_part() -> None:
    labels = np.repeat([-1, 0, 1], [40, 60, 100])
    split = grouped_stratified(labels, None, 200, {"train": 0.75, "test": 0.25}, seed=0)
    assert [(split[labels == label] == "train").sum() for label in (-1, 0, 1)] == [30, 45, 75]
