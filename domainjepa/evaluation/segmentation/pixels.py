"""Pixels of training images that a probe is fitted on: so many that memory is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key
from domainjepa.encoder.upsampling import Numbers, at_pixels
from domainjepa.evaluation.segmentation.classes import IGNORED, Classes
from domainjepa.evaluation.segmentation.maps import Maps
from domainjepa.evaluation.segmentation.seen import Seen
from domainjepa.evaluation.splits import Fold, Rows

FOLDS = 3
MANY = 10
"""Training units from which on one fold chooses as well as three."""


@dataclass(frozen=True)
class Pixels:
    """Pixels with their features.

    Attributes:
        features: (n, D) float32, interpolated between positions.
        classes: (n,) of the mask.
        weights: (n,) how many pixels of the images each stands for, 1 in the mean.
        unit: (n,) of the image's unit.
        half: (n,) in which half of its image each lies, along the longest side.
    """

    features: Numbers
    classes: Rows
    weights: NDArray[np.float64]
    unit: Rows
    half: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, chosen: Rows | NDArray[np.bool_]) -> Pixels:
        """Some of them."""
        return Pixels(
            self.features[chosen],
            self.classes[chosen],
            self.weights[chosen],
            self.unit[chosen],
            self.half[chosen],
        )

    def folds(self, seed: int) -> list[Fold]:
        """(fit, validate) positions: whole units apart, of a single image one half from the other.

        The penalty is chosen so; no test image is in any of them.
        """
        units = np.unique(self.unit)
        if len(units) == 1:
            parts = [self.half, ~self.half]
        else:
            order = np.random.default_rng(key(seed, "tune")).permutation(units)
            number = min(FOLDS, len(units))
            parts = [np.isin(self.unit, order[one::number]) for one in range(number)]
        folds = [(np.flatnonzero(~part), np.flatnonzero(part)) for part in parts]
        return folds[:1] if len(units) >= MANY else folds


def drawn_pixels(classes: Classes, number: int, seed: int) -> tuple[Rows, NDArray[np.float64]]:
    """Some pixels of a mask: half of them as classes are common, half the same of each class.

    Structures are small: of a lesion of a thousandth of the image, a fair draw holds next to
    nothing. The weights make the two ways one: what is fitted is the same in expectation.

    Args:
        classes: of every pixel.
        number: of pixels, about; fewer where there are not as many.
        seed: of the draw.

    Returns:
        (n,) places in the flat mask, ascending; (n,) weights, pixels that each stands for.
    """
    random = np.random.default_rng(seed)
    flat = classes.ravel()
    found = np.unique(flat[flat != IGNORED])
    places = [np.flatnonzero(flat == one) for one in found.tolist()]
    known = sum(map(len, places))
    taken, weights = [], []
    for of_class in places:
        wanted = number / 2 * (len(of_class) / known + 1 / len(places))
        some = min(max(round(wanted), 1), len(of_class))
        taken.append(random.choice(of_class, some, replace=False))
        weights.append(np.full(some, len(of_class) / some))
    if not taken:
        return np.arange(0), np.zeros(0)
    every, weight = np.concatenate(taken), np.concatenate(weights)
    order = np.argsort(every)
    return every[order], weight[order]


def pixels_of(
    maps: Maps, seen: Seen, rows: Rows, units: Rows, most: int, of_each: int, seed: int
) -> Pixels:
    """Pixels of some images.

    Args:
        maps: features.
        seen: masks.
        rows: of the images.
        units: (n,) of each image.
        most: pixels in all, about.
        of_each: pixels of an image, at most.
        seed: draws them: the same for every encoder, and for every draw that has the image.
    """
    number = max(min(most // len(rows), of_each), 1)
    parts: list[Pixels] = []
    for row, unit in zip(rows.tolist(), units.tolist(), strict=True):
        classes = seen.mask(row)
        flat, weights = drawn_pixels(classes, number, key(seed, "pixels", row))
        places = np.stack(np.unravel_index(flat, classes.shape), axis=1)
        features, pitch = maps[row]
        along = int(np.argmax(classes.shape))
        parts.append(
            Pixels(
                at_pixels(features, pitch, places),
                classes.ravel()[flat].astype(np.int64),
                weights,
                np.full(len(flat), unit),
                places[:, along] < classes.shape[along] / 2,
            )
        )
    return joined(parts)


def joined(parts: Sequence[Pixels]) -> Pixels:
    """All of them; weights are 1 in the mean."""
    names = ("features", "classes", "weights", "unit", "half")
    features, classes, weights, unit, half = (
        np.concatenate([getattr(part, name) for part in parts]) for name in names
    )
    return Pixels(features, classes, weights / max(weights.mean(), 1e-12), unit, half)
