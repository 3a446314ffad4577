"""Samples of a source drawn as a montage."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.checks.findings import class_counts
from domainjepa.data.parts.drawn import drawn_to_look_at, in_parts
from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.measuring import measured_on
from domainjepa.domains.proposal import propose_domain
from domainjepa.pictures import MISSING, montage, planes, to_rgb
from domainjepa.registry import DOMAINS
from domainjepa.views.resampling import spacing_of

_FITTED_ON = 256  # samples, at most, that the intensity of a picture is fitted on


def draw(
    source: Source,
    path: str | os.PathLike[str],
    *,
    domain: str | None = None,
    columns: int = 10,
    most_classes: int = 16,
) -> None:
    """Draws samples after the domain's intensity, a row for each class or rows of any.

    Which samples are drawn is keyed: the same source gives the same picture. Pixels that hold no
    number have the colour `domainjepa.pictures.MISSING`.

    Args:
        source: opened.
        path: the PNG to write.
        domain: whose intensity; proposed from the data by default.
        columns: samples in a row.
        most_classes: of more, the largest are drawn.

    Raises:
        UserError: no such domain, or the file cannot be written.
    """

    if source.volumetric and in_parts(source):
        source = drawn_to_look_at(source)
    random = np.random.default_rng(key("inspect", "draw", len(source)))
    shown = displayed(source, domain=domain, random=random)
    chosen: list[NDArray[np.int64]] = []
    titles: list[str] | None = None
    counts = class_counts(source)
    if source.labels is not None and counts:
        titles, names = [], list(counts)
        largest = sorted(range(len(names)), key=lambda label: -counts[names[label]])
        for label in sorted(largest[:most_classes]):
            rows = np.flatnonzero(source.labels == label)
            chosen.append(random.permutation(rows)[:columns])
            titles.append(f"{names[label]} ({len(rows):,})")
    else:
        rows = random.permutation(len(source))[: 6 * columns]
        chosen = [rows[start : start + columns] for start in range(0, len(rows), columns)]
    shape = "x".join(map(str, source.shape))
    montage(
        [[shown(row) for row in rows.tolist()] for rows in chosen],
        path,
        row_titles=titles,
        title=f"{source.public_name}: {len(source):,} samples, {shape} {source.dtype}",
    )


def displayed(
    source: Source, *, domain: str | None = None, random: np.random.Generator | None = None
) -> Callable[[int], NDArray[np.uint8]]:
    """How samples are shown to people: row -> (H, W, 3) uint8, after the domain's intensity, which
    is fitted on training samples; of a volume the three planes through its middle.

    Args:
        source: opened.
        domain: whose intensity; proposed from the data by default.
        random: draws the samples that the intensity is fitted on; keyed by default.

    Raises:
        UserError: no such domain.
    """
    random = random or np.random.default_rng(key("inspect", "draw", len(source)))
    training = source.rows("train", "val")
    training = training if len(training) else source.rows()
    kind = DOMAINS.load(domain or propose_domain(source)[0])()
    intensity = kind.fit_intensity(measured_on(source, training, random, _FITTED_ON))
    return partial(_drawn, source, intensity=intensity)


def _drawn(source: Source, row: int, intensity: Intensity) -> NDArray[np.uint8]:
    """A sample as it is drawn; of a volume the three planes through its middle."""
    stored = source[row]
    if not source.volumetric:
        return _shown(stored, intensity(stored))
    spacing = spacing_of(source, row).tolist()
    own = intensity.of(lambda: stored)
    return _shown(planes(stored, spacing), own(planes(stored, spacing)))


def _shown(stored: Image, image: Image) -> NDArray[np.uint8]:
    """What comes out of the intensity, on one scale for all samples; missing values painted."""
    if image.dtype != np.uint8:
        image = (np.clip((image + 0.1) / 1.1, 0, 1) * 255 + 0.5).astype(np.uint8)
    rgb = to_rgb(image)
    if stored.dtype.kind == "f":
        rgb[~np.isfinite(stored).all(axis=2)] = MISSING
    return rgb
