"""Samples on a plane: UMAP, t-SNE, or the first two principal components of their features."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.sampling import key
from domainjepa.discovery.neighbours import Near, nearest
from domainjepa.discovery.space import Space
from domainjepa.embed.blocks import Blocks, Features
from domainjepa.errors import MissingExtra
from domainjepa.waiting import stage

Axes = Literal["auto", "umap", "tsne", "pca"]
NEIGHBOURS = 15
"""Of UMAP (McInnes, Healy & Melville 2018, arXiv:1802.03426): its default."""
MOST_TSNE = 10_000
"""Samples that t-SNE (van der Maaten 2014, JMLR 15, 3221) lays out: minutes of a core. The others
are put among their nearest."""
PERPLEXITY = 30
_ROBUST = (0.5, 99.5)

Plane = NDArray[np.float32]


def coordinates(
    features: Blocks, space: Space, near: Near, axes: Axes, console: Console, seed: int = 0
) -> tuple[Plane, str]:
    """(N, 2) places on a plane, and what its axes are in words.

    Nearly all places lie within 0 to 1 of both axes; one scale for both. Axes of UMAP and t-SNE
    have no meaning, nor have distances between groups.

    Args:
        features: (N, D).
        space: in which samples are alike.
        near: neighbours of all samples, `NEIGHBOURS` or more where there are that many.
        axes: auto is UMAP where umap-learn is installed, else t-SNE.
        console: where to say what is done.
        seed: of the layout.

    Raises:
        MissingExtra: UMAP is asked for and not installed.
    """
    if axes == "auto":
        axes = "umap" if find_spec("umap") else "tsne"
    if axes == "umap" and not find_spec("umap"):
        raise MissingExtra("umap-learn", "explore", "a map by UMAP")
    values = np.concatenate([space(block) for _, block in features.blocks()])
    if len(values) <= NEIGHBOURS + 1:
        axes = "pca"  # too few to have neighbourhoods
    number = key(seed, "map", axes) % 2**32
    if axes == "umap":
        stage(console, f"laying out {len(values):,} samples by UMAP")
        return _upright(_umap(values, near, number)), "UMAP of cosines"
    if axes == "tsne":
        stage(console, f"laying out {min(len(values), MOST_TSNE):,} samples by t-SNE")
        placed = len(values) <= MOST_TSNE
        rest = "" if placed else f", {MOST_TSNE:,} samples laid out and the others among them"
        return _upright(_tsne(values, number)), f"t-SNE of cosines{rest}"
    plane, shares = _pca(values, 2)
    told = " and ".join(f"{100 * share:.0f} %" for share in shares)
    return _upright(plane), f"the first two principal components, with {told} of the variance"


def _pca(values: Features, components: int) -> tuple[Features, NDArray[np.float64]]:
    from sklearn.decomposition import PCA

    # scikit-learn fixes the signs, so that the same data give the same map.
    components = min(components, *values.shape)
    model = PCA(components, svd_solver="covariance_eigh")
    plane = np.asarray(model.fit_transform(values), np.float32)
    missing = max(2 - components, 0)
    return np.pad(plane, ((0, 0), (0, missing))), model.explained_variance_ratio_


def _umap(values: Features, near: Near, number: int) -> Features:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one seed means one thread, and of Numba's own
        from umap import UMAP

        own = np.arange(len(values))[:, None]
        where = np.concatenate([own, near[0]], axis=1)[:, :NEIGHBOURS]
        cosines = np.concatenate([np.ones_like(own, np.float32), near[1]], axis=1)[:, :NEIGHBOURS]
        model = UMAP(
            n_neighbors=NEIGHBOURS, metric="cosine", init="pca", random_state=number,
            precomputed_knn=(where, np.maximum(1 - cosines, 0).astype(np.float32), None),
            force_approximation_algorithm=True,
        )  # fmt: skip
        return np.asarray(model.fit_transform(values), np.float32)


def _tsne(values: Features, number: int) -> Features:
    from sklearn.manifold import TSNE

    chosen = np.arange(len(values))
    if len(values) > MOST_TSNE:
        chosen = np.sort(np.random.default_rng(number).permutation(chosen)[:MOST_TSNE])
    short = _pca(values[chosen], 50)[0]
    perplexity = min(PERPLEXITY, (len(chosen) - 1) / 3)
    model = TSNE(perplexity=perplexity, init="pca", random_state=number)
    plane = np.empty((len(values), 2), np.float32)
    plane[chosen] = model.fit_transform(short)
    others = np.setdiff1d(np.arange(len(values)), chosen)
    if len(others):
        where, cosines = nearest(Blocks(values[chosen]), Space(), values[others], 3)
        weights = np.exp((cosines - cosines[:, :1]) / 0.02)
        weights /= weights.sum(axis=1, keepdims=True)
        plane[others] = (plane[chosen][where] * weights[..., None]).sum(axis=1)
    return plane


def _upright(plane: Features) -> Plane:
    """Into 0 to 1, the middle at 0.5, but for few far ones; one scale for both axes."""
    low, high = np.percentile(plane, _ROBUST, axis=0)
    scale = max(float((high - low).max()), 1e-9)
    return np.asarray((plane - (low + high) / 2) / scale + 0.5, np.float32)


def along_the_map(plane: Plane) -> NDArray[np.int64]:
    """(N,) the order of samples along a Z curve (Morton 1966), so that neighbours on the map are
    mostly near each other in it."""
    cells = (np.clip(plane, 0, 1) * 1023).astype(np.int64)
    code = np.zeros(len(plane), np.int64)
    for bit in range(10):
        code |= ((cells[:, 0] >> bit) & 1) << (2 * bit)
        code |= ((cells[:, 1] >> bit) & 1) << (2 * bit + 1)
    return np.argsort(code, kind="stable")
