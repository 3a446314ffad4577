"""Oddness against scikit-learn, and on what is planted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import LocalOutlierFactor

from domainjepa.discovery.neighbours import neighbours_of_all
from domainjepa.discovery.odd import oddest
from domainjepa.discovery.outlyingness import (
    Measure,
    density,
    distance_to_kth,
    local_outlier_factor,
    outlyingness,
)
from domainjepa.discovery.space import Space
from domainjepa.embed.blocks import Blocks


@pytest.fixture
def planted() -> np.ndarray:
    """400 directions around an axis, and 8 around others: the last rows."""
    draw = np.random.default_rng(1)
    common = draw.normal(0, 0.3, (400, 10)) + np.eye(10)[0] * 3
    return np.concatenate([common, np.eye(10)[1:9] * 3 + draw.normal(0, 0.3, (8, 10))]).astype(
        np.float32
    )


def test_the_local_outlier_factor_is_that_of_scikit_learn(planted: np.ndarray) -> None:
    unit = planted / np.linalg.norm(planted, axis=1, keepdims=True)
    model = LocalOutlierFactor(n_neighbors=20).fit(unit.astype(np.float64))
    near = neighbours_of_all(Blocks(planted), Space(), 20)
    found = local_outlier_factor(near)
    np.testing.assert_allclose(found, -model.negative_outlier_factor_, rtol=1e-3)


@pytest.mark.parametrize("measure", ["knn", "density", "forest"])
def test_what_is_planted_is_odd(planted: np.ndarray, measure: Measure) -> None:
    scores = outlyingness(Blocks(planted), Space(), measure, 20)
    assert set(oddest(scores, 8).tolist()) == set(range(400, 408))


def test_company_hides_odd_samples_from_fewer_neighbours(planted: np.ndarray) -> None:
    together = planted.copy()
    together[400:] = planted[400] + 0.01 * planted[:8]
    few = outlyingness(Blocks(together), Space(), "knn", 5)
    many = outlyingness(Blocks(together), Space(), "knn", 20)
    assert not set(oddest(few, 8).tolist()) & set(range(400, 408))
    assert set(oddest(many, 8).tolist()) == set(range(400, 408))


def test_distance_and_density_are_what_they_say() -> None:
    angles = np.radians([0, 10, 30])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    near = neighbours_of_all(Blocks(directions), Space(), 2)
    expected = 1 - np.cos(np.radians([30, 20, 30]))
    np.testing.assert_allclose(distance_to_kth(near), expected, atol=1e-5)
    chord = 2 * np.sin(np.radians([[10, 30], [10, 20], [20, 30]]) / 2)
    np.testing.assert_allclose(density(near), -np.log(chord.mean(axis=1)), atol=1e-3)


def test_more_neighbours_than_samples_are_all_others(planted: np.ndarray) -> None:
    assert neighbours_of_all(Blocks(planted[:4]), Space(), 50)[0].shape == (4, 3)
