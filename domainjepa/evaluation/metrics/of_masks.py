"""Metrics of masks: overlap, and how far outlines lie apart; of one class of one image or volume.

Where neither the truth nor the answer has a class, nothing is measured (NaN), and a mean leaves it
out. Where one alone has it, the overlap is 0 and the distance is the diagonal of the image: to miss
a structure must not pay (Maier-Hein et al. 2024, Metrics reloaded, on empty references).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Marks = NDArray[np.bool_]

PERCENTILE = 95
MANY = 2_000
"""Pixels of an outline from which on a distance map of the image is faster than a search tree."""


def overlaps(both: ArrayLike, truth: ArrayLike, guess: ArrayLike) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    """Dice (1945) and intersection over union (Jaccard 1912), from counts of pixels.

    Args:
        both: pixels that truth and answer have in common; any shape.
        truth, guess: pixels of each.
    """
    common, sizes = np.asarray(both, np.float64), np.add(truth, guess, dtype=np.float64)
    nothing = np.full(common.shape, np.nan)
    dice = np.divide(2 * common, sizes, out=nothing.copy(), where=sizes > 0)
    iou = np.divide(common, sizes - common, out=nothing, where=sizes > 0)
    return dice, iou


class Outline:
    """The outline of a structure, kept to measure distances to it.

    Args:
        marks: (H, W) or (D, H, W), true inside.
        spacing: from one pixel to the next along each axis, in the unit of the distances.
    """

    def __init__(self, marks: Marks, spacing: Sequence[float]) -> None:
        self.places, self.shape = outline(marks), marks.shape
        self.spacing = np.asarray(spacing, np.float64)
        self.diagonal = float(np.linalg.norm(self.shape * self.spacing))
        self._tree: KDTree | None = None
        self._map: NDArray[np.float64] | None = None

    def distances(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) from each of (n, axes) pixels to the nearest one of the outline."""
        if len(self.places) < MANY:
            if self._tree is None:
                self._tree = KDTree(self.places * self.spacing)
            return np.asarray(self._tree.query(places * self.spacing)[0])
        if self._map is None:  # one pass over the image, whatever its outlines
            outside = np.ones(self.shape, bool)
            outside[tuple(self.places.T)] = False
            self._map = ndimage.distance_transform_edt(outside, self.spacing)
        return np.asarray(self._map[tuple(places.T)])


def outline(marks: Marks) -> NDArray[np.int64]:
    """(n, axes) pixels of a structure that touch what is outside of it or the image's edge."""
    found = ndimage.find_objects(marks.astype(np.uint8))
    if not found:
        return np.empty((0, marks.ndim), np.int64)
    inside = marks[found[0]]  # most of an image is far from what is marked
    shell = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    return np.asarray(shell + [side.start for side in found[0]], np.int64)


def hausdorff_95(truth: Outline, guess: Outline) -> float:
    """The 95th percentile of distances from each outline to the other, the larger one of both.

    As MONAI's `compute_hausdorff_distance(percentile=95, directed=False)` has it.
    """
    there = len(truth.places) > 0, len(guess.places) > 0
    if not any(there):
        return float("nan")
    if not all(there):
        return truth.diagonal
    ways = (truth.distances(guess.places), guess.distances(truth.places))
    return float(max(np.percentile(way, PERCENTILE) for way in ways))
