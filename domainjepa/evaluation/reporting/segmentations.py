"""Pictures of masks: image, truth, and what the probe of each encoder says and where it errs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.source import Image
from domainjepa.evaluation.reporting.figures import COLOURS
from domainjepa.evaluation.results.examples import Example
from domainjepa.pictures import montage, to_rgb

CELL = 176
TOO_MUCH, MISSED, ANOTHER = (240, 228, 66), (0, 208, 255), (255, 72, 200)
"""Yellow, marked and should not be; cyan, should be marked; magenta, of another structure. Bright
on the dim image, of three lightnesses, and none of them is a structure's colour."""
WORDS = ("blue", "orange", "green", "pink", "red", "light blue", "violet", "grey")
"""The colours of structures, `figures.COLOURS`."""
DIM = 0.45
"""Of the image below marks."""
COVER = 0.6
"""Of a mark's colour on the image."""


def side_by_side(examples: Sequence[Example], encoders: Mapping[str, str], path: Path) -> None:
    """A row an example: the image, the truth, and the answer and errors of each encoder.

    Args:
        encoders: name in the picture -> name in the examples.
    """
    rows: list[list[Image | None]] = []
    for example in examples:
        grey = to_rgb(example.image)
        row: list[Image | None] = [grey, painted(grey, example.truth)]
        for encoder in encoders.values():
            guess = np.where(example.known, example.guesses[encoder], -1)
            row += [painted(grey, guess), errors(grey, example.truth, guess)]
        rows.append(row)
    heads = ["image", "truth", *(text for one in encoders for text in (one, f"{one}: errors"))]
    titles = [example.title for example in examples]
    montage(rows, path, row_titles=titles, column_titles=heads, cell=CELL)


def legend(structures: Sequence[str]) -> str:
    """Which colour is which structure, in words; colours come again after the eighth."""
    named = zip(structures, WORDS, strict=False)
    return ", ".join(f"{word} is {name}" for name, word in named)


def painted(rgb: NDArray[np.uint8], classes: NDArray[Any]) -> NDArray[np.uint8]:
    """An image under the colours of its classes; 0 and what is not known stay as they are."""
    palette = np.array([_rgb(colour) for colour in COLOURS], np.float64)
    shown = rgb.astype(np.float64)
    there = classes > 0
    shown[there] = (1 - COVER) * shown[there] + COVER * palette[(classes[there] - 1) % len(palette)]
    return (shown + 0.5).astype(np.uint8)


def errors(rgb: NDArray[np.uint8], truth: NDArray[Any], guess: NDArray[Any]) -> NDArray[np.uint8]:
    """An image, dim, with the pixels at which an answer is wrong."""
    shown = (DIM * rgb + 0.5).astype(np.uint8)
    known = truth >= 0
    shown[known & (truth == 0) & (guess > 0)] = TOO_MUCH
    shown[known & (truth > 0) & (guess == 0)] = MISSED
    shown[known & (truth > 0) & (guess > 0) & (truth != guess)] = ANOTHER
    return shown


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
