"""Features that say nothing: all equal, or all along one line."""

from __future__ import annotations

import numpy as np

from domainjepa.evaluation.encoders.features import Features

LOOKED_AT = 1000
"""Samples, evenly spread."""
ONE_DIRECTION = 0.995
"""Share of the variance that one direction holds in collapsed features."""
EQUAL = 1e-5
"""Spread of equal features as a share of their size: float32 keeps seven digits."""


def collapsed(features: Features) -> str | None:
    """How (N, D) features have collapsed, or None."""
    rows = np.unique(np.linspace(0, len(features) - 1, LOOKED_AT).astype(np.int64))
    found = features[rows].astype(np.float64)
    if len(found) < 3 or found.shape[1] < 3:
        return None
    centred = found - found.mean(axis=0)
    variance = float(np.square(centred).sum())
    if variance <= EQUAL**2 * float(np.square(found).sum()):
        return "all images have the same features"
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    share = float(np.linalg.eigvalsh(gram)[-1]) / variance
    if share < ONE_DIRECTION:
        return None
    return f"one direction holds {100 * share:.1f} % of the variance of the features"
