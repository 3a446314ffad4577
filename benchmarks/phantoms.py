"""Phantoms: simple pictures of what a domain is for, drawn from ellipses and blobs, no patient's.

    python benchmarks/phantoms.py FOLDER

writes `chest-xray.npz`, `ct-body.npz`, `mri-head.npz`, `cells-fluorescence.npz`,
`histology-he.npz`, `ultrasound.npz`, `cells-electron.npz` and `fields-aerial.npz`, each with
`images` of 16 samples. Good for drawing views and timing them, and for nothing that is to be
learned.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

from domainjepa.data.sampling import key
from domainjepa.domains.transforms.stain import stain_matrix

Image = NDArray[Any]
SIDE, SAMPLES = 192, 16


def ellipse(x: float, y: float, a: float, b: float, turn: float = 0.0, side: int = SIDE) -> Image:
    """(side, side): 1 inside, 0 outside, half on the rim; lengths in half sides, y downwards."""
    down, right = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    along = (right - x) * np.cos(turn) + (down - y) * np.sin(turn)
    across = (down - y) * np.cos(turn) - (right - x) * np.sin(turn)
    distance = np.hypot(along / a, across / b)
    return np.clip(0.5 + (1 - distance) * min(a, b) * side / 2, 0, 1)


def body(draw: np.random.Generator) -> Image:
    """An axial slice through the chest in Hounsfield units, (S, S, 1) int16."""
    image = np.full((SIDE, SIDE), -1000.0)

    def put(shape: Image, units: float) -> None:
        image[:] += shape * (units - image)

    wide = draw.uniform(0.75, 0.88)
    put(ellipse(0, 0, wide, 0.62), -90)  # fat
    put(ellipse(0, 0, wide - 0.07, 0.55), 55)  # muscle
    for side in (-1, 1):
        put(ellipse(0.4 * side, 0, 0.27, 0.4, 0.15 * side), -840)
        for _ in range(14):  # vessels
            r, angle = 0.22 * np.sqrt(draw.uniform()), draw.uniform(0, 2 * np.pi)
            place = (0.4 * side + r * np.cos(angle), 1.4 * r * np.sin(angle))
            put(ellipse(*place, *draw.uniform(0.008, 0.025, 2), draw.uniform(0, 3)), 20)
    put(ellipse(0.1, -0.08, 0.2, 0.22, 0.5), 45)  # heart, to the patient's left
    put(ellipse(-0.02, 0.24, 0.06, 0.06), 160)  # aorta with contrast medium
    put(ellipse(0, 0.42, 0.11, 0.09), 350)
    put(ellipse(0, 0.42, 0.09, 0.07), 180)  # vertebra, spongy inside
    for angle in np.linspace(0.25, 2 * np.pi - 0.25, 14):
        place = ((wide - 0.13) * np.sin(angle), 0.49 * np.cos(angle))
        put(ellipse(*place, 0.05, 0.018, -angle), 550)  # ribs
    image = gaussian_filter(image, 0.6) + draw.normal(0, 12, image.shape)
    return image[..., None].round().astype(np.int16)


def head(draw: np.random.Generator) -> Image:
    """An axial T1-weighted slice, (S, S, 1) uint16, with its own scale, coil and noise."""
    image = np.zeros((SIDE, SIDE))

    def put(shape: Image, signal: float) -> None:
        image[:] += shape * (signal - image)

    a, b = draw.uniform(0.6, 0.68), draw.uniform(0.76, 0.84)
    put(ellipse(0, 0, a + 0.12, b + 0.12), 0.9)  # fat of the scalp
    put(ellipse(0, 0, a + 0.07, b + 0.07), 0.08)  # skull
    put(ellipse(0, 0, a, b), 0.25)  # fluid
    ripple = gaussian_filter(draw.normal(0, 1, image.shape), 5)
    down, right = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    depth = 1 - np.hypot(right / a, down / b) + 0.9 * ripple
    put(np.clip((depth - 0.04) * 40, 0, 1), 0.5)  # grey matter
    put(np.clip((depth - 0.17) * 40, 0, 1) * ellipse(0, 0, a, b), 0.75)  # white matter
    put(ellipse(0, -0.08, 0.012, b, 0), 0.3)  # between the hemispheres
    for side in (-1, 1):
        put(ellipse(0.1 * side, -0.12, 0.05, 0.2, 0.3 * side), 0.2)  # ventricles
        put(ellipse(0.2 * side, 0.05, 0.09, 0.14, -0.3 * side), 0.55)
    image = gaussian_filter(image, 0.7) * (1 + 0.15 * right * draw.uniform(-1, 1))
    noise = draw.normal(0, 0.02, (2, *image.shape))
    magnitude = np.hypot(image + noise[0], noise[1]) * draw.uniform(200, 4000)
    return magnitude[..., None].round().astype(np.uint16)


def chest(draw: np.random.Generator) -> Image:
    """A frontal radiograph, bone bright, (S, S, 1) uint16 of 12 bits."""
    wide = draw.uniform(0.8, 0.95)
    tissue = 1.2 * ellipse(0, 0.5, wide, 1.25) + 0.5 * ellipse(0, -0.9, 0.25, 0.4)
    for side in (-1, 1):
        lung = ellipse(0.42 * side, 0.0, 0.3, 0.62, -0.08 * side)
        vessels = gaussian_filter(draw.normal(0, 1, lung.shape), 2) * 0.6
        tissue -= lung * (0.85 - np.clip(vessels, 0, 0.2))
        for rib in range(9):
            y = -0.62 + 0.16 * rib
            arc = ellipse(0.36 * side, y + 0.1, 0.42, 0.2, 0.35 * side)
            tissue += 0.09 * (arc - ellipse(0.36 * side, y + 0.125, 0.42, 0.2, 0.35 * side)).clip(0)
        tissue += 0.12 * ellipse(0.42 * side, -0.72, 0.4, 0.03, -0.2 * side)  # clavicle
        tissue += 0.5 * ellipse(0.42 * side, 0.86, 0.42, 0.26)  # diaphragm
    tissue += 0.55 * ellipse(0.13, 0.3, 0.27, 0.3, 0.6)  # heart, to the patient's left
    tissue += 0.3 * ellipse(0, 0, 0.08, 1.2)  # spine
    light = gaussian_filter(tissue, 1.0) + draw.normal(0, 0.015, tissue.shape)
    level = np.clip((light + 0.1) / 2.2, 0, 1)
    return (level * 4095).astype(np.uint16)[..., None]


def cells(draw: np.random.Generator) -> Image:
    """Nuclei, cytoplasm and granules of cells, one channel each, (S, S, 3) uint16."""
    channels = np.zeros((3, SIDE, SIDE))
    for _ in range(draw.integers(9, 16)):
        x, y, turn = *draw.uniform(-0.9, 0.9, 2), draw.uniform(0, 3)
        a = draw.uniform(0.1, 0.15)
        whole = ellipse(x, y, 2.0 * a, 1.6 * a, turn)
        nucleus = ellipse(x + 0.1 * a, y, a, 0.75 * a, turn)
        channels[0] += nucleus * draw.uniform(0.6, 1)
        channels[1] += whole * draw.uniform(0.4, 0.8) * (1 - 0.6 * nucleus)
        granules = (draw.uniform(size=whole.shape) < 0.05) * whole * (1 - nucleus)
        channels[2] += 8 * gaussian_filter(granules, 1.2)
    texture = 1 + 0.5 * gaussian_filter(draw.normal(0, 1, channels.shape), (0, 2, 2)) * 6
    channels *= texture.clip(0.3)
    light = gaussian_filter(channels, (0, 1, 1)) * draw.uniform(0.6, 1.2, (3, 1, 1)) + 0.04
    counts = draw.poisson(light.clip(0) * 500) * 30 + 300
    return counts.clip(0, 65535).astype(np.uint16).transpose(1, 2, 0)


def glands(draw: np.random.Generator) -> Image:
    """Glands of a mucosa in haematoxylin and eosin, (S, S, 3) uint8."""
    nuclei, pink = np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), 0.35)
    pink *= 1 + 0.8 * gaussian_filter(draw.normal(0, 1, pink.shape), 3) * 3

    def nucleus(x: float, y: float, size: float, turn: float) -> None:
        shape = ellipse(x, y, size, size * draw.uniform(0.5, 0.9), turn)
        np.maximum(nuclei, shape * draw.uniform(0.7, 1.1), out=nuclei)

    for _ in range(5):
        x, y, r = *draw.uniform(-0.8, 0.8, 2), draw.uniform(0.22, 0.34)
        pink[:] += ellipse(x, y, r, r) * (0.5 - pink)
        pink[:] += ellipse(x, y, 0.5 * r, 0.5 * r) * (0.0 - pink)  # lumen
        for angle in np.arange(0, 2 * np.pi, 0.035 / r * 2):
            place = (x + 0.82 * r * np.cos(angle), y + 0.82 * r * np.sin(angle))
            nucleus(*place, draw.uniform(0.03, 0.04), angle)
    for _ in range(90):
        nucleus(*draw.uniform(-1, 1, 2), draw.uniform(0.02, 0.035), draw.uniform(0, 3))
    amounts = np.stack([1.3 * nuclei + 0.12 * pink, pink.clip(0), np.zeros_like(pink)], axis=2)
    amounts = gaussian_filter(amounts, (0.8, 0.8, 0)) * draw.uniform(0.8, 1.2, 3)
    light = np.exp(-amounts @ stain_matrix()) + draw.normal(0, 0.012, (SIDE, SIDE, 3))
    return (light * 250).clip(0, 255).astype(np.uint8)


def breast(draw: np.random.Generator) -> Image:
    """A lesion in layered tissue with speckle, in B-mode, (S, S, 1) uint8."""
    down = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j][0]
    echo = 0.5 + 0.5 * gaussian_filter(draw.normal(0, 1, down.shape), (3, 14)) * 6
    echo += 1.5 * np.exp(-(((down - 0.05) / 0.03) ** 2)) + 1.2 * (down > 0.85)
    x, y, a, b = *draw.uniform(-0.3, 0.2, 2), draw.uniform(0.25, 0.4), draw.uniform(0.15, 0.25)
    lesion = ellipse(x, y, a, b, draw.uniform(-0.3, 0.3))
    behind = ellipse(x, 0.9, 0.7 * a, 0.7) * (1 - lesion)
    echo = echo.clip(0.15) * (1 - 0.85 * lesion) * (1 + 0.8 * behind * (down > (y + 1) / 2))
    field = gaussian_filter(draw.normal(0, 1, (2, *echo.shape)), (0, 0.9, 1.5)) * 3.5
    amplitude = echo * np.hypot(*field) * np.exp(-0.8 * down)
    level = 0.62 + 0.28 * np.log10(amplitude + 1e-3)
    return (level * 255).clip(0, 255).astype(np.uint8)[..., None]


def cut_cells(draw: np.random.Generator, sides: tuple[int, ...] = (SIDE, SIDE)) -> Image:
    """Stained cells cut through, as electrons see them: dark membranes, mitochondria and vesicles,
    (*sides, 1) uint8. Three sides make a block, and two one section."""
    places = np.stack(np.meshgrid(*map(np.arange, sides), indexing="ij"), axis=-1)

    def nearest(count: int) -> tuple[Image, Image]:
        """Distances to the nearest of some seeds and to the next, and which is nearest."""
        seeds = draw.uniform(0, 1, (count, len(sides))) * sides
        return KDTree(seeds).query(places, 2)

    distance, owner = nearest(70)
    wall = distance[..., 1] - distance[..., 0]
    level = 0.62 + 0.1 * draw.uniform(-1, 1, 70)[owner[..., 0]]  # cytoplasm of each cell
    inner, which = nearest(110)
    size = draw.uniform(2, 7, 110)[which[..., 0]]
    body = np.clip(size - inner[..., 0], 0, 1) * (wall > 5)
    level += body * (draw.choice([-0.28, 0.12], 110)[which[..., 0]])  # mitochondria, vesicles
    level -= 0.18 * body * (np.abs(size - inner[..., 0] - 1.5) < 0.8)
    level -= 0.42 * np.exp(-((wall / 2.2) ** 2))
    level += 0.05 * gaussian_filter(draw.normal(0, 1, sides), 1.2) * 3
    counts = draw.poisson(gaussian_filter(level, 0.6).clip(0.02) * 120) / 120
    return (counts * 220).clip(0, 255).astype(np.uint8)[..., None]


def ground(draw: np.random.Generator) -> Image:
    """Fields, a river, roads and houses from above in near infrared, red and green,
    (S, S, 3) uint16 reflectances x 10,000; what lies outside of the swath is 0."""
    crop, soil, water = (3600, 350, 700), (2400, 1700, 1200), (120, 250, 500)
    road, roof = (1700, 1500, 1500), (2700, 2400, 1500)
    down, right = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    seeds = draw.uniform(-1, 1, (24, 2))
    field = KDTree(seeds).query(np.stack([down, right], axis=-1))[1]
    growth = draw.uniform(0, 1, 24)
    furrow = draw.uniform(0, np.pi, 24)[field]
    rows = 0.1 * np.sin(60 * (down * np.cos(furrow) + right * np.sin(furrow)))
    green = np.clip(growth[field] + rows, 0, 1)[..., None]
    image = green * np.array(crop) + (1 - green) * np.array(soil)

    def put(shape: Image, band_levels: tuple[int, ...]) -> None:
        image[:] += shape[..., None] * (np.array(band_levels) - image)

    bend = draw.uniform(-1, 1, 3)
    middle = bend[0] * 0.6 + 0.25 * np.sin(3 * right + 3 * bend[1])
    put(np.clip((0.08 - np.abs(down - middle)) * 40, 0, 1), water)
    for _ in range(3):
        angle, shift = draw.uniform(0, np.pi), draw.uniform(-0.7, 0.7)
        away = np.abs(down * np.cos(angle) + right * np.sin(angle) - shift)
        put(np.clip((0.018 - away) * 90, 0, 1), road)
    for _ in range(18):
        x, y, turn = *draw.uniform(-0.9, 0.9, 2), draw.uniform(0, np.pi)
        u = (right - x) * np.cos(turn) + (down - y) * np.sin(turn)
        v = (down - y) * np.cos(turn) - (right - x) * np.sin(turn)
        box = np.clip((0.05 - np.maximum(np.abs(u), 1.6 * np.abs(v))) * 90, 0, 1)
        image *= 1 - 0.6 * np.roll(box, (-3, 2), (0, 1))[..., None]  # its shadow
        put(box, roof)
    image *= 1 + 0.05 * gaussian_filter(draw.normal(0, 1, image.shape), (1, 1, 0)) * 3
    image = gaussian_filter(image, (0.7, 0.7, 0)) + draw.normal(0, 25, image.shape)
    image = image.clip(1, 10_000)
    if draw.uniform() < 0.5:
        image[down * 0.3 + right > draw.uniform(0.4, 0.8)] = 0
    return image.round().astype(np.uint16)


PHANTOMS = {
    "chest-xray": chest,
    "ct-body": body,
    "mri-head": head,
    "cells-fluorescence": cells,
    "histology-he": glands,
    "ultrasound": breast,
    "cells-electron": cut_cells,
    "fields-aerial": ground,
}


def phantom(name: str, samples: int = SAMPLES) -> Image:
    """(samples, S, S, C) of one kind; the same ones each time."""
    return np.stack(
        [PHANTOMS[name](np.random.default_rng(key("phantom", name, i))) for i in range(samples)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write phantoms as NumPy archives.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHANTOMS:
        np.savez_compressed(folder / f"{name}.npz", images=phantom(name))


if __name__ == "__main__":
    main()
