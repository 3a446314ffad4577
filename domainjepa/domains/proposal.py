"""Which domain suits a data set, and why: proposed, printed, never guessed in silence."""

from __future__ import annotations

import numpy as np

from domainjepa.data.parts.regions import tiles_of_slices
from domainjepa.data.source import Image, Source, spread
from domainjepa.domains.domain import Evidence
from domainjepa.domains.intensity import thinned
from domainjepa.errors import DataError
from domainjepa.registry import DOMAINS

_LOOKED_AT = 8  # samples
_SIDE = 128  # voxels along each axis, at most, from the middle of a volume


def propose_domain(source: Source) -> tuple[str, str]:
    """The domain that suits the data best, and the reason, for the printed plan.

    Args:
        source: the card's word wins; else every known domain judges the evidence.
    """
    if source.card and source.card.get("domain"):
        return str(source.card["domain"]), f"the card {source.card.get('name', '')!r} says so"
    evidence = gather(source)
    judged = {name: domain.suits(evidence) for name, domain in DOMAINS.load_all().items()}
    best = max(judged, key=lambda name: judged[name][0])
    return best, judged[best][1]


def gather(source: Source) -> Evidence:
    """What the source says of itself: its names, its modality, values of a few samples."""
    values = []
    for row in spread(len(source), _LOOKED_AT):
        try:
            sample = _middle(source, row) if source.volumetric else source[row]
        except DataError:
            continue  # an unreadable sample is for the run to report
        pixels = thinned(sample, 100_000)
        values.append(pixels[np.isfinite(pixels)])
    seen = np.concatenate(values) if values else np.zeros(0, source.dtype)
    return Evidence(
        dtype=source.dtype,
        channels=source.channels,
        words=" ".join([source.name, *source.keys, *(source.classes or ())]),
        loader=source.origin or source.loader,
        modality=source.modality,
        low=float(seen.min()) if seen.size else 0.0,
        high=float(seen.max()) if seen.size else 0.0,
        zeros=float((seen == 0).mean()) if seen.size else 0.0,
        volumetric=source.volumetric,
    )


def _middle(source: Source, row: int) -> Image:
    """The middle of a volume; a whole one may take a quarter of a gigabyte. Of one that is read in
    parts alone, where something is."""
    if source.large(row) is not None:
        return tiles_of_slices(source, row, _SIDE // 4)
    start = [max(0, (side - _SIDE) // 2) for side in source.shape[:-1]]
    return source.region(row, start, [first + _SIDE for first in start])
