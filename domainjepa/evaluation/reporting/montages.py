"""Pictures of an evaluation that are made of images: neighbours, errors, what encoders see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from domainjepa.data.sampling import key
from domainjepa.data.source import Image
from domainjepa.encoder.samples import framed
from domainjepa.evaluation.encoders.features import Features
from domainjepa.evaluation.reporting.maps import Maps, principal_colours
from domainjepa.evaluation.splits import Rows
from domainjepa.pictures import montage, to_rgb

NEIGHBOURS = 7
PAIRS, ACROSS = 8, 8
"""Pairs of classes and errors of each, at most, in a montage of errors."""
WRONG = (213, 94, 0)
AT_ONCE = 2**24
"""Pairs of samples that are compared at once: a quarter of a gigabyte."""


def nearest_by_cosine(features: Features, queries: NDArray[Any]) -> Rows:
    """(Q,) positions -> (Q, 7) positions of the nearest others, nearest first; all others, where
    they are fewer."""
    unit = normalize(features)
    likeness = unit[queries] @ unit.T
    likeness[np.arange(len(queries)), queries] = -np.inf
    number = min(NEIGHBOURS, len(unit) - 1)
    # To sort whole rows would take minutes for 50,000 test samples.
    near = np.sort(np.argpartition(-likeness, number - 1, axis=1)[:, :number], axis=1)
    order = np.argsort(-np.take_along_axis(likeness, near, 1), axis=1, kind="stable")
    return np.take_along_axis(near, order, 1)


def neighbour_purity(features: Features, labels: Rows) -> float:
    """Share of the 7 nearest test samples that are of a sample's own class, over all samples."""
    parts = np.array_split(np.arange(len(labels)), 1 + len(labels) ** 2 // AT_ONCE)
    same = [labels[nearest_by_cosine(features, p)] == labels[p][:, None] for p in parts]
    return float(np.concatenate(same).mean())


def neighbour_montage(
    features: Features,
    labels: Rows,
    classes: Sequence[str],
    images: Callable[[Rows], Sequence[Image]],
    path: Path,
    *,
    ids: Callable[[Rows], Sequence[str] | None] = lambda positions: None,
    title: str = "",
    queries: int = 8,
    seed: int = 0,
) -> None:
    """Queries of every class and their nearest neighbours; those of another class are framed.

    Args:
        features: (N, D).
        labels: (N,).
        images: positions in `labels` -> images.
        ids: positions in `labels` -> what to write below the images, or None.
        queries: rows at most.
    """
    rng = np.random.default_rng(key(seed, "queries"))
    order = rng.permutation(len(labels))
    classes_found = np.unique(labels)
    of_each = max(1, queries // len(classes_found))
    asked = np.concatenate([order[labels[order] == one][:of_each] for one in classes_found])[
        :queries
    ]
    found = nearest_by_cosine(features, asked)
    rows: list[list[Image | None]] = []
    below: list[Sequence[str]] = []
    for query, neighbours in zip(asked, found, strict=True):
        below.append(ids(np.concatenate([[query], neighbours])) or ())
        shown = [to_rgb(image) for image in images(np.concatenate([[query], neighbours]))]
        frames = [None if same else WRONG for same in labels[neighbours] == labels[query]]
        rows.append(
            [_framed(rgb, frame) for rgb, frame in zip(shown, [None, *frames], strict=True)]
        )
    montage(
        rows,
        path,
        row_titles=[classes[labels[query]] for query in asked],
        column_titles=["query", *(str(n + 1) for n in range(found.shape[1]))],
        captions=below if any(below) else None,
        title=title,
        cell=72,
    )


def worst_errors(
    truth: Rows,
    probability: NDArray[Any],
    classes: Sequence[str],
    images: Callable[[Rows], Sequence[Image]],
    path: Path,
) -> int:
    """What is taken for what: a row for each pair of classes, the surest errors first.

    Args:
        truth: (N,) classes.
        probability: (N, K) of the probe.
        images: positions in `truth` -> images.

    Returns:
        How many errors there are; without any, nothing is drawn.
    """
    guess = probability.argmax(axis=1)
    wrong = np.flatnonzero(guess != truth)
    if not len(wrong):
        return 0
    pairs, which, counts = np.unique(
        np.stack([truth[wrong], guess[wrong]]), axis=1, return_inverse=True, return_counts=True
    )
    rows: list[list[Image | None]] = []
    titles = []
    for pair in np.argsort(-counts, kind="stable")[:PAIRS]:
        of_pair = wrong[which.ravel() == pair]
        surest = of_pair[np.argsort(-probability[of_pair].max(axis=1), kind="stable")][:ACROSS]
        rows.append([to_rgb(image) for image in images(surest)])
        true, taken = pairs[:, pair]
        titles.append(f"{classes[true]} taken for {classes[taken]} ({counts[pair]})")
    montage(rows, path, row_titles=titles, cell=72)
    return len(wrong)


def encoder_maps(
    shown: Sequence[Image], of_encoders: Mapping[str, Maps], path: Path, size: int = 112
) -> None:
    """Images, and beside each what encoders see in it: principal colours and where they look.

    Args:
        shown: N images.
        of_encoders: name -> maps of the same images.
    """
    columns: list[list[Image]] = [[framed(to_rgb(image), size) for image in shown]]
    heads = ["image"]
    for name, maps in of_encoders.items():
        pictures = columns[0]
        columns.append([_grown(one, size) for one in principal_colours(maps.features)])
        columns.append([_heated(p, f) for p, f in zip(pictures, maps.focus, strict=True)])
        heads += [f"{name}: features", f"{name}: {maps.focus_is}"]
    rows: list[list[Image | None]] = [list(row) for row in zip(*columns, strict=True)]
    montage(rows, path, column_titles=heads, cell=size)


def _grown(map_: NDArray[Any], size: int) -> NDArray[Any]:
    """Positions as squares: what lies between them is not known."""
    times = -(-size // map_.shape[0])
    return map_.repeat(times, axis=0).repeat(times, axis=1)[:size, :size]


def _heated(rgb: NDArray[np.uint8], focus: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An image, dark where the encoder does not look."""
    weight = _grown(focus, rgb.shape[0])[..., None]
    lit: NDArray[np.uint8] = (rgb * (0.15 + 0.85 * weight) + 0.5).astype(np.uint8)
    return lit


def _framed(rgb: NDArray[np.uint8], colour: tuple[int, int, int] | None) -> NDArray[np.uint8]:
    """A border outside the picture, white where there is nothing to say, so that sizes agree."""
    width = max(1, round(0.06 * max(rgb.shape[:2])))
    height, across = rgb.shape[:2]
    framed = np.empty((height + 2 * width, across + 2 * width, 3), np.uint8)
    framed[:] = (255, 255, 255) if colour is None else colour
    framed[width:-width, width:-width] = rgb
    return framed
