"""The intensity of images for encoders that were not pretrained on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.proposal import propose_domain
from domainjepa.registry import DOMAINS


def fitted_intensity(source: Source, rows: NDArray[np.int64], most: int) -> Intensity:
    """That of the domain that is proposed for the data, fitted on `most` rows drawn by key."""
    draw = np.random.default_rng(key("baseline", "intensity", len(source)))
    chosen = np.sort(draw.permutation(rows)[:most]).tolist()
    domain: Domain = DOMAINS.load(propose_domain(source)[0])()
    return domain.fit_intensity(source.__getitems__(chosen))
