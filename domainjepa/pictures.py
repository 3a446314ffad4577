"""Pictures for people: any image as RGB, and montages of images. Never what a network sees."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.errors import UserError

Image = NDArray[Any]

MISSING = (214, 39, 160)
"""The colour of pixels that hold no number."""

_PERCENTILES = (0.5, 99.5)
_DPI = 100
_LETTER = 7.0  # px that a letter of the labels takes, at most about
_MEAN_LETTER = 6.3  # and on average


def to_rgb(image: Image) -> NDArray[np.uint8]:
    """An image of any number of bands as a person can look at it.

    One band is grey; two are red and blue with their mean as green; three are red, green, blue;
    of more, the first, the middle and the last are. Values of uint8 stay as they are. All others
    are scaled from the 0.5th to the 99.5th percentile of this image, for display only: together
    for up to three bands, which keeps their colour, and each band by itself for more, whose ranges
    need not have anything in common. NaN and infinity are painted in `MISSING`.

    Args:
        image: (H, W, C) or (H, W), any real dtype; (D, H, W, C) is drawn as its `planes`.

    Returns:
        (H, W, 3) uint8.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 4 and 0 not in image.shape:
        image = planes(image)
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"an image is (H, W, C), none of them zero, not {image.shape}")
    channels = image.shape[2]
    shown = image[..., [0, channels // 2, channels - 1]]
    if image.dtype == np.uint8:
        rgb: NDArray[np.uint8] = shown.copy()
        if channels == 2:
            rgb[..., 1] = image.mean(axis=2)
        return rgb
    values = shown.astype(np.float64)
    if channels == 2:
        values[..., 1] = values[..., [0, 2]].mean(axis=2)
    missing = ~np.isfinite(values).all(axis=2)
    known = values[~missing]
    if known.size:
        low, high = np.percentile(known, _PERCENTILES, axis=0 if channels > 3 else None)
        flat = high <= low
        # A flat band shows dark at zero and mid-grey elsewhere: there is no range to stretch.
        low, high = np.where(flat, np.minimum(low, 0), low), np.where(flat, 2 * np.abs(high), high)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            values = (values - low) / (high - low)
    values[~np.isfinite(values)] = 0.0
    rgb = (values.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    rgb[missing] = MISSING
    return rgb


def planes(volume: Image, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> Image:
    """The three planes through the middle of a volume, in their true proportions, as one image.

    The plane of H and W lies above that of D and W, with the plane of H and D beside it; what is
    left empty holds the least value of the first plane.

    Args:
        volume: (D, H, W, C), any real dtype.
        spacing: millimetres from voxel to voxel along D, H, W.

    Returns:
        (h + d, w + d, C) of the volume's dtype, with h, w, d in steps of the finest spacing.
    """
    finest = min(spacing)
    at = [
        ((np.arange(max(round(side * step / finest), 1)) + 0.5) * finest / step).astype(int)
        for side, step in zip(volume.shape[:3], spacing, strict=True)
    ]
    d, h, w = (np.minimum(one, side - 1) for one, side in zip(at, volume.shape[:3], strict=True))
    middle = [side // 2 for side in volume.shape[:3]]
    sheet = np.empty((len(h) + len(d), len(w) + len(d), volume.shape[3]), volume.dtype)
    sheet[:] = np.fmin.reduce(volume[middle[0]], axis=(0, 1))  # without what is not a number
    sheet[: len(h), : len(w)] = volume[middle[0]][h][:, w]
    sheet[len(h) :, : len(w)] = volume[:, middle[1]][d][:, w]
    sheet[: len(h), len(w) :] = volume[:, :, middle[2]][d][:, h].swapaxes(0, 1)
    return sheet


def named_png(path: Path) -> Path:
    """The path of a picture to write, asked before the work that it shows.

    Raises:
        UserError: another suffix than .png.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"pictures are PNG: name the file {path.with_suffix('.png').name!r}")
    return path


def montage(
    rows: Sequence[Sequence[Image | None]],
    path: str | os.PathLike[str],
    *,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    title: str = "",
    cell: int = 96,
) -> None:
    """Draws rows of images, each through `to_rgb` and fitted into a square cell, as one PNG.

    Images smaller than half a cell are magnified by a whole number, so that their pixels show.

    Args:
        rows: rows of (H, W, C) images; None leaves a cell empty, rows may differ in length.
        path: the PNG to write; its folder is made if need be.
        row_titles: one a row, or None.
        column_titles: one a column, or None.
        captions: one a cell, written below it, cut to its width; or None.
        title: above everything.
        cell: pixels a side of a cell.

    Raises:
        UserError: there is nothing to draw, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    target = named_png(Path(path))
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise UserError(f"nothing to draw in {target.name!r}: there are no images")

    gap = max(2, cell // 32)
    across_step, step = cell + gap, cell + gap + (12 if captions else 0)
    across, down = columns * across_step + gap, len(rows) * step + gap
    sheet = np.full((down, across, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            if image is not None:
                tile = _fit(to_rgb(image), cell)
                top = gap + i * step + (cell - tile.shape[0]) // 2
                left = gap + j * across_step + (cell - tile.shape[1]) // 2
                sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile

    letters = max(8, int(cell / _LETTER))
    across_a_cell = max(8, int(cell / _MEAN_LETTER))
    heads = [textwrap.fill(text, across_a_cell) for text in column_titles or ()]
    sides = [textwrap.fill(text, 24) for text in row_titles or ()]
    margin_left = _LETTER * max((len(line) for s in sides for line in s.split("\n")), default=0)
    margin_left += 8 if sides else 0
    head_height = 14 * max((h.count("\n") + 1 for h in heads), default=0) + (6 if heads else 0)
    width = max(int(margin_left) + across, 160)
    banner = textwrap.fill(title, max(20, int(width / 8))) if title else ""
    title_height = 18 * (banner.count("\n") + 1) + 6 if banner else 0
    height = title_height + head_height + down

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    figure.figimage(sheet, xo=int(margin_left), yo=0, origin="upper")

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, 1.0 - y / height, text, parse_math=False, **style)

    if banner:
        write(6, 5, banner, va="top", ha="left", fontsize=10, weight="bold")
    for j, head in enumerate(heads):
        x = margin_left + gap + j * across_step + cell / 2
        write(x, title_height + head_height - 3, head, va="bottom", ha="center", fontsize=8)
    for i, side in enumerate(sides):
        y = title_height + head_height + gap + i * step + cell / 2
        write(margin_left - 4, y, side, va="center", ha="right", fontsize=8)
    for i, texts in enumerate(captions or ()):
        for j, text in enumerate(texts):
            x = margin_left + gap + j * across_step + cell / 2
            y = title_height + head_height + gap + i * step + cell
            cut = text if len(text) <= letters + 3 else f"…{text[-letters - 2 :]}"
            write(x, y, cut, va="top", ha="center", fontsize=6)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            target, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True}
        )
    except OSError as error:
        raise UserError(f"{target.name!r} cannot be written: {error.strerror or error}") from error


def _fit(rgb: NDArray[np.uint8], cell: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 made to fill a square of `cell` px without a change of its proportions."""
    import PIL.Image

    height, width = rgb.shape[:2]
    if 2 * max(height, width) <= cell:
        times = cell // max(height, width)
        return rgb.repeat(times, axis=0).repeat(times, axis=1)
    scale = cell / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = PIL.Image.fromarray(rgb).resize(size, PIL.Image.Resampling.LANCZOS)
    fitted: NDArray[np.uint8] = np.asarray(picture)
    return fitted
