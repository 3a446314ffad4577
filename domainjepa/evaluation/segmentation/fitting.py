"""Probes of patch features, fitted on pixels of the drawn images."""

from __future__ import annotations

from domainjepa.data.sampling import key
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.segmentation.classes import Classes
from domainjepa.evaluation.segmentation.maps import Maps
from domainjepa.evaluation.segmentation.pixels import pixels_of
from domainjepa.evaluation.segmentation.probes import PROBES
from domainjepa.evaluation.segmentation.scoring import Answer, Fit, MaskCohort
from domainjepa.evaluation.splits import Rows


def on_patches(maps: Maps, cohort: MaskCohort, protocol: Protocol) -> Fit:
    """Probes of patch features, fitted on pixels of the training images."""
    reading, seed = protocol.patches, protocol.seed

    def fit(units: Rows) -> tuple[Answer, bool]:
        numbered = cohort.numbering(units)
        pixels = pixels_of(
            maps,
            cohort.seen,
            numbered.rows,
            numbered.unit,
            reading.pixels,
            reading.of_image,
            seed,
        )
        probe = PROBES[protocol.probe](pixels, key(seed, "probe"))

        def answer(row: int) -> Classes:
            return probe(maps[row], cohort.seen.sides(row))

        return answer, probe.converged

    return fit
