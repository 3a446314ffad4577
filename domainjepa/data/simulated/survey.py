"""A simulated survey of galaxies in the layout of Galaxy10: data to learn from without a download.

A galaxy's class decides its morphology and nothing else. Everything that would let raw pixels guess
the class is drawn from one distribution for all classes: size, surface brightness, redshift (which
dims by (1 + z)^-4 and reddens), colour, colour gradient, position angle, centring, seeing, depth,
level and slope of the background, foreground stars and small neighbours. The spread of each is that
of a survey from the ground; `nuisances` has the numbers. Inclination alone belongs to the class: a
disc is edge-on, or tilted by up to 60 degrees.

Lengths are in pixels of a cut-out of 48 px, 19 arcsec a side, and grow with the size of the
cut-out. Fluxes are in units of the sky noise in a pixel of an exposure of median depth.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa import __version__
from domainjepa.data.sampling import key
from domainjepa.data.simulated.galaxies import CLASSES, Floats, Frame
from domainjepa.errors import UserError

FIELD_OF_VIEW = 19.0  # arcsec a side, about that of 48 px of SDSS
TEST_SHARE = 0.2
# The asinh stretch (Lupton et al. 2004), one for the survey: linear up to the softening, then
# logarithmic; what becomes 0 and what becomes 255.
SOFTENING, BLACK, WHITE = 4.0, -6.0, 300.0
BANDS = np.array([0.5, 0.0, -0.5], dtype=np.float32)
"""The magnitudes by which red, green and blue (i, r, g) change when the colour changes by one."""
REDDENING = 2.5  # magnitudes of colour for each unit of redshift
STARS = 2  # of the spots; the others are galaxies
SKY_LEVEL = 60.0  # of the sky under the galaxy: sets how much its own light adds to the noise
MOFFAT_BETA = 3.0
_CHUNK = 200  # galaxies drawn together


def nuisances(count: int, seed: int) -> dict[str, Floats]:
    """All about `count` galaxies and their exposures that knows nothing of their classes.

    Returns:
        name -> (count, ...) array: lengths in px of 48, angles in radians, colours in magnitudes.
        A `spot` is one of four that may be there: two stars, then two small galaxies.
    """
    random = np.random.default_rng(key(seed, "survey", "nuisances"))
    uniform, normal = random.uniform, random.normal
    return {
        "radius": np.clip(7.0 * np.exp(normal(0, 0.22, count)), 4.5, 10.5),
        "angle": uniform(0, 2 * np.pi, count),
        "centre": normal(0, 1.2, (count, 2)),
        "brightness": 28.0 * 10 ** (0.4 * normal(0, 0.4, count)),
        "redshift": uniform(0.02, 0.12, count),
        "colour": normal(0.3, 0.35, count),
        "gradient": uniform(0.0, 0.8, count),
        "seeing": uniform(1.8, 3.0, count),
        "noise": np.exp(normal(0, 0.2, count)),
        "background": normal(0, 0.4, (count, 3)),
        "slope": normal(0, 0.3, (count, 2)),
        "spot_there": (uniform(size=(count, 4)) < [0.3, 0.15, 0.5, 0.3]).astype(np.float64),
        "spot_place": uniform(-24, 24, (count, 4, 2)),
        "spot_flux": 10 ** uniform([2.0, 2.0, 1.7, 1.7], [3.6, 3.6, 2.8, 2.8], (count, 4)),
        "spot_colour": normal(0.3, 0.5, (count, 4)),
        "spot_size": uniform(0.5, 1.5, (count, 4)),
        "spot_shape": uniform(0.4, 1.0, (count, 4)),
        "spot_angle": uniform(0, np.pi, (count, 4)),
    }


def moffat(x: Floats, y: Floats, fwhm: Floats) -> Floats:
    """The PSF at positions around its centre, of unit flux (Moffat 1969)."""
    from astropy.modeling.functional_models import Moffat2D

    width = fwhm / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    amplitude = (MOFFAT_BETA - 1) / (np.pi * width**2)
    light: Floats = Moffat2D.evaluate(x, y, amplitude, 0.0, 0.0, width, MOFFAT_BETA)
    return light


def colours(magnitudes: Floats) -> Floats:
    """(...,) colours -> (..., 3) factors of red, green and blue."""
    factors: Floats = 10 ** (0.4 * magnitudes[..., None] * BANDS)
    return factors


def exposures(
    kind: str, traits: dict[str, Floats], size: int, random: np.random.Generator
) -> Floats:
    """Images of galaxies of one class as the camera sees them.

    Args:
        kind: the class.
        traits: what `nuisances` gave, for these galaxies.
        size: pixels a side.
        random: shapes the galaxies and makes the noise.

    Returns:
        (N, size, size, 3) float32, in units of the median sky noise.
    """
    trait = {name: values.astype(np.float32) for name, values in traits.items()}
    column = {name: v[:, None, None] for name, v in trait.items() if v.ndim == 1}
    # Light from beyond the edge is blurred into the picture, so more than the picture is drawn.
    margin = max(4, size // 8)
    inside = slice(margin, margin + size)
    axis = (
        (np.arange(size + 2 * margin, dtype=np.float32) - (size + 2 * margin - 1) / 2) * 48 / size
    )

    x = axis[None, None, :] - trait["centre"][:, 0, None, None]
    y = axis[None, :, None] - trait["centre"][:, 1, None, None]
    cos, sin = np.cos(column["angle"]), np.sin(column["angle"])
    frame = Frame(x * cos + y * sin, y * cos - x * sin, column["radius"], random)
    light = np.stack(CLASSES[kind](frame), axis=1)  # (N, 2, H, W): old and young stars
    light /= light.sum(axis=(1, 2, 3), keepdims=True)
    light = _blurred(light, column["seeing"], 48 / size)[:, :, inside, inside]

    # Young stars are bluer by the gradient; the colour of the whole stays the one that was drawn.
    z = trait["redshift"]
    ages = colours(np.stack([trait["gradient"], -trait["gradient"]], axis=1) / 2)
    picture: Floats = np.einsum("nshw,nsb->nhwb", light, ages)
    area = 2 * np.pi * (trait["radius"] * size / 48) ** 2
    flux = area * trait["brightness"] / (1 + z) ** 4
    bands = flux[:, None] * colours(trait["colour"] + REDDENING * z)
    picture *= (bands / picture.sum(axis=(1, 2)))[:, None, None]

    axis = axis[inside]
    _add_spots(picture, axis, trait)
    noise = column["noise"][..., None] * np.sqrt(1 + picture / SKY_LEVEL)
    picture += noise * random.standard_normal(picture.shape, dtype=np.float32)
    tilt = trait["slope"][:, :, None] * axis / 24  # (N, 2, size)
    picture += trait["background"][:, None, None, :]
    picture += tilt[:, 0, None, :, None] + tilt[:, 1, :, None, None]
    return picture


def _blurred(light: Floats, seeing: Floats, pixel: float) -> Floats:
    """Images (N, S, W, W) convolved with the PSF of each sample; `seeing` is (N, 1, 1)."""
    from scipy import fft

    wide = light.shape[-1]
    # The Fourier transform counts from a pixel's middle, so the PSF peaks on one.
    offset = (np.arange(wide, dtype=np.float32) - wide // 2) * np.float32(pixel)
    psf = moffat(offset[None, None, :], offset[None, :, None], seeing)
    psf /= psf.sum(axis=(1, 2), keepdims=True)
    transfer = fft.rfft2(fft.ifftshift(psf, axes=(1, 2)))[:, None]
    blurred: Floats = fft.irfft2(fft.rfft2(light) * transfer, s=(wide, wide))
    return blurred


def _add_spots(picture: Floats, axis: Floats, trait: dict[str, Floats]) -> None:
    """Adds stars and small neighbours where they are there."""
    from astropy.modeling.functional_models import Gaussian2D

    for spot in range(trait["spot_there"].shape[1]):
        rows = np.flatnonzero(trait["spot_there"][:, spot])
        one = {name: v[rows, spot] for name, v in trait.items() if name.startswith("spot_")}
        seeing = trait["seeing"][rows, None, None]
        x = axis[None, None, :] - one["spot_place"][:, 0, None, None]
        y = axis[None, :, None] - one["spot_place"][:, 1, None, None]
        if spot < STARS:
            light = moffat(x, y, seeing)
        else:
            blur = (seeing / 2.355) ** 2
            along = np.sqrt(one["spot_size"][:, None, None] ** 2 + blur)
            across = np.sqrt((one["spot_size"] * one["spot_shape"])[:, None, None] ** 2 + blur)
            angle = one["spot_angle"][:, None, None]
            amplitude = 1 / (2 * np.pi * along * across)
            light = Gaussian2D.evaluate(x, y, amplitude, 0.0, 0.0, along, across, angle)
        bands = one["spot_flux"][:, None] * colours(one["spot_colour"])
        picture[rows] += light[..., None] * bands[:, None, None]


def rendered(picture: Floats) -> NDArray[np.uint8]:
    """The survey's asinh stretch (Lupton et al. 2004): linear near the sky, then logarithmic."""
    low, high = np.arcsinh(np.array([BLACK, WHITE]) / SOFTENING)
    shade = (np.arcsinh(picture / SOFTENING) - low) / (high - low)
    levels: NDArray[np.uint8] = (shade.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


def simulate_survey(
    path: str | os.PathLike[str],
    *,
    samples: int = 6000,
    size: int = 48,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a survey as HDF5, in Galaxy10's layout, with a split.

    `images` uint8 (N, size, size, 3), one sample a chunk; `ans` uint8, the class; `split`, test for
    a fifth of each class and train otherwise; `ra`, `dec` in degrees, `redshift`, `pxscale` in
    arcsec. Classes are equally frequent and in random order. The same seed gives the same survey.

    Args:
        path: the file to write; an old one is replaced when the new one is whole.
        samples: at least ten a class.
        size: pixels a side, at least 24.
        seed: of everything.
        progress: called with the number of galaxies made so far and of all.

    Raises:
        UserError: too few samples, too small a size, or a file that cannot be written.
    """
    import h5py

    if samples < 10 * len(CLASSES) or size < 24:
        raise UserError(
            f"a survey of {samples} samples of {size} px: it takes at least "
            f"{10 * len(CLASSES)} samples and 24 px"
        )
    traits = nuisances(samples, seed)
    random = np.random.default_rng(key(seed, "survey", "catalogue"))
    classes = random.permutation(np.arange(samples) % len(CLASSES)).astype(np.uint8)
    split = np.full(samples, b"train", dtype="S5")
    for label in range(len(CLASSES)):
        rows = random.permutation(np.flatnonzero(classes == label))
        split[rows[: round(TEST_SHARE * len(rows))]] = b"test"
    table = {
        "ans": classes,
        "split": split,
        "ra": random.uniform(110, 260, samples),
        "dec": np.degrees(np.arcsin(random.uniform(0, np.sin(np.radians(60)), samples))),
        "redshift": traits["redshift"],
        "pxscale": np.full(samples, FIELD_OF_VIEW / size),
    }
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(unfinished, "w") as file:
            file.attrs["title"] = "Simulated galaxy survey"
            file.attrs["simulated"] = True
            file.attrs["seed"] = seed
            file.attrs["made_with"] = [f"domainjepa {__version__}"] + [
                f"{name} {version(name)}" for name in ("astropy", "numpy", "scipy")
            ]
            for name, values in table.items():
                file.create_dataset(name, data=values)
            file["ans"].attrs["class_names"] = list(CLASSES)
            shape = (samples, size, size, 3)
            images = file.create_dataset("images", shape, np.uint8, chunks=(1, *shape[1:]))
            done = 0
            for rows in _parts(classes):
                kind = list(CLASSES)[classes[rows[0]]]
                shapes = np.random.default_rng(key(seed, "survey", kind, int(rows[0])))
                chosen = {name: values[rows] for name, values in traits.items()}
                pictures = rendered(exposures(kind, chosen, size, shapes))
                for row, picture in zip(rows, pictures, strict=True):
                    images[row] = picture
                done += len(rows)
                if progress is not None:
                    progress(done, samples)
        unfinished.replace(target)
    except OSError as error:
        raise UserError(f"{target.name!r} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # gone where all went well
            unfinished.unlink()


def _parts(classes: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Rows of one class, as many as are drawn together."""
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(classes == label)
        for start in range(0, len(rows), _CHUNK):
            yield rows[start : start + _CHUNK]
