"""Probes of patch features: what answers for the pixels of an image.

A probe takes pixels of training images, and gives what turns patch features into classes of pixels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from domainjepa.encoder.patches import Patches
from domainjepa.encoder.upsampling import Numbers, upsampled
from domainjepa.evaluation.metrics.of_masks import overlaps
from domainjepa.evaluation.probes.probes import NEIGHBOURS, TEMPERATURE
from domainjepa.evaluation.segmentation.classes import Classes
from domainjepa.evaluation.segmentation.pixels import Pixels

REGULARISATION = (10.0, 100.0, 1_000.0, 10_000.0)
"""Values of `C` times the number of pixels to choose from, strongest penalty first: how much a
penalty weighs against the mean loss does not depend on how many pixels were drawn."""
TUNED_ON = 6_000
"""Pixels that the penalty is chosen on; more only take longer."""
COMPONENTS = 64
"""Principal components of the training pixels in which neighbours are looked for: cosines hardly
change, and a map of 65,000 positions takes seconds in the place of minutes."""
MOST_QUERIES = 2**16
"""Positions of an image that are asked; of finer maps the means of two along each axis."""
AT_ONCE = 2**24
"""Similarities in memory at once."""

Answering = Callable[[Patches, Sequence[int]], Classes]
"""Patch features, and the sides of the image -> the class of every pixel."""


@dataclass(frozen=True)
class Affine:
    """One affine map from a patch feature to class scores, upsampled to the mask's grid.

    Attributes:
        weights: (D, K) for features as they are.
        offset: (K,).
        classes: (K,) places of the classes that it knows.
        converged: whether its solver did.
    """

    weights: Numbers
    offset: Numbers
    classes: NDArray[np.int64]
    converged: bool = True

    def scores(self, features: Numbers) -> Numbers:
        """(..., D) -> (..., K)."""
        return features @ self.weights + self.offset

    def __call__(self, patches: Patches, sides: Sequence[int]) -> Classes:
        scores = upsampled(self.scores(patches.features), patches.pitch, sides)
        return np.asarray(self.classes[scores.argmax(axis=-1)], np.int16)


def fit_affine(pixels: Pixels, seed: int) -> Affine:
    """Multinomial logistic regression on pixels.

    Each feature is brought to mean 0 and variance 1, which is a part of the affine map. `C` has the
    best mean Dice over folds of the training images (`Pixels.folds`), of equal ones the smallest;
    where `C` is one of `REGULARISATION` over the number of pixels.
    """
    mean, scale = _scale(pixels.features)
    scaled = (pixels.features - mean) / scale
    present = np.unique(pixels.classes)
    if len(present) == 1:
        width = pixels.features.shape[1]
        return Affine(np.zeros((width, 1), np.float32), np.zeros(1, np.float32), present)
    penalty, converged = _penalty(scaled, pixels, seed)
    model, last = _fitted(scaled, pixels.classes, pixels.weights, penalty)
    of_scaled, offset = _of_each(model)
    weights = np.asarray(of_scaled / scale[:, None], np.float32)
    return Affine(
        weights, np.asarray(offset - mean @ weights, np.float32), present, converged and last
    )


def _scale(features: Numbers) -> tuple[Numbers, Numbers]:
    mean, scale = features.mean(axis=0), features.std(axis=0)
    return mean, np.where(scale > 1e-6 * np.abs(mean) + 1e-12, scale, 1).astype(np.float32)


def _penalty(scaled: Numbers, pixels: Pixels, seed: int) -> tuple[float, bool]:
    """The best of `REGULARISATION` over the folds, and whether every solver converged."""
    some = np.arange(len(pixels))
    if len(some) > TUNED_ON:
        some = np.sort(np.random.default_rng(seed).permutation(some)[:TUNED_ON])
    few, of_few, converged = scaled[some], pixels.take(some), True
    total = np.zeros(len(REGULARISATION))
    for fit, validate in of_few.folds(seed):
        if len(np.unique(of_few.classes[fit])) < 2:
            continue
        model = None
        for place, penalty in enumerate(REGULARISATION):
            model, done = _fitted(
                few[fit], of_few.classes[fit], of_few.weights[fit], penalty, model
            )
            converged &= done
            guess = model.predict(few[validate])
            total[place] += _mean_dice(of_few.classes[validate], guess, of_few.weights[validate])
    return REGULARISATION[int(total.argmax())], converged


def _fitted(
    features: Numbers,
    classes: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalty: float,
    model: LogisticRegression | None = None,
) -> tuple[LogisticRegression, bool]:
    """A logistic regression, and whether it converged; it starts from that of another penalty."""
    if model is None:
        model = LogisticRegression(tol=1e-3, max_iter=500, warm_start=True)
    model.C = penalty / len(features)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(features, classes, weights.astype(features.dtype))
    return model, not any(issubclass(one.category, ConvergenceWarning) for one in caught)


def _of_each(model: LogisticRegression) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(D, K) and (K,), also of two classes, of which the first has score 0."""
    weights, offset = model.coef_.T, model.intercept_
    if weights.shape[1] == 1:
        weights = np.concatenate([np.zeros_like(weights), weights], axis=1)
        offset = np.concatenate([np.zeros_like(offset), offset])
    return weights, offset


def _mean_dice(
    truth: NDArray[np.int64], guess: NDArray[np.int64], weights: NDArray[np.float64]
) -> float:
    """Over the classes, all of one weight: the most common one must not choose alone."""
    size = int(max(truth.max(), guess.max())) + 1
    both = np.bincount(truth[truth == guess], weights[truth == guess], size)
    dice, _ = overlaps(both, np.bincount(truth, weights, size), np.bincount(guess, weights, size))
    return float(np.nanmean(dice))


@dataclass(frozen=True)
class Nearest:
    """The vote of the 20 nearest training pixels by cosine, upsampled to the mask's grid.

    Attributes:
        bank: (n, P) of training pixels, projected and of length 1.
        votes: (n, K) their weights in the column of their class.
        mean: (D,) of the training pixels.
        axes: (D, P) the projection, each feature divided by its scale.
        classes: (K,) places of the classes.
    """

    bank: Numbers
    votes: Numbers
    mean: Numbers
    axes: Numbers
    classes: NDArray[np.int64]
    converged: bool = True

    def shares(self, features: Numbers) -> Numbers:
        """(..., D) -> (..., K) adding up to 1."""
        flat = features.reshape(-1, features.shape[-1])
        number = min(NEIGHBOURS, len(self.bank))
        found = np.empty((len(flat), len(self.classes)), np.float32)
        step = max(AT_ONCE // len(self.bank), 1)
        for first in range(0, len(flat), step):
            some = _unit((flat[first : first + step] - self.mean) @ self.axes)
            likeness = torch.from_numpy(some @ self.bank.T)
            # A third of the time of NumPy's argpartition.
            close, near = (one.numpy() for one in likeness.topk(number, dim=1, sorted=False))
            weight = np.exp((close - close.max(axis=1, keepdims=True)) / TEMPERATURE)
            told = (weight[..., None] * self.votes[near]).sum(axis=1)
            found[first : first + step] = told / told.sum(axis=1, keepdims=True)
        return found.reshape(*features.shape[:-1], -1)

    def __call__(self, patches: Patches, sides: Sequence[int]) -> Classes:
        positions, pitch = patches.features, patches.pitch
        while math.prod(positions.shape[:-1]) > MOST_QUERIES:
            positions, pitch = _halved(positions), tuple(2 * one for one in pitch)
        shares = upsampled(self.shares(positions), pitch, sides)
        return np.asarray(self.classes[shares.argmax(axis=-1)], np.int16)


def fit_nearest(pixels: Pixels, seed: int) -> Nearest:
    """Nothing is fitted but the scale of each feature, and nothing chosen (Wu et al. 2018, 3.4;
    of pixels: Balazevic et al. 2023, arXiv:2306.01667)."""
    mean, scale = _scale(pixels.features)
    scaled = (pixels.features - mean) / scale
    axes = np.asarray(np.diag(1 / scale), np.float32)
    if len(scale) > COMPONENTS:
        components = np.linalg.eigh(scaled.T @ scaled)[1][:, -COMPONENTS:]
        axes = np.asarray(components / scale[:, None], np.float32)
    present, place = np.unique(pixels.classes, return_inverse=True)
    votes = np.zeros((len(pixels), len(present)), np.float32)
    votes[np.arange(len(pixels)), place] = pixels.weights
    bank = _unit((pixels.features - mean) @ axes)
    return Nearest(bank, votes, mean, axes, present)


def _halved(features: Numbers) -> Numbers:
    """The mean of two positions along each axis; at an odd end of the last one alone."""
    for axis, side in enumerate(features.shape[:-1]):
        starts = np.arange(0, side, 2)
        sizes = np.diff(starts, append=side).reshape(-1, *[1] * (features.ndim - 1 - axis))
        sums = np.add.reduceat(features, starts, axis=axis)
        features = np.asarray(sums / sizes, np.float32)
    return features


def _unit(rows: NDArray[Any]) -> Numbers:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)


PROBES: dict[str, Callable[[Pixels, int], Affine | Nearest]] = {
    "linear": fit_affine,
    "knn": fit_nearest,
}
