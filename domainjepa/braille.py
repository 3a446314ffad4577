"""Curves in a terminal: eight dots a character, by the braille patterns of Unicode (U+2800)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the dots of a character, row by row from the top, left and right."""
_BLANK = 0x2800

Points = Sequence[tuple[float, float]]


def plot(
    curves: Sequence[Points],
    styles: Sequence[str],
    width: int,
    height: int,
) -> tuple[Text, float, float]:
    """Curves over one another, scaled to fill the picture.

    Args:
        curves: points (x, y) of each, x ascending; what is no number is left out.
        styles: one for each curve, as rich names them.
        width, height: in characters.

    Returns:
        The picture, `height` lines of `width` characters; the lowest and the highest y of it. A
        character where curves meet has the style of the last.
    """
    numbers = [
        [p for p in curve if math.isfinite(p[0]) and math.isfinite(p[1])] for curve in curves
    ]
    every = [point for curve in numbers for point in curve]
    if not every:
        return Text("\n".join([" " * width] * height)), math.nan, math.nan
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*every, strict=True))
    cells = [[_BLANK] * width for _ in range(height)]
    colours = [[""] * width for _ in range(height)]
    columns, rows = 2 * width - 1, 4 * height - 1
    for curve, style in zip(numbers, styles, strict=True):
        dots = [
            (_scaled(x, left, right, columns), rows - _scaled(y, low, high, rows)) for x, y in curve
        ]
        for x, y in _joined(dots):
            cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
            colours[y // 4][x // 2] = style
    text = Text()
    for number, (line, of_line) in enumerate(zip(cells, colours, strict=True)):
        for cell, style in zip(line, of_line, strict=True):
            text.append(" " if cell == _BLANK else chr(cell), style or None)
        text.append("\n" if number < height - 1 else "")
    return text, low, high


def _scaled(value: float, low: float, high: float, most: int) -> int:
    """Where a value lies between 0 and `most`; in the middle where there is but one value."""
    return round(most * (value - low) / (high - low)) if high > low else most // 2


def _joined(dots: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The dots of the straight lines from each to the next."""
    found = list(dots[:1])
    for (x, y), (to_x, to_y) in pairwise(dots):
        steps = max(abs(to_x - x), abs(to_y - y), 1)
        found += [
            (x + round((to_x - x) * k / steps), y + round((to_y - y) * k / steps))
            for k in range(1, steps + 1)
        ]
    return found
