"""The rules by which a dataset card makes groups and a split, the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key


def sky_groups(
    ra: NDArray[np.floating[Any]], dec: NDArray[np.floating[Any]], radius_arcsec: float
) -> NDArray[np.int64]:
    """Connected components of the positions that are within a radius of each other.

    Args:
        ra: (N,) degrees.
        dec: (N,) degrees.
        radius_arcsec: on the sphere; compared with the chord between unit vectors.

    Returns:
        (N,) numbers from 0, in the order of first appearance. A position that is not finite is a
        group of its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    lon, lat = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    known = np.flatnonzero(np.isfinite(unit).all(axis=1))
    chord = 2 * np.sin(np.radians(radius_arcsec / 3600) / 2)
    pairs = known[KDTree(unit[known]).query_pairs(chord, output_type="ndarray")]
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(unit),) * 2)
    component = connected_components(links, directed=False)[1]
    _, first, number = np.unique(component, return_index=True, return_inverse=True)
    groups: NDArray[np.int64] = np.argsort(np.argsort(first))[number].astype(np.int64)
    return groups


def grouped_stratified(
    labels: NDArray[np.int64] | None,
    groups: NDArray[np.int64] | None,
    samples: int,
    shares: Mapping[str, float],
    seed: int,
) -> NDArray[np.str_]:
    """Parts of the given shares: no group is split, and each class has its share in each part.

    Groups come in the order of their size, the largest first, then of a keyed hash of their first
    row. Each goes to the part that lacks most of what it holds. Only integers and BLAKE2b decide,
    so the split is the same on every machine and under every version of every library.

    Args:
        labels: (N,), -1 where there is none; or None for one class.
        groups: (N,) or None for a group a sample.
        samples: N.
        shares: part -> share of the samples.
        seed: another seed, another split.
    """
    labels = np.zeros(samples, np.int64) if labels is None else labels
    labels = labels - labels.min(initial=0)  # the unlabelled are one class more
    groups = np.arange(samples) if groups is None else groups
    classes = np.bincount(labels)
    lacking = {
        part: [round(share * count) for count in classes.tolist()] for part, share in shares.items()
    }
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    order = sorted(members.values(), key=lambda rows: (-len(rows), key(seed, "split", rows[0])))
    split = np.empty(samples, dtype="<U5")
    label_of = labels.tolist()
    for rows in order:
        held = [label_of[row] for row in rows]
        part = max(lacking, key=lambda part: sum(lacking[part][label] for label in held))
        split[rows] = part
        for label in held:
            lacking[part][label] -= 1
    return split
