"""Neighbours against scikit-learn's, whatever the blocks, in memory or in a file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from domainjepa.discovery import neighbours
from domainjepa.discovery.space import Space, moments, space_of
from domainjepa.embed import blocks as stored
from domainjepa.embed import formats
from domainjepa.embed.blocks import Blocks
from domainjepa.embed.reading import EmbeddedFile
from domainjepa.errors import DataError, UserError


@pytest.fixture
def values() -> NDArray[np.float32]:
    draw = np.random.default_rng(0)
    return (draw.normal(size=(500, 12)) * np.linspace(0.2, 3, 12) + 1).astype(np.float32)


def by_sklearn(
    values: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    found = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(values)
    distances, where = found.kneighbors()  # of each sample the others
    return 1 - distances, where


@pytest.mark.parametrize("together", [7, 4096])
@pytest.mark.parametrize("block", [13, 8192])
def test_all_neighbours_are_those_of_scikit_learn(
    values: NDArray[np.float32], block: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "TOGETHER", together)
    monkeypatch.setattr(neighbours, "BLOCK", block)
    monkeypatch.setattr(stored.Blocks.blocks, "__defaults__", (block,))
    where, cosines = neighbours.neighbours_of_all(Blocks(values), Space(), 9)
    expected, at = by_sklearn(values, 9)
    np.testing.assert_array_equal(where, at)
    np.testing.assert_allclose(cosines, expected, atol=1e-5)


def test_a_query_is_never_like_itself_and_groups_are_left_out(values: NDArray[np.float32]) -> None:
    groups = np.arange(500) // 5
    where, _ = neighbours.nearest(
        Blocks(values), Space(), values[[3, 77]], 20, apart=groups, own=groups[[3, 77]]
    )
    likeness = _cosines(values)[[3, 77]]
    likeness[groups == groups[[3, 77]][:, None]] = -9
    np.testing.assert_array_equal(where, np.argsort(-likeness, axis=1)[:, :20])


def _cosines(values: NDArray[np.float32]) -> NDArray[np.float64]:
    unit = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64), axis=1)[:, None]
    return unit @ unit.T


def test_fewer_than_asked_are_said_to_be_fewer(values: NDArray[np.float32]) -> None:
    groups = np.zeros(500, np.int64)
    groups[9] = 1
    where, cosines = neighbours.nearest(
        Blocks(values), Space(), values[:1], 5, apart=groups, own=groups[:1]
    )
    assert where.tolist() == [[9, -1, -1, -1, -1]]
    assert np.isneginf(cosines[0, 1:]).all()


@pytest.mark.parametrize("block", [17, 8192])
def test_moments_are_those_of_numpy(
    values: NDArray[np.float32], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored.Blocks.blocks, "__defaults__", (block,))
    mean, covariance = moments(Blocks(values))
    np.testing.assert_allclose(mean, values.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(values.T, bias=True), rtol=1e-5, atol=1e-6)


def test_whitening_without_a_ridge_is_that_of_pca(
    values: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domainjepa.discovery.space.RIDGE", 0.0)
    found = space_of("whitened", Blocks(values))(values)
    expected = PCA(whiten=True).fit_transform(values.astype(np.float64))
    np.testing.assert_allclose(found @ found.T, _cosines(expected), atol=1e-4)


def test_what_is_zero_is_like_nothing() -> None:
    where, cosines = neighbours.neighbours_of_all(
        Blocks(np.array([[0, 0], [1, 0], [1, 0.1]], np.float32)), Space(), 2
    )
    assert where[1].tolist() == [2, 0]
    assert cosines[0].tolist() == [0, 0]


@pytest.mark.parametrize("suffix", sorted(formats.WRITERS))
def test_features_in_a_file_are_read_by_blocks(
    values: NDArray[np.float32], tmp_path: Path, suffix: str
) -> None:
    path = write(values, tmp_path / f"features{suffix}")
    file = EmbeddedFile(path)
    parts = list(file.features.blocks(99))
    assert [first for first, _ in parts] == [0, 99, 198, 297, 396, 495]
    np.testing.assert_array_equal(np.concatenate([block for _, block in parts]), values)
    np.testing.assert_array_equal(file.features.take(np.array([400, 3])), values[[400, 3]])
    np.testing.assert_array_equal(file.features.all(), values)
    assert file.column("ids").tolist() == [f"n{row}" for row in range(500)]  # type: ignore[union-attr]
    assert file.names == ["ids"]
    assert file.column("absent") is None
    assert file.about == {"backbone": "toy"}


def write(values: NDArray[np.float32], path: Path) -> Path:
    """What `embed` would write."""
    columns = {"ids": np.array([f"n{row}" for row in range(len(values))])}
    formats.write(
        path, formats.Table(values.shape, np.array_split(values, 7), columns, {"backbone": "toy"})
    )
    return path


def test_what_holds_no_features_of_its_own_is_refused(
    values: NDArray[np.float32], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["features"] = h5py.ExternalLink("other.h5", "features")
    with h5py.File(tmp_path / "patches.h5", "w") as file:
        file["features"] = np.zeros((3, 2, 2, 4))
    (tmp_path / "cut.npz").write_bytes(write(values, tmp_path / "f.npz").read_bytes()[:500])
    np.savez(tmp_path / "empty.npz", labels=np.arange(3))
    for name in ("linked.h5", "patches.h5", "cut.npz", "empty.npz"):
        with pytest.raises(DataError, match=name):
            EmbeddedFile(tmp_path / name)
    for name in ("absent.npz", "f.csv"):
        (tmp_path / "f.csv").write_text("x")
        with pytest.raises(UserError, match=name):
            EmbeddedFile(tmp_path / name)
    bad = values.copy()
    bad[300, 2] = np.nan
    with pytest.raises(DataError, match="row 300"):
        list(EmbeddedFile(write(bad, tmp_path / "bad.npz")).features.blocks(64))


def test_an_index_finds_nearly_all_of_them(
    values: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    exact, _ = neighbours.neighbours_of_all(Blocks(values), Space(), 10)
    monkeypatch.setattr(neighbours, "EXACT", 100)
    monkeypatch.setattr("domainjepa.devices.accelerator", lambda: None)
    where, cosines = neighbours.neighbours_of_all(Blocks(values), Space(), 10)
    shared = [len({*a} & {*b}) for a, b in zip(exact.tolist(), where.tolist(), strict=True)]
    assert np.mean(shared) > 9.5
    assert not (where == np.arange(500)[:, None]).any()
    np.testing.assert_allclose(cosines[:, 0], by_sklearn(values, 1)[0][:, 0], atol=0.05)
